import { type DataSet, makeDataSet } from '../data-set.ts';
import { mixedSet } from '../mixed.ts';
import { Move } from '../move.ts';
import type { BenchOptions, Check, Pair, PairName, Part, PartResult } from '../part.ts';
import { HISTORY_KEY, pgbenchSet } from '../pgbench.ts';
import { findClient, findPgcopydb, jobs, type Program } from '../programs.ts';
import { byManual, clone, type Manner, tuned } from '../references/pgcopydb.ts';
import { pipeByPsql } from '../references/pipe.ts';
import { endNativeSync, nativeSync } from '../references/subscription.ts';
import { busyNote, type Contender, compareWith, medianOf, runRounds } from '../rounds.ts';
import { checkpoint, dropDatabase, freshDatabase, runSql, withPair } from '../servers.ts';
import { type Contents, compareContents, contentsOf } from '../sides.ts';

const ACCOUNTS = { full: 5_000_000, small: 20_000 };
/** DESIGN 10: of pgcopydb's time. */
const REACH = 0.75;
const MEMORY = { atMost: 256 * 2 ** 20 };
/** These references are there to say where the time goes: on one pair, and in few rounds. */
const NATIVE = 'native table sync';
const PIPE = 'psql | psql, binary';
const INFORMED: PairName = '13→18';
const INFORMED_ROUNDS = 2;
/** What is reached is judged by pgcopydb as its manual has it; what it can be tuned to is told beside. */
const TUNED_ROUNDS = 3;

/** pgbench's history gets a key, so that all tables are moved in the same way by everybody. */
const setsOf = ({ small, seed }: BenchOptions): readonly DataSet[] => {
  const pgbench = pgbenchSet({ accounts: small ? ACCOUNTS.small : ACCOUNTS.full });
  return [{ ...pgbench, bare: `${pgbench.bare}; ${HISTORY_KEY}` }, mixedSet(small, seed)];
};

/** `copy`: the whole of a move's first part, until every phase follows, against what else copies a database. */
export const copy: Part = {
  name: 'copy',
  description:
    'schema, rows, indexes and statistics onto an empty target, against pgcopydb, psql | psql and native sync',
  run: async (options) => {
    const results: PartResult[] = [];
    for (const pair of options.pairs) {
      results.push(await withPair(pair, (servers) => measurePair(servers, options)));
    }
    return {
      rows: results.flatMap(({ rows }) => rows),
      figures: results.flatMap(({ figures }) => figures),
      checks: results.flatMap(({ checks }) => checks),
      notes: [...notes(), ...results.flatMap((result) => result.notes)],
    };
  },
};

const notes = (): readonly string[] => [
  'Switchback: `switchback run PLAN` of the built package in one phase, from the start of its process until the phase is `following`: preflight, sidecars, schema, slot, fence, rows, keys, catch-up, indexes, ANALYZE',
  ...(findPgcopydb() === undefined
    ? ['pgcopydb is MISSING here (neither on PATH nor made by `npm run services`), and with it the ratio that counts']
    : [byManual(), tuned()].map(mannerNote)),
  findClient('psql') === undefined
    ? 'psql is MISSING here, and with it the pipe'
    : `the pipe: ${jobs()} at a time, then indexes on ${jobs()} sessions with maintenance_work_mem 1 GB, then ANALYZE`,
  'native table sync: CREATE SUBSCRIPTION into tables without indexes, default number of workers; then as after the pipe',
  'every round copies into a new database, after a CHECKPOINT of both servers; rows (digests by the servers), indexes, constraints and which tables have statistics are compared with the source for every result',
];

const mannerNote = ({ name, options, isAnalysedAfter }: Manner): string => {
  const statistics = isAnalysedAfter
    ? 'then ANALYZE, which it leaves out'
    : 'with the VACUUM ANALYZE that is its default';
  return `pgcopydb, ${name}: \`pgcopydb clone ${options.join(' ')}\`, ${statistics}; it sets maintenance_work_mem to 1 GB itself`;
};

const measurePair = async (pair: Pair, options: BenchOptions): Promise<PartResult> => {
  const results: PartResult[] = [];
  for (const set of setsOf(options)) results.push(await measure(pair, set, options));
  return {
    rows: results.flatMap(({ rows }) => rows),
    figures: results.flatMap(({ figures }) => figures),
    checks: results.flatMap(({ checks }) => checks),
    notes: results.flatMap((result) => result.notes),
  };
};

/** One data set on one pair, with what its contenders share. */
interface Case {
  readonly what: string;
  readonly pair: Pair;
  readonly set: DataSet;
  readonly source: string;
  readonly expected: Contents;
  readonly checks: Check[];
  /** Milliseconds of our steps, by name, round by round. */
  readonly stepsMs: Map<string, number[]>;
  readonly peakBytes: number[];
}

