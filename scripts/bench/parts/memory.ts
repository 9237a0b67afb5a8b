import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand, type Self, WorkerProcess } from '../../../src/demo/program.ts';
import { SwitchbackError } from '../../../src/domain/errors.ts';
import type { Event } from '../../../src/domain/event.ts';
import { monotonicMs, sleep } from '../../../src/platform/clock.ts';
import { type FiguresPart, figuresOf, figuresPart, inDirectory, PROGRAM } from '../figures.ts';
import { Memory } from '../memory.ts';
import type { BenchOptions, Figure, Pair, Part } from '../part.ts';
import { freshDatabase, runSql } from '../servers.ts';
import { checkRows } from '../sides.ts';

/** Rows of a kilobyte to copy, rows of a megabyte in one transaction, changes of small rows in one transaction. */
const SIZES = {
  full: { kilobytes: 2_000_000, megabytes: 2_000, changes: 5_000_000, transactions: 20_000 },
  small: { kilobytes: 20_000, megabytes: 20, changes: 50_000, transactions: 500 },
} as const;
type Size = Readonly<Record<keyof (typeof SIZES)['full'], number>>;

const REACH_BYTES = 256 * 2 ** 20;
const PHASE = 'all';
const LARGE = 'one large transaction';
const SMALL = 'one transaction of small changes';
/** Stages whose time is a figure too. */
const TIMED: ReadonlySet<string> = new Set([LARGE, SMALL]);
/** Longest that one stage may take; a transaction of 2 GB takes the servers a minute. */
const WITHIN_MS = 300_000;
const POLL_MS = 50;

const TABLES = `
  CREATE TABLE wide (id int PRIMARY KEY, body text NOT NULL);
  CREATE TABLE large (id int PRIMARY KEY, body text NOT NULL);
  ALTER TABLE large ALTER body SET STORAGE EXTERNAL;
  CREATE TABLE small (id int PRIMARY KEY, n int NOT NULL);
  CREATE TABLE stage_end (stage text PRIMARY KEY);`;

const FREE_SLOTS = `
  SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active;
  SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database() AND NOT active`;

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
export const memory: Part = figuresPart<Size>({
  name: 'memory',
  description: "the worker's resident memory: a 2 GB table, a 2 GB transaction, one of 5 million changes, a cutover",
  sizes: SIZES,
  measure: async (pair, size, options) => {
    const whole = { what: pair.name, size, options, isStreaming: true };
    const found = await inDirectory((directory) => measure(pair, { ...whole, directory }));
    if (pair.name === '13→18') return found;
    const less = { ...size, kilobytes: size.kilobytes / 100, megabytes: size.megabytes / 20, transactions: 1 };
    const unstreamed = { ...whole, what: `${pair.name}, protocol 1`, size: less, isStreaming: false };
    const other = await inDirectory((directory) => measure(pair, { ...unstreamed, directory }));
    return { figures: [...found.figures, ...other.figures], checks: [...found.checks, ...other.checks] };
  },
  notes: (size) => [
    `the table: ${size.kilobytes.toLocaleString('en')} rows of 1 kB; following: ${size.transactions.toLocaleString('en')} transactions of one update; the large transaction: ${size.megabytes.toLocaleString('en')} rows of 1 MB; small changes: ${size.changes.toLocaleString('en')}, half inserts, half updates of them, in one transaction`,
    'one run, whatever the number of rounds; resident memory of `switchback run` by the kernel (VmHWM of /proc, begun anew at each stage), with what Node itself maps; each stage lasts until its end is on the target, what its statements take on the source included',
    'large transactions: 13 sends them when they have committed (protocol 1), 18 before that (protocol 2, and they wait in a file); `protocol 1` from 18 is with a TMPDIR that cannot be written, the other stages a hundredth and a twentieth as large',
  ],
});

type Found = Awaited<ReturnType<FiguresPart<Size>['measure']>>;

/** One run: how large, where, and whether the worker has a place for transactions that are streamed before they end. */
interface Run {
  readonly what: string;
  readonly size: Size;
  readonly directory: string;
  readonly isStreaming: boolean;
  readonly options: BenchOptions;
}

const measure = async (pair: Pair, run: Run): Promise<Found> => {
  const { what, size, directory, isStreaming, options } = run;
  const urls = {
    source: await freshDatabase(pair.source, 'memory'),
    target: await freshDatabase(pair.target, 'memory'),
  };
  options.tell(`${what}: making a table of ${size.kilobytes.toLocaleString('en')} kB`);
  await runSql(urls.source, TABLES);
  await runSql(urls.source, `INSERT INTO wide SELECT i, ${textOf(31)} FROM generate_series(1, ${size.kilobytes}) i`);
  await runSql(urls.source, 'VACUUM ANALYZE');
  await runSql(urls.source, 'CHECKPOINT');
  const plan = join(directory, 'plan.yaml');
  writeFileSync(plan, PLAN);
  writeFileSync(join(directory, 'tables.sql'), TABLES);
  writeFileSync(join(directory, 'route.json'), JSON.stringify({ [PHASE]: { primary: 'source', held: false } }));
  const environment = {
    ...process.env,
    OLD_DATABASE_URL: urls.source,
    NEW_DATABASE_URL: urls.target,
    ...(isStreaming ? {} : { TMPDIR: join(directory, 'nowhere') }),
  };
  const found = await play({ what, plan, self: { script: PROGRAM, environment }, urls, size, options });
  // The reverse lane's slot would keep the source's database from being made anew.
  for (const url of [urls.source, urls.target]) await runSql(url, FREE_SLOTS);
  return found;
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

const play = async (game: Game): Promise<Found> => {
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
    await Promise.race([work(), worker.ended()]);
    const { bytes, seconds } = memory.end(name);
    options.tell(`${what}: ${name}: ${(bytes / 2 ** 20).toFixed(0)} MiB at most, ${seconds.toFixed(1)} s`);
  };
  const untilState = async (state: string): Promise<void> => await until(options, async () => states.has(state));
  try {
    await during('copy of the table', () => untilState('following'));
    await during('verification', () => untilState('ready'));
    await during('following', () => carried(game, 'following', followingSql(size)));
    await during(LARGE, () => carried(game, 'large', largeSql(size)));
    await during(SMALL, () => carried(game, 'small', smallSql(size)));
    await during('cutover', async () => {
      await runCommand(self, ['cutover', plan, PHASE, '--confirm', PHASE]);
      await untilState('soaking');
    });
    const check = await checkRows({ case: what, by: 'after all of it' }, urls);
    return { figures: figuresFrom(what, memory), checks: [check] };
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

const figuresFrom = (what: string, { stages }: Memory): readonly Figure[] => {
  const figure = figuresOf(what);
  const most = Math.max(...stages.map(({ bytes }) => bytes));
  return [
    ...stages.map(({ name, bytes }) => figure(name, 'bytes', { value: bytes })),
    figure('most of all stages', 'bytes', { value: most, atMost: REACH_BYTES }),
    ...stages.filter(({ name }) => TIMED.has(name)).map(({ name, seconds }) => figure(name, 's', { value: seconds })),
  ];
};
