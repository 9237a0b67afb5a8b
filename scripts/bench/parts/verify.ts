import { postgresDigests } from '../../../src/databases/postgres/digests.ts';
import { readInventory } from '../../../src/databases/postgres/inventory.ts';
import { PostgresServer } from '../../../src/platform/postgres/server.ts';
import { type VerifyResult, verifyTables } from '../../../src/stages/verify.ts';
import type { BenchOptions, Check, Pair, Part, PartResult } from '../part.ts';
import { makePgbench } from '../pgbench.ts';
import { compareWith, runRounds } from '../rounds.ts';
import { checkpoint, freshDatabase, runSql, withClient, withPair } from '../servers.ts';

const ROWS = { full: 5_000_000, small: 50_000 };
const SCAN = "both servers' own md5 scan";
/** DESIGN 10: verification takes at most so much of what the servers need to hash every row. */
const REACH = { [SCAN]: 1.2 };

/** A sum over the md5 of every row, in one sequential scan and in one process: what a person would type. */
const SCAN_SQL = `SELECT count(*) AS rows, sum(('x' || left(md5(t::text), 16))::bit(64)::bigint) AS sum FROM pgbench_accounts t`;

interface Urls {
  readonly source: string;
  readonly target: string;
}

/** `verify`: our digests of both sides, range by range, against one scan of each server, both at once. */
export const verify: Part = {
  name: 'verify',
  description: `comparing 5M rows on both sides, against ${SCAN}`,
  run: async (options) => {
    const results: PartResult[] = [];
    for (const name of options.pairs) results.push(await withPair(name, (pair) => measure(pair, options)));
    return {
      rows: results.flatMap(({ rows }) => rows),
      figures: results.flatMap(({ figures }) => figures),
      checks: results.flatMap(({ checks }) => checks),
      notes: [
        'ours: `verifyTables` over the digests of both servers, as `switchback verify` runs it, in one process of Node; all of it is warm, read once before',
        `the scan: \`${SCAN_SQL}\`, without parallel workers and JIT`,
      ],
    };
  },
};

const measure = async (pair: Pair, options: BenchOptions): Promise<PartResult> => {
  const accounts = options.small ? ROWS.small : ROWS.full;
  const what = `${pair.name}, pgbench ${accounts.toLocaleString('en')} rows`;
  const urls = { source: await freshDatabase(pair.source, 'bench'), target: await freshDatabase(pair.target, 'bench') };
  await Promise.all([makePgbench(urls.source, { accounts }), makePgbench(urls.target, { accounts })]);
  await checkpoint(pair);
  const checks: Check[] = [];
  await scanBoth(urls);
  const series = await runRounds(
    what,
    [
      {
        name: 'Switchback',
        run: async () => {
          const result = await verifyBoth(urls);
          checks.push(cleanCheck(what, result, accounts));
          return undefined;
        },
      },
      {
        name: SCAN,
        run: async () => {
          const [source, target] = await scanBoth(urls);
          checks.push({ case: what, what: 'the scans are equal', ok: source === target });
          return undefined;
        },
      },
    ],
    options,
  );
  checks.push(await foundCheck(what, urls));
  return { rows: compareWith(what, series, REACH), figures: [], checks, notes: [] };
};

const scanBoth = async (urls: Urls): Promise<readonly [string, string]> => {
  const scan = async (url: string): Promise<string> =>
    await withClient(url, async (client) => {
      await client.query('SET max_parallel_workers_per_gather = 0; SET jit = off');
      return JSON.stringify((await client.query(SCAN_SQL)).rows);
    });
  return await Promise.all([scan(urls.source), scan(urls.target)]);
};

const verifyBoth = async (urls: Urls): Promise<VerifyResult> => {
  const from = new PostgresServer({ url: urls.source, label: 'source', application: 'bench' });
  const to = new PostgresServer({ url: urls.target, label: 'target', application: 'bench' });
  try {
    const { tables } = await readInventory(from);
    return await verifyTables({
      tables: tables.filter(({ name }) => name === 'pgbench_accounts'),
      from: postgresDigests(from),
      to: postgresDigests(to),
      appliedPast: async () => undefined,
      signal: new AbortController().signal,
    });
  } finally {
    await Promise.all([from.close(), to.close()]);
  }
};

const cleanCheck = (what: string, { clean, tables }: VerifyResult, accounts: number): Check => {
  const [table] = tables;
  const ok = clean && tables.length === 1 && table?.rows === String(accounts);
  const check = { case: what, what: 'equal sides are clean, and every row was seen', ok };
  return ok ? check : { ...check, found: JSON.stringify(table) };
};

/** The control: one row of the target is changed, and has to be found. */
const foundCheck = async (what: string, urls: Urls): Promise<Check> => {
  await runSql(urls.target, 'UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 4711');
  const found = JSON.stringify((await verifyBoth(urls)).tables[0]?.divergent);
  const check = {
    case: what,
    what: 'a row that was changed on one side is found, and no other',
    ok: found === '[["4711"]]',
  };
  return check.ok ? check : { ...check, found };
};
