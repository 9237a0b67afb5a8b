import { monotonicMs, sleep } from '../../../src/platform/clock.ts';
import { type EstimatedStage, type PhaseSize, sizeOf } from '../../../src/stages/estimate/estimate.ts';
import { readOutcomes } from '../../../src/stages/report-estimates.ts';
import { readScope } from '../../../src/stages/scope.ts';
import { readStatus } from '../../../src/stages/status.ts';
import { manyPhases, manyTablesSql, TABLES_PER_PHASE } from '../many-tables.ts';
import { type Bed, type BedOptions, type FitServers, makeBed, runSql } from './bed.ts';

/** What the stages of one phase took, alone on the servers. */
export interface StageTimes {
  readonly case: string;
  readonly size: PhaseSize;
  readonly ms: Readonly<Partial<Record<EstimatedStage, number>>>;
}

/** A worker and a switch with so many lanes on the source. */
export interface LaneTimes {
  readonly case: string;
  readonly lanes: number;
  /** In all phases, and in those that were switched. */
  readonly tables: number;
  readonly switched: number;
  /** Resident memory of the worker at its peak, in bytes. */
  readonly memory: number;
  readonly windowMs: number;
}

/** A backlog and how long it took to apply. */
export interface ApplyTimes {
  readonly case: string;
  readonly changes: number;
  readonly walBytes: number;
  readonly ms: number;
}

const SHAPES = {
  narrow: {
    columns: 'id bigint PRIMARY KEY, branch integer, balance integer, filler char(60)',
    index: 'branch',
    share: 1,
  },
  wide: {
    columns: 'id bigint PRIMARY KEY, branch integer, balance integer, filler text',
    index: 'branch',
    share: 0.25,
  },
} as const;

const rowsSql = (shape: keyof typeof SHAPES, rows: number): string => {
  const filler = shape === 'narrow' ? `''` : `repeat(md5(g::text), 24)`;
  return `INSERT INTO item SELECT g, g % 1000, g, ${filler} FROM generate_series(1, ${rows}) g`;
};

const withBed = async <T>(options: BedOptions, work: (bed: Bed) => Promise<T>): Promise<T> => {
  const bed = await makeBed(options);
  try {
    return await work(bed);
  } finally {
    await bed.remove();
  }
};

/** One phase, from planned to ready; what its stages took by its own journal. */
const stageTimes = async (name: string, options: BedOptions): Promise<StageTimes> =>
  await withBed(options, async ({ composition: { context }, command, plan }) => {
    const [phase] = (await readScope(context)).phases.values();
    if (phase === undefined) throw new RangeError('a fit needs a phase');
    await command('run', plan, '--until', 'ready');
    const { phases } = await readStatus(context);
    const certified = await certifiedSeconds(context, phases[0]?.certificate?.id ?? '');
    const [outcome] = await readOutcomes(context.source.sql, [{ name: phase.name, verifiedSeconds: certified }], {});
    const ms = Object.fromEntries((outcome?.stages ?? []).map(({ stage, actualMs }) => [stage, actualMs ?? 0]));
    await command('abort', plan, '--confirm', 'fit');
    return { case: name, size: sizeOf(phase), ms };
  });

const certifiedSeconds = async (context: Bed['composition']['context'], id: string): Promise<number> => {
  const { rows } = await context.source.sql.query(
    `SELECT doc::json ->> 'seconds' AS seconds FROM switchback.certificate WHERE id = $1`,
    [id],
  );
  return Number(rows[0]?.seconds ?? 0);
};

/** Phases of one table of so many rows, in two shapes. */
export const measureRows = async (servers: FitServers, millions: readonly number[]): Promise<readonly StageTimes[]> => {
  const found: StageTimes[] = [];
  for (const million of millions) {
    for (const shape of ['narrow', 'wide'] as const) {
      const rows = Math.round(million * 1e6 * SHAPES[shape].share);
      const { columns, index } = SHAPES[shape];
      found.push(
        await stageTimes(`${rows} ${shape} rows`, {
          servers,
          name: `rows_${shape}_${rows}`,
          schema: [`CREATE TABLE item (${columns}); CREATE INDEX ON item (${index})`],
          rows: [rowsSql(shape, rows)],
          phases: [{ name: 'all', tables: ['public.*'] }],
        }),
      );
    }
  }
  return found;
};

const tablesOf = (servers: FitServers, tables: number) => ({
  servers,
  schema: manyTablesSql(tables, { rows: 0 }),
  rows: [],
});

