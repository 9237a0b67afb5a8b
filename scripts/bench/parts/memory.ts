import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand, type Self, WorkerProcess } from '../../../src/demo/program.ts';
import { SwitchbackError } from '../../../src/domain/errors.ts';
import type { Event } from '../../../src/domain/event.ts';
import { monotonicMs, sleep } from '../../../src/platform/clock.ts';
import { Memory } from '../memory.ts';
import type { BenchOptions, Figure, Pair, Part, PartResult } from '../part.ts';
import { freshDatabase, runSql, withPair } from '../servers.ts';
import { checkRows } from '../sides.ts';

/** Rows of a kilobyte to copy, rows of a megabyte in one transaction, changes of small rows in one transaction. */
const SIZES = {
  full: { kilobytes: 2_000_000, megabytes: 2_000, changes: 5_000_000, transactions: 20_000 },
  small: { kilobytes: 20_000, megabytes: 20, changes: 50_000, transactions: 500 },
} as const;
type Size = (typeof SIZES)[keyof typeof SIZES];

const REACH_BYTES = 256 * 2 ** 20;
const PHASE = 'all';
/** Longest that one stage may take; a transaction of 2 GB takes the servers a minute. */
const WITHIN_MS = 300_000;
const POLL_MS = 50;

const TABLES = `
  CREATE TABLE wide (id int PRIMARY KEY, body text NOT NULL);
  CREATE TABLE large (id int PRIMARY KEY, body text NOT NULL);
  ALTER TABLE large ALTER body SET STORAGE EXTERNAL;
  CREATE TABLE small (id int PRIMARY KEY, n int NOT NULL);
  CREATE TABLE stage_end (stage text PRIMARY KEY);`;

const PLAN = `version: 1
name: memory
source: { url: "\${OLD_DATABASE_URL}" }
target: { url: "\${NEW_DATABASE_URL}" }
schema: { files: [tables.sql] }
phases:
  - { name: ${PHASE}, tables: ["public.*"], router: app }
routers: { app: { kind: file, path: route.json } }
switch: { max_lag: 30s, window: 30s }
`;

/** `memory`: what the worker's process holds through everything that is large. */
export const memory: Part = {
  name: 'memory',
  description: "the worker's resident memory: a 2 GB table, a 2 GB transaction, one of 5 million changes, a cutover",
  run: async (options) => {
    const size = options.small ? SIZES.small : SIZES.full;
    const results: PartResult[] = [];
    for (const name of options.pairs) results.push(await withPair(name, (pair) => measure(pair, size, options)));
    return {
      rows: [],
      figures: results.flatMap(({ figures }) => figures),
      checks: results.flatMap(({ checks }) => checks),
      notes: [
        `the table: ${size.kilobytes.toLocaleString('en')} rows of 1 kB; following: ${size.transactions.toLocaleString('en')} transactions of one update; the large transaction: ${size.megabytes.toLocaleString('en')} rows of 1 MB; small changes: half inserts, half updates of them, in one transaction`,
        'resident memory of `switchback run` by the kernel (VmHWM of /proc, begun anew at each stage), with what Node itself maps; each stage lasts until its end is on the target',
      ],
    };
  },
};