const measure = async (pair: Pair, set: DataSet, options: BenchOptions): Promise<PartResult> => {
  const what = `${pair.name}, ${set.name}`;
  const source = await freshDatabase(pair.source, 'origin');
  await makeDataSet(source, set, jobs());
  const expected = await contentsOf(source);
  const own: Case = { what, pair, set, source, expected, checks: [], stepsMs: new Map(), peakBytes: [] };
  const series = await runRounds(what, contendersOf(own), options);
  const [size] = await runSql(source, 'SELECT pg_database_size(current_database())::float8 AS bytes');
  await dropDatabase(pair.source, 'origin');
  const program = findPgcopydb();
  return {
    rows: compareWith(what, series, program === undefined ? {} : { [nameOf(program, byManual())]: REACH }),
    figures: [
      { case: what, name: 'size of the source', unit: 'bytes', value: Number(size?.bytes), reach: null },
      { case: what, name: 'memory of the worker', unit: 'bytes', value: Math.max(...own.peakBytes), reach: MEMORY },
    ],
    checks: own.checks,
    notes: [stepsNote(own), busyNote(what, series)],
  };
};

/** Where our own time went, so that a reader sees what the rows took and what the indexes. */
const stepsNote = ({ what, stepsMs }: Case): string => {
  const medians = [...stepsMs].map(([name, ms]) => `${name} ${(medianOf(ms) / 1000).toFixed(2)}`);
  return `${what}, steps of Switchback in seconds (medians): ${medians.join(', ')}`;
};

const nameOf = (program: Program, manner: Manner): string => `${program.name}, ${manner.name}`;

/** pgcopydb is what is compared with; the others say where its time goes, on one pair and in fewer rounds. */
const contendersOf = (own: Case): readonly Contender[] => {
  const urls = (target: string) => ({ source: own.source, target });
  const program = findPgcopydb();
  const contenders = [switchback(own)];
  if (program !== undefined) {
    const called = (manner: Manner): Contender =>
      reference(own, { name: nameOf(program, manner), run: (target) => clone(program, urls(target), manner) });
    contenders.push(called(byManual()), { ...called(tuned()), atMost: TUNED_ROUNDS });
  }
  if (own.pair.name !== INFORMED) return contenders;
  const psql = findClient('psql');
  const { set } = own;
  if (psql !== undefined) {
    const run = (target: string) => pipeByPsql(psql.path, urls(target), set);
    contenders.push({ ...reference(own, { name: PIPE, run }), atMost: INFORMED_ROUNDS });
  }
  const run = (target: string) => nativeSync(urls(target), set);
  const clean = () => endNativeSync(urls(own.pair.target.urlFor('copied')));
  contenders.push({ ...reference(own, { name: NATIVE, run, clean }), atMost: INFORMED_ROUNDS });
  return contenders;
};

const reference = (
  own: Case,
  options: { readonly name: string; run(target: string): Promise<void>; clean?(): Promise<void> },
): Contender =>
  contender(own, {
    name: options.name,
    run: async (target) => {
      await options.run(target);
      return undefined;
    },
    clean: async () => await options.clean?.(),
  });

/** A contender that fills a new database, whose contents are then looked at. */
const contender = (
  own: Case,
  options: {
    readonly name: string;
    run(target: string): Promise<number | undefined>;
    clean(): Promise<void>;
  },
): Contender => {
  const target = own.pair.target.urlFor('copied');
  return {
    name: options.name,
    prepare: async () => {
      await freshDatabase(own.pair.target, 'copied');
      await checkpoint(own.pair);
    },
    run: () => options.run(target),
    after: async () => {
      const what = { case: own.what, by: options.name };
      try {
        own.checks.push(...compareContents(what, own.expected, await contentsOf(target)));
      } finally {
        await options.clean();
        await dropDatabase(own.pair.target, 'copied');
      }
    },
  };
};

/** pg_dump cannot read a server newer than itself: then we get the schema as a file, as a user would give it. */
const schemaFor = ({ pair, set }: Case): { readonly schema?: string } => {
  const pgDump = findClient('pg_dump');
  if (pgDump !== undefined && pgDump.major >= Number.parseInt(pair.source.version, 10)) return {};
  return { schema: [set.bare, ...set.indexes, ...set.foreignKeys].join(';\n') };
};

const switchback = (own: Case): Contender => {
  let move: Move | undefined;
  const run = async (target: string): Promise<number> => {
    move = new Move({ source: own.source, target, phases: { all: [own.set.tables] }, ...schemaFor(own) });
    move.start();
    const seconds = await move.secondsUntil('following');
    // Not before its verification is ended: it reads all rows.
    await move.stop();
    return seconds;
  };
  const clean = async () => {
    for (const [step, ms] of move?.stepsMs() ?? []) own.stepsMs.set(step, [...(own.stepsMs.get(step) ?? []), ms]);
    if (move !== undefined) own.peakBytes.push(move.peakBytes);
    await move?.close();
    move = undefined;
  };
  return contender(own, { name: 'Switchback', run, clean });
};