/** One phase of so many small tables. */
export const measureTables = async (servers: FitServers, counts: readonly number[]): Promise<readonly StageTimes[]> => {
  const found: StageTimes[] = [];
  for (const count of counts) {
    const phases = [{ name: 'all', tables: ['*.*'] }];
    found.push(await stageTimes(`${count} tables`, { ...tablesOf(servers, count), name: `tables_${count}`, phases }));
  }
  return found;
};

/** Many phases: the worker's memory, and the windows of a switch of one of them and of all the others together. */
export const measureLanes = async (servers: FitServers, phases: readonly number[]): Promise<readonly LaneTimes[]> => {
  const found: LaneTimes[] = [];
  for (const lanes of phases) {
    const tables = lanes * TABLES_PER_PHASE;
    const names = manyPhases(tables);
    await withBed({ ...tablesOf(servers, tables), name: `lanes_${lanes}`, phases: names }, async (bed) => {
      const windows: number[] = [];
      const worker = await bed.worker((event) => {
        if (event.type === 'switched') windows.push(event.windowMs);
      });
      const [first, ...rest] = names.map(({ name }) => name);
      for (const some of [[first ?? ''], rest]) {
        await bed.command('cutover', bed.plan, ...some, '--confirm', some.join(','));
        const switched = some.length * TABLES_PER_PHASE;
        const about = { lanes, tables, switched, memory: worker.peakBytes, windowMs: windows.at(-1) ?? 0 };
        found.push({ case: `${lanes} lanes, ${switched} tables switched`, ...about });
      }
      await worker.stop();
      await bed.command(
        'finalise',
        bed.plan,
        ...names.map(({ name }) => name),
        '--early',
        '--unfence',
        '--confirm',
        names.map(({ name }) => name).join(','),
      );
    });
  }
  return found;
};

const LOOK_MS = 20;
const CHANGES_PER_TRANSACTION = 5;

/** Transactions as an application's: five rows changed in each, all of them committed before the worker begins. */
const backlogSql = (transactions: number): string => `DO $$ BEGIN
  FOR n IN 1..${transactions} LOOP
    UPDATE item SET balance = balance + n WHERE id IN (${Array.from({ length: CHANGES_PER_TRANSACTION }, (_, k) => `1 + (n * 7919 + ${k * 104_729}) % 50000`).join(', ')});
    COMMIT;
  END LOOP;
END $$`;

/** Backlogs of so many changes, applied by a worker that comes back to them. */
export const measureApply = async (servers: FitServers, changes: readonly number[]): Promise<readonly ApplyTimes[]> =>
  await withBed(
    {
      servers,
      name: 'apply',
      schema: [`CREATE TABLE item (${SHAPES.narrow.columns}); CREATE INDEX ON item (branch)`],
      rows: [rowsSql('narrow', 50_000)],
      phases: [{ name: 'all', tables: ['public.*'] }],
    },
    async (bed) => {
      await bed.command('run', bed.plan, '--until', 'ready');
      const found: ApplyTimes[] = [];
      for (const count of changes) found.push(await applyBacklog(bed, count));
      await bed.command('abort', bed.plan, '--confirm', 'fit');
      return found;
    },
  );

const applyBacklog = async (bed: Bed, changes: number): Promise<ApplyTimes> => {
  const head = async (): Promise<string> => {
    const [row] = await runSql(bed.urls.source, 'SELECT pg_current_wal_insert_lsn()::text AS lsn');
    return String(row?.lsn);
  };
  const before = await head();
  await runSql(bed.urls.source, backlogSql(changes / CHANGES_PER_TRANSACTION));
  const after = await head();
  const [wal] = await runSql(bed.urls.source, `SELECT ('${after}'::pg_lsn - '${before}'::pg_lsn)::text AS bytes`);
  const ms = await untilApplied(bed, after);
  return { case: `${changes} changes`, changes, walBytes: Number(wal?.bytes), ms };
};

/** From the moment that the lane has its first commit in this worker until it is past a position. */
const untilApplied = async (bed: Bed, position: string): Promise<number> => {
  const { sql } = bed.composition.context.target;
  const worker = bed.startWorker(() => undefined);
  const ended = worker.ended();
  const begun = monotonicMs();
  const wait = async (): Promise<number> => {
    for (;;) {
      const { rows } = await sql.query('SELECT position::pg_lsn >= $1::pg_lsn AS done FROM switchback.progress', [
        position,
      ]);
      if (rows[0]?.done === 't') return monotonicMs() - begun;
      await sleep(LOOK_MS);
    }
  };
  const ms = await Promise.race([ended, wait()]);
  ended.catch(() => undefined);
  await worker.stop();
  return ms;
};
