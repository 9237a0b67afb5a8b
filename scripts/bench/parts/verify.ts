import { postgresDigests } from '../../../src/databases/postgres/digests.ts';
import { readInventory } from '../../../src/databases/postgres/inventory.ts';
import { PostgresServer } from '../../../src/platform/postgres/server.ts';
import { type VerifyResult, verifyTables } from '../../../src/stages/verify.ts';
import type { BenchOptions, Check, Pair, Part, PartResult } from '../part.ts';
import { makePgbench } from '../pgbench.ts';
import { busyNote, type Contender, compareWith, runRounds } from '../rounds.ts';
import { checkpoint, freshDatabase, runSql, withClient, withPair } from '../servers.ts';

const SCAN = "both servers' own md5 scan";
const SAME_HASH = 'a scan with our hash';
/** DESIGN 10: verification takes at most so much of what the servers need to hash every row. */
const REACH = { [SCAN]: 1.2 };

/** A sum over the md5 of every row, in one sequential scan and in one process: what a person would type. */
const scanSql = (table: string): string =>
  `SELECT count(*) AS rows, sum(('x' || left(md5(t::text), 16))::bit(64)::bigint) AS sum FROM ${table} t`;
/** The least that our own digest can cost: the same hash without ranges. */
const sameHashSql = (table: string): string =>
  `SELECT count(*) AS rows, sum(hashtextextended(t::text COLLATE "C", 0)) AS sum FROM ${table} t`;

/** One table on both sides. */
interface Subject {
  readonly name: string;
  readonly table: string;
  readonly rows: number;
  make(url: string): Promise<void>;
  /** A key that is there, as text. */
  readonly someKey: string;
}

/** Half a gigabyte of pgbench; and keys that come in no order of the rows, where reading by key is reading at random. */
const subjectsOf = ({ small }: BenchOptions): readonly Subject[] => {
  const accounts = small ? 50_000 : 5_000_000;
  const random = small ? 20_000 : 2_000_000;
  return [
    {
      name: `pgbench ${accounts.toLocaleString('en')} rows`,
      table: 'pgbench_accounts',
      rows: accounts,
      make: (url) => makePgbench(url, { accounts }),
      someKey: '4711',
    },
    {
      name: `${random.toLocaleString('en')} rows by uuid in no order`,
      table: 'by_uuid',
      rows: random,
      make: async (url) => {
        await runSql(
          url,
          `CREATE TABLE by_uuid (aid uuid PRIMARY KEY, bid int, abalance int, filler char(84));
           INSERT INTO by_uuid SELECT md5(g::text)::uuid, g % 50, 0, '' FROM generate_series(1, ${random}) g`,
        );
        await runSql(url, 'VACUUM ANALYZE by_uuid');
      },
      someKey: 'b52340b4-de45-66b8-04c9-880aa0b4af5f',
    },
  ];
};

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
    for (const name of options.pairs) {
      const measured = await withPair(name, async (pair) => {
        const found: PartResult[] = [];
        for (const subject of subjectsOf(options)) found.push(await measure(pair, subject, options));
        return found;
      });
      results.push(...measured);
    }
    return {
      rows: results.flatMap(({ rows }) => rows),
      figures: [],
      checks: results.flatMap(({ checks }) => checks),
      notes: [
        'Switchback: `verifyTables` over the digests of both servers, as `switchback verify` runs it, in one process; everything is in memory, read once before',
        `the md5 scan: \`${scanSql('pgbench_accounts')}\`; our hash: \`${sameHashSql('pgbench_accounts')}\`; both without parallel workers and JIT`,
        ...results.flatMap(({ notes }) => notes),
      ],
    };
  },
};

const measure = async (pair: Pair, subject: Subject, options: BenchOptions): Promise<PartResult> => {
  const what = `${pair.name}, ${subject.name}`;
  const urls = { source: await freshDatabase(pair.source, 'bench'), target: await freshDatabase(pair.target, 'bench') };
  await Promise.all([subject.make(urls.source), subject.make(urls.target)]);
  await checkpoint(pair);
  const checks: Check[] = [];
  await scanBoth(urls, scanSql(subject.table));
  const scan = (name: string, sql: string): Contender => ({
    name,
    run: async () => {
      const [source, target] = await scanBoth(urls, sql);
      checks.push({ case: what, what: `${name}: equal`, ok: source === target });
      return undefined;
    },
  });
  const ours: Contender = {
    name: 'Switchback',
    run: async () => {
      checks.push(cleanCheck(what, await verifyBoth(urls, subject), subject));
      return undefined;
    },
  };
  const contenders = [ours, scan(SCAN, scanSql(subject.table)), scan(SAME_HASH, sameHashSql(subject.table))];
  const series = await runRounds(what, contenders, options);
  checks.push(await foundCheck(what, urls, subject));
  return { rows: compareWith(what, series, REACH), figures: [], checks, notes: [busyNote(what, series)] };
};

const scanBoth = async (urls: Urls, sql: string): Promise<readonly [string, string]> => {
  const scan = async (url: string): Promise<string> =>
    await withClient(url, async (client) => {
      await client.query('SET max_parallel_workers_per_gather = 0; SET jit = off');
      return JSON.stringify((await client.query(sql)).rows);
    });
  return await Promise.all([scan(urls.source), scan(urls.target)]);
};

const verifyBoth = async (urls: Urls, { table }: Subject): Promise<VerifyResult> => {
  const from = new PostgresServer({ url: urls.source, label: 'source', application: 'bench' });
  const to = new PostgresServer({ url: urls.target, label: 'target', application: 'bench' });
  try {
    const { tables } = await readInventory(from);
    return await verifyTables({
      tables: tables.filter(({ name }) => name === table),
      from: postgresDigests(from),
      to: postgresDigests(to),
      appliedPast: async () => undefined,
      signal: new AbortController().signal,
    });
  } finally {
    await Promise.all([from.close(), to.close()]);
  }
};

const cleanCheck = (what: string, { clean, tables }: VerifyResult, { rows }: Subject): Check => {
  const [table] = tables;
  const ok = clean && tables.length === 1 && table?.rows === String(rows);
  const check = { case: what, what: 'equal sides are clean, and every row was seen', ok };
  return ok ? check : { ...check, found: JSON.stringify(table) };
};

/** The control: one row of the target is changed, and has to be found. */
const foundCheck = async (what: string, urls: Urls, subject: Subject): Promise<Check> => {
  await runSql(urls.target, `UPDATE ${subject.table} SET abalance = 1 WHERE aid = '${subject.someKey}'`);
  const found = JSON.stringify((await verifyBoth(urls, subject)).tables[0]?.divergent);
  const ok = found === JSON.stringify([[subject.someKey]]);
  const check = { case: what, what: 'a row that was changed on one side is found, and no other', ok };
  return ok ? check : { ...check, found };
};
