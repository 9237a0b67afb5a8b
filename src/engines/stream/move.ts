import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { quoteName, quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import type { RowChange } from '../../rows/change.ts';
import type { LaneContext } from './context.ts';
import { encodeStaged } from './encode.ts';
import type { LaneTable } from './lane-table.ts';
import { insertColumns, mergeStatements } from './merge-sql.ts';
import { replayInOrder } from './replay.ts';
import type { Stages } from './stage.ts';

/** An update that gives a row another key. */
type Move = RowChange<LaneTable> & { readonly kind: 'update' };

/** What {@link moveRow} works with. */
export interface Mover {
  readonly context: LaneContext;
  readonly client: pg.Client;
  readonly stages: Stages;
}

/** Whether a change gives a row another key and leaves a TOASTed value alone. */
export const isMove = (change: RowChange<LaneTable>): change is Move => {
  if (change.kind !== 'update' || change.before === null || !change.after.hasUnchanged) return false;
  const { keyAt } = change.table;
  return keyAt !== null && change.before.identity(keyAt) !== change.after.identity(keyAt);
};

/**
 * Applies a {@link isMove} idempotently. The unchanged value cannot be taken from the row under the old key: a chunk that was
 * read later may have brought another row that has got this key since. So the old key goes; a row under the new key keeps
 * its value; and when there is none the whole row is read from the origin again, as it is now. Resolves then with the
 * origin's position after that, up to which apply has to stay idempotent.
 */
export const moveRow = async (mover: Mover, change: Move): Promise<Position | null> => {
  const { table } = change;
  if (change.before === null) throw new SwitchbackError('internal', 'a move without an old key');
  const rows = [
    { operation: 'delete', tuple: change.before, isKeyOnly: true },
    { operation: 'update', tuple: change.after, isKeyOnly: false },
  ] as const;
  const staged = await mover.stages.fillFolded(encodeStaged(table, rows, mover.stages.nextPart()));
  if (mover.context.isReplay === true) return await moveInPlace(mover, change, staged);
  let found = 0;
  for (const { sql } of mergeStatements(table, staged, 'idempotent')) {
    found = (await mover.client.query(sql)).rowCount ?? 0;
  }
  return found > 0 ? null : await readAgain(mover, change);
};

/**
 * The same where there is no origin any more, onto a state that is consistent in itself and stands somewhere between two
 * positions. If it has the row under its new key, that keeps its value. Else it has the row under the old key alone, whose value
 * is the unchanged one; or that row's later fate, which what is replayed after brings about again.
 */
const moveInPlace = async (
  { client, stages, context }: Mover,
  change: Move,
  staged: Parameters<typeof mergeStatements>[1],
): Promise<null> => {
  const { table } = change;
  const [remove, update] = mergeStatements(table, staged, 'idempotent');
  const { rowCount } = await client.query(update?.sql ?? '');
  if (rowCount !== 0) {
    await client.query(remove?.sql ?? '');
    return null;
  }
  const replay = { client, stages, mode: 'strict', side: context.to.label } as const;
  await client.query('SAVEPOINT move');
  try {
    await replayInOrder(replay, table, [change]);
  } catch (error) {
    // Neither is there: it was deleted, or has moved on, before the state was taken.
    if (!isKind(error, 'halted')) throw error;
    await client.query('ROLLBACK TO SAVEPOINT move');
  }
  return null;
};

const readAgain = async (mover: Mover, change: Move): Promise<Position> => {
  const { table } = change;
  const { from } = mover.context;
  const keyAt = table.keyAt ?? [];
  const texts = change.after.texts(keyAt);
  const key = keyAt.map((i, at) => {
    const column = table.columns[i];
    return `${quoteName(column?.name ?? '')} = ${quoteText(texts[at] ?? '')}::${column?.type ?? 'text'}`;
  });
  const name = quoteTable(table.table);
  const columns = table.columns.map((c) => quoteName(c.name)).join(', ');
  const session = await from.connect('reread');
  try {
    const source = session.query(
      copyTo(`COPY (SELECT ${columns} FROM ONLY ${name} WHERE ${key.join(' AND ')}) TO STDOUT`),
    );
    const sink = mover.client.query(copyFrom(`COPY ${name} ${insertColumns(table)} FROM STDIN`));
    source.on('error', () => undefined);
    sink.on('error', () => undefined);
    await pipeline(source, sink);
    const { rows } = await session.query<{ head: string }>('SELECT pg_current_wal_insert_lsn()::text AS head');
    return (rows[0]?.head ?? '') as Position;
  } catch (error) {
    throw from.wrap(error);
  } finally {
    await session.end().catch(() => undefined);
  }
};