const measure = async (pair: Pair, size: Size, options: BenchOptions): Promise<PartResult> => {
  const urls = {
    source: await freshDatabase(pair.source, 'memory'),
    target: await freshDatabase(pair.target, 'memory'),
  };
  options.tell(`${pair.name}: making a table of ${size.kilobytes.toLocaleString('en')} kB`);
  await runSql(urls.source, TABLES);
  await runSql(urls.source, `INSERT INTO wide SELECT i, ${textOf(31)} FROM generate_series(1, ${size.kilobytes}) i`);
  await runSql(urls.source, 'VACUUM ANALYZE');
  await runSql(urls.source, 'CHECKPOINT');
  const directory = mkdtempSync(join(tmpdir(), 'switchback-bench-'));
  try {
    writeFileSync(join(directory, 'plan.yaml'), PLAN);
    writeFileSync(join(directory, 'tables.sql'), TABLES);
    writeFileSync(join(directory, 'route.json'), JSON.stringify({ [PHASE]: { primary: 'source', held: false } }));
    const environment = { ...process.env, OLD_DATABASE_URL: urls.source, NEW_DATABASE_URL: urls.target };
    const script = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
    const self = { script, environment };
    return await play({ what: pair.name, plan: join(directory, 'plan.yaml'), self, urls, size, options });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
};

/** The md5 of a row's number, so many times over: 32 bytes each. */
const textOf = (times: number): string => `repeat(md5(i::text), ${times})`;

/** What happens in one run, and where. */
interface Game {
  readonly what: string;
  readonly plan: string;
  readonly self: Self;
  readonly urls: { readonly source: string; readonly target: string };
  readonly size: Size;
  readonly options: BenchOptions;
}

const play = async (game: Game): Promise<PartResult> => {
  const { options, plan, self, size, urls, what } = game;
  const states = new Set<string>();
  const onEvent = (event: Event): void => {
    if (event.type === 'phase') states.add(event.to);
  };
  const worker = new WorkerProcess(self, { plan, onEvent });
  const memory = new Memory(worker.pid);
  const during = async (name: string, work: () => Promise<void>): Promise<void> => {
    options.signal.throwIfAborted();
    memory.begin();
    const begun = monotonicMs();
    await Promise.race([work(), worker.ended()]);
    const bytes = memory.end(name);
    const seconds = ((monotonicMs() - begun) / 1000).toFixed(1);
    options.tell(`${what}: ${name}: ${(bytes / 2 ** 20).toFixed(0)} MiB at most, ${seconds} s`);
  };
  const untilState = async (state: string): Promise<void> => await until(options, async () => states.has(state));
  try {
    await during('copy of the table', () => untilState('following'));
    await during('verification', () => untilState('ready'));
    await during('following', () => carried(game, 'following', followingSql(size)));
    await during('one large transaction', () => carried(game, 'large', largeSql(size)));
    await during('one transaction of small changes', () => carried(game, 'small', smallSql(size)));
    await during('cutover', async () => {
      await runCommand(self, ['cutover', plan, PHASE, '--confirm', PHASE]);
      await untilState('soaking');
    });
    const check = await checkRows({ case: what, by: 'after all of it' }, urls);
    return { rows: [], figures: figuresOf(what, memory), checks: [check], notes: [] };
  } finally {
    memory.close();
    await worker.stop();
  }
};

const until = async (options: BenchOptions, reached: () => Promise<boolean>): Promise<void> => {
  const deadlineMs = monotonicMs() + WITHIN_MS;
  while (!(await reached())) {
    if (monotonicMs() > deadlineMs) throw new SwitchbackError('internal', `not reached within ${WITHIN_MS / 1000} s`);
    await sleep(POLL_MS, options.signal);
  }
};

/** Writes on the source, and waits until what was written last is on the target. */
const carried = async ({ urls, options }: Game, stage: string, sql: string): Promise<void> => {
  await runSql(urls.source, sql);
  await runSql(urls.source, `INSERT INTO stage_end VALUES ('${stage}')`);
  const arrived = async () => (await runSql(urls.target, `SELECT FROM stage_end WHERE stage = '${stage}'`)).length > 0;
  await until(options, arrived);
};

const followingSql = ({ kilobytes, transactions }: Size): string => `DO $$
  BEGIN
    FOR i IN 1..${transactions} LOOP
      UPDATE wide SET body = ${textOf(32)} WHERE id = 1 + i * 7919 % ${kilobytes};
      COMMIT;
    END LOOP;
  END $$`;

const largeSql = ({ megabytes }: Size): string =>
  `INSERT INTO large SELECT i, ${textOf(32_768)} FROM generate_series(1, ${megabytes}) i`;

/** Both statements are one text, and so one transaction. */
const smallSql = ({ changes }: Size): string =>
  `INSERT INTO small SELECT i, 0 FROM generate_series(1, ${changes / 2}) i; UPDATE small SET n = id`;

const figuresOf = (what: string, memory: Memory): readonly Figure[] => {
  const stages = memory.stages.map(({ name, bytes }) => ({ name, value: bytes, reach: null }));
  const most = { name: 'most of all stages', value: Math.max(...stages.map(({ value }) => value)) };
  return [...stages, { ...most, reach: { atMost: REACH_BYTES } }].map((found) => ({
    case: what,
    unit: 'bytes',
    ...found,
  }));
};
