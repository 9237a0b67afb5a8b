import { startServer } from '../../../src/demo/servers.ts';
import { monotonicMs } from '../../../src/platform/clock.ts';
import { type Bed, makeBed, runSql } from '../fit/bed.ts';
import { manyPhases, manyTablesSql } from '../many-tables.ts';
import type { BenchOptions, Check, Figure, PairName, Part, PartResult } from '../part.ts';

const MAJORS = { '13→18': [13, 18], '18→18': [18, 18] } as const satisfies Record<
  PairName,
  readonly [13 | 18, 13 | 18]
>;
const SIZES = [500, 1_000, 2_500, 5_000];
const SMALL_SIZES = [100];
/** What the tool is to answer within, in seconds, with 5,000 tables in 200 phases. */
const REACH: Readonly<Record<string, number>> = { check: 10, status: 1 };

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

const secondsOf = async (work: () => Promise<unknown>): Promise<number> => {
  const begun = monotonicMs();
  await work();
  return (monotonicMs() - begun) / 1_000;
};

/** A slot, a sender and sessions for each phase; locks for all that a transaction makes. */
const settingsFor = (phases: number): Readonly<Record<string, string>> => ({
  max_replication_slots: String(phases + 20),
  max_wal_senders: String(phases + 20),
  max_connections: String(2 * phases + 100),
  max_locks_per_transaction: '1024',
  shared_buffers: '512MB',
});

/** `tables`: what a catalogue of many tables and phases costs each command; no reference does the same. */
export const tables: Part = {
  name: 'tables',
  description: 'check, show, status, and everything until all phases are ready, with up to 5,000 tables in 200 phases',
  run: async (options) => {
    const results: PartResult[] = [];
    for (const pair of options.pairs) {
      for (const count of options.small ? SMALL_SIZES : SIZES) results.push(await measure(pair, count, options));
    }
    return {
      rows: [],
      figures: results.flatMap(({ figures }) => figures),
      checks: results.flatMap(({ checks }) => checks),
      notes: ['25 small tables a phase, each with three rows; times of the commands are of the whole process'],
    };
  },
};

const measure = async (pair: PairName, count: number, options: BenchOptions): Promise<PartResult> => {
  const [from, to] = MAJORS[pair];
  const settings = settingsFor(manyPhases(count).length);
  const servers = {
    source: await startServer({ version: from, settings }),
    target: await startServer({ version: to, settings }),
  };
  try {
    options.tell(`${pair}, ${count} tables`);
    const bed = await makeBed({
      servers,
      name: 'many',
      schema: manyTablesSql(count, { rows: 0 }),
      rows: [FILL],
      phases: manyPhases(count),
    });
    try {
      return await measureBed(bed, `${pair}, ${count} tables`, options);
    } finally {
      await bed.remove();
    }
  } finally {
    await Promise.all([servers.source.stopAndRemove(), servers.target.stopAndRemove()]);
  }
};

/** Three rows in every plain table, by what is common to all of their shapes. */
const FILL = `DO $$ DECLARE t regclass; BEGIN
  FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relname ~ '^p[0-9]+_t' LOOP
    EXECUTE format('INSERT INTO %s (id, name) SELECT g, g FROM generate_series(1, 3) g', t);
  END LOOP;
END $$`;

const measureBed = async (bed: Bed, name: string, { rounds, signal }: BenchOptions): Promise<PartResult> => {
  const figures: Figure[] = [];
  const add = (command: string, value: number): void => {
    const atMost = REACH[command];
    figures.push({ case: name, name: command, unit: 's', value, reach: atMost === undefined ? null : { atMost } });
  };
  const repeated = async (command: string): Promise<void> => {
    const seconds: number[] = [];
    for (let round = 0; round < rounds; round++) {
      signal.throwIfAborted();
      seconds.push(await secondsOf(() => bed.command(command, bed.plan)));
    }
    add(command, median(seconds));
  };
  await repeated('check');
  await repeated('show');
  add('until all phases are ready', await secondsOf(() => bed.command('run', bed.plan, '--until', 'ready')));
  await repeated('status');
  const check = await equalRows(bed, name);
  add('abort of all phases', await secondsOf(() => bed.command('abort', bed.plan, '--confirm', 'fit')));
  return { rows: [], figures, checks: [check], notes: [] };
};

/** The number of rows of all tables together, counted on both sides. */
const COUNT = `SELECT sum((xpath('/row/n/text()', query_to_xml(
    format('SELECT count(*) AS n FROM %s', oid::regclass), false, true, '')))[1]::text::bigint)::text AS rows
  FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text ~ '^s[0-9]+$'`;

const equalRows = async (bed: Bed, name: string): Promise<Check> => {
  const [[source], [target]] = await Promise.all([runSql(bed.urls.source, COUNT), runSql(bed.urls.target, COUNT)]);
  const ok = source?.rows !== undefined && source.rows !== '0' && source.rows === target?.rows;
  const check = { case: name, what: 'as many rows on the target as on the source', ok };
  return ok ? check : { ...check, found: `${source?.rows} and ${target?.rows}` };
};
