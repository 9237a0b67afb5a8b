import { sql as raw } from 'kysely';
import type { KeyText } from '../databases/digests.ts';
import { deposedError } from '../domain/errors.ts';
import type { Halt } from '../domain/phase.ts';
import type { Direction, Position } from '../domain/position.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import type { Chunk, LaneProgress, LaneStore } from '../engines/engine.ts';
import { build, execute, fetch } from './tables.ts';

/** A lane as the source's sidecar knows it. */
export interface StoredLane {
  readonly name: string;
  readonly phase: string;
  readonly direction: Direction;
  readonly slot: string;
  readonly publication: string;
  readonly halt: Halt | null;
}

/** `<phase>/<direction>`: the lane's name in progress, markers and messages. */
export const laneName = (phase: string, direction: Direction): string => `${phase}/${direction}`;

/** Reads all lanes. */
export const readLanes = async (sql: SqlExecutor): Promise<readonly StoredLane[]> => {
  const rows = await fetch(sql, build.selectFrom('lane').selectAll().orderBy('name'));
  return rows.map((row) => ({
    name: row.name,
    phase: row.phase,
    direction: row.direction === 'reverse' ? 'reverse' : 'forward',
    slot: row.slot,
    publication: row.publication,
    halt: row.halt === null ? null : (JSON.parse(row.halt) as Halt),
  }));
};

/** Stores a lane's slot and publication. */
export const writeLane = async (sql: SqlExecutor, lane: StoredLane): Promise<void> => {
  const values = {
    slot: lane.slot,
    publication: lane.publication,
    halt: lane.halt === null ? null : JSON.stringify(lane.halt),
  };
  await execute(
    sql,
    build
      .insertInto('lane')
      .values({ name: lane.name, phase: lane.phase, direction: lane.direction, ...values })
      .onConflict((conflict) => conflict.column('name').doUpdateSet(values)),
  );
};

/** Stores why a lane is halted, or null when it may go on. */
export const writeHalt = async (sql: SqlExecutor, name: string, halt: Halt | null): Promise<void> => {
  await execute(
    sql,
    build
      .updateTable('lane')
      .set({ halt: halt === null ? null : JSON.stringify(halt) })
      .where('name', '=', name),
  );
};

/** Removes all trace of a lane from the side that it writes to. */
export const forgetLane = async (sql: SqlExecutor, name: string): Promise<void> => {
  await execute(sql, build.deleteFrom('progress').where('lane', '=', name));
  await execute(sql, build.deleteFrom('chunk').where('lane', '=', name));
};

/** Progress of every lane that writes to this side, by lane name. */
export const readProgress = async (sql: SqlExecutor): Promise<ReadonlyMap<string, LaneProgress>> => {
  const rows = await fetch(sql, build.selectFrom('progress').select(['lane', 'position', 'strict_from', 'marker']));
  return new Map(rows.map((row) => [row.lane, progressOf(row)]));
};

const progressOf = (row: { position: string; strict_from: string | null; marker: string }): LaneProgress => ({
  position: row.position as Position,
  strictFrom: row.strict_from as Position | null,
  marker: BigInt(row.marker),
});

/** Rows and bytes copied so far, by lane name; a lane that has copied nothing is absent. */
export const readCopied = async (
  sql: SqlExecutor,
): Promise<ReadonlyMap<string, { readonly rows: number; readonly bytes: number }>> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('chunk')
      .select(['lane', raw<string>`sum(rows)`.as('n'), raw<string>`sum(bytes)`.as('b')])
      .groupBy('lane'),
  );
  return new Map(rows.map((row) => [row.lane, { rows: Number(row.n), bytes: Number(row.b) }]));
};

const keyOf = (text: string | null): KeyText | null => (text === null ? null : (JSON.parse(text) as KeyText));
const textOf = (key: KeyText | null): string | null => (key === null ? null : JSON.stringify(key));

const rowOf = (progress: LaneProgress, epoch: bigint) => ({
  position: progress.position,
  strict_from: progress.strictFrom,
  marker: String(progress.marker),
  epoch: String(epoch),
  updated_at: raw<string>`now()`,
});

/**
 * The lane's store on the side that it writes to. `epoch` is asked at every write, because a switch raises it while the
 * lane runs.
 */
export const laneStore = (lane: string, epoch: () => bigint): LaneStore => ({
  async progress(sql) {
    const [row] = await fetch(
      sql,
      build.selectFrom('progress').select(['position', 'strict_from', 'marker']).where('lane', '=', lane),
    );
    return row ? progressOf(row) : null;
  },

  async begin(sql, progress) {
    const row = rowOf(progress, epoch());
    const { rowCount } = await execute(
      sql,
      build
        .insertInto('progress')
        .values({ lane, ...row })
        .onConflict((conflict) => conflict.column('lane').doUpdateSet(row).where('progress.epoch', '<=', row.epoch)),
    );
    if (rowCount === 0) throw deposedError(`lane ${lane} belongs to an epoch newer than ${row.epoch}`);
  },

  async record(sql, progress) {
    const row = rowOf(progress, epoch());
    const { rowCount } = await execute(
      sql,
      build.updateTable('progress').set(row).where('lane', '=', lane).where('epoch', '<=', row.epoch),
    );
    // Without a row it was given up: a batch that a sleeper still has in hand would make a new one, and write rows.
    if (rowCount === 0) throw deposedError(`lane ${lane} was given up, or belongs to an epoch newer than ${row.epoch}`);
  },

  async restart(sql, progress) {
    await this.begin(sql, progress);
    await execute(sql, build.deleteFrom('chunk').where('lane', '=', lane));
  },

  async chunks(sql) {
    const rows = await fetch(
      sql,
      build
        .selectFrom('chunk')
        .select(['tbl', 'after', 'up_to', 'rows', 'bytes'])
        .where('lane', '=', lane)
        .orderBy('id'),
    );
    return rows.map((row) => ({
      table: row.tbl,
      after: keyOf(row.after),
      upTo: keyOf(row.up_to),
      rows: Number(row.rows),
      bytes: Number(row.bytes),
    }));
  },

  async recordChunk(sql, chunk: Chunk) {
    const mine = String(epoch());
    // The progress row of the lane is the one that a take-over raises, so the chunk is conditional on it.
    const { rowCount } = await execute(
      sql,
      build
        .insertInto('chunk')
        .columns(['lane', 'tbl', 'after', 'up_to', 'rows', 'bytes'])
        .expression(
          build
            .selectFrom('progress')
            .select([
              'lane',
              raw<string>`${chunk.table}::text`.as('tbl'),
              raw<string>`${textOf(chunk.after)}::text`.as('after'),
              raw<string>`${textOf(chunk.upTo)}::text`.as('up_to'),
              raw<string>`${String(chunk.rows)}::bigint`.as('rows'),
              raw<string>`${String(chunk.bytes)}::bigint`.as('bytes'),
            ])
            .where('lane', '=', lane)
            .where('epoch', '<=', mine)
            .forShare(),
        ),
    );
    if (rowCount === 0) throw deposedError(`lane ${lane} belongs to an epoch newer than ${mine}`);
  },
});
