import type pg from 'pg';
import { messageOf, type SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { quoteName, quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { codeOf } from '../../platform/postgres/server.ts';
import type { RowChange } from '../../rows/change.ts';
import { halted } from './halt.ts';
import type { LaneTable } from './lane-table.ts';
import { assign, fixed, insertColumns, type Mode, onConflict, settable, typed } from './merge-sql.ts';
import { foundBy, type Place, type StagedChange, type Stages } from './stage.ts';

const NOT_FOUND = 'SB001';
const UNIQUE_VIOLATION = '23505';
const EXCLUSION_VIOLATION = '23P01';
const HINT = 'switchback change ';

/** Where and how changes are replayed. */
export interface Replay {
  readonly client: pg.Client;
  readonly stages: Stages;
  readonly mode: Mode;
  /** Label of the written side, for messages. */
  readonly side: string;
}

/**
 * Applies changes to one table one by one, in the order of the origin: for a batch that a merge cannot carry (unique values
 * that are swapped, no key), and to find the row at which a merge failed. One round trip for all of them: the server loops
 * over the stage. Runs in the caller's transaction and leaves it aborted when it throws kind `halted`, naming the row.
 */
export const replayInOrder = async (
  replay: Replay,
  table: LaneTable,
  changes: readonly RowChange<LaneTable>[],
): Promise<void> => {
  const staged = changes.flatMap((change) => stageChange(change, table, replay.mode));
  if (staged.length === 0) return;
  const place = await replay.stages.fillOrdered(table, staged);
  try {
    await replay.client.query(`DO ${quoteText(replayBlock(table, place, replay.mode))}`);
  } catch (error) {
    throw explain(error, staged, replay);
  }
};

const stageChange = (change: RowChange<LaneTable>, table: LaneTable, mode: Mode): readonly StagedChange[] => {
  if (change.kind === 'delete') return [{ operation: 'delete', before: change.before, after: null, change }];
  const { after } = change;
  const isIdempotent = mode === 'idempotent' && table.keyAt !== null;
  if (change.kind === 'insert') {
    return [{ operation: isIdempotent ? 'upsert' : 'insert', before: null, after, change }];
  }
  const before = change.before ?? after;
  if (!isIdempotent || after.hasUnchanged) return [{ operation: 'update', before, after, change }];
  const upsert: StagedChange = { operation: 'upsert', before: null, after, change };
  return change.before === null ? [upsert] : [{ operation: 'delete', before, after: null, change }, upsert];
};

/** The loop over the stage. Names of its own begin with an underscore and are qualified, so that no column hides them. */
const replayBlock = (table: LaneTable, place: Place, mode: Mode): string => {
  const target = quoteTable(table.table);
  const names = { row: '_t', staged: '_c', isMasked: true };
  const where = found(table);
  const sets = settable(table, true).map((column) => assign(column, names));
  const values = table.columns.map((column, i) => typed(column, `_c.n${i + 1}`)).join(', ');
  const insert =
    values === ''
      ? `INSERT INTO ${target} DEFAULT VALUES`
      : `INSERT INTO ${target} ${insertColumns(table)} OVERRIDING SYSTEM VALUE VALUES (${values})`;
  const updateWhere = [where, ...fixedKey(table), ...fixed(table, names)].join(' AND ');
  const update =
    sets.length === 0
      ? `PERFORM 1 FROM ONLY ${target} AS _t WHERE ${updateWhere}`
      : `UPDATE ONLY ${target} AS _t SET ${sets.join(', ')} WHERE ${updateWhere}`;
  const upsert = table.keyAt === null ? insert : `${insert} ${onConflict(table)}`;
  const isStrict = mode === 'strict' || table.keyAt === null;
  return `#variable_conflict use_column
DECLARE
  _c record;
  _seq int := -1;
  _found bigint;
  _state text;
  _message text;
  _detail text;
BEGIN
  FOR _c IN SELECT * FROM ${place.stage} WHERE part = ${place.part} ORDER BY seq LOOP
    _seq := _c.seq;
    CASE _c.op
      WHEN 'insert' THEN ${insert};
      WHEN 'upsert' THEN ${upsert};
      WHEN 'update' THEN ${update};
      ELSE DELETE FROM ONLY ${target} AS _t WHERE ${where};
    END CASE;
    GET DIAGNOSTICS _found = ROW_COUNT;
    IF ${isStrict} AND _found <> 1 THEN
      RAISE EXCEPTION USING ERRCODE = '${NOT_FOUND}', MESSAGE = 'finds ' || _found || ' rows';
    END IF;
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS _state = RETURNED_SQLSTATE, _message = MESSAGE_TEXT, _detail = PG_EXCEPTION_DETAIL;
  RAISE EXCEPTION USING ERRCODE = _state, MESSAGE = _message, DETAIL = _detail, HINT = '${HINT}' || _seq;
END`;
};

/** How an old row is found: by its key, or as one row whose every column has the same text. */
const found = (table: LaneTable): string => {
  const columns = foundBy(table).flatMap((i, at) => {
    const column = table.columns[i];
    return column === undefined ? [] : [{ column, name: quoteName(column.name), staged: `_c.o${at + 1}` }];
  });
  if (table.keyAt !== null) {
    return columns
      .map(({ column, name, staged }) => `_t.${name} ${column.equals} ${typed(column, staged)}`)
      .join(' AND ');
  }
  // format() prints by the type's output function, as the origin did; a cast to text may run another one. A composite
  // value of nothing but NULLs satisfies IS NULL as well, and is not a NULL.
  const same = columns.map(
    ({ name, staged }) =>
      `(_w.${name} IS NOT DISTINCT FROM NULL) = (${staged} IS NULL) AND (${staged} IS NULL OR pg_catalog.format('%s', _w.${name}) COLLATE "C" = ${staged})`,
  );
  const where = same.length === 0 ? 'true' : same.join(' AND ');
  return `_t.ctid = (SELECT _w.ctid FROM ONLY ${quoteTable(table.table)} AS _w WHERE ${where} LIMIT 1)`;
};

/** An identity column of the key cannot be set, so a change of it finds no row instead of being lost. */
const fixedKey = (table: LaneTable): readonly string[] =>
  table.columns.flatMap((column, i) =>
    column.isIdentityAlways && table.keyAt?.includes(i)
      ? [`_t.${quoteName(column.name)} = ${typed(column, `_c.n${i + 1}`)}`]
      : [],
  );

const explain = (error: unknown, staged: readonly StagedChange[], replay: Replay): unknown => {
  const code = codeOf(error);
  const hint = error instanceof Error && 'hint' in error ? String(error.hint) : '';
  const at = hint.startsWith(HINT) ? staged[Number(hint.slice(HINT.length))] : undefined;
  if (!isRefusal(code) && code !== NOT_FOUND) return error;
  const subject = at?.change.table.name ?? 'a table';
  const what = at === undefined ? 'a change' : `${at.change.kind} of ${describe(at)}`;
  const row = rowOf(at);
  if (code === NOT_FOUND) {
    return divergence({ subject, row, fact: `${what} ${messageOf(error)} on the ${replay.side}` }, error);
  }
  const detail = error instanceof Error && 'detail' in error && error.detail ? ` (${String(error.detail)})` : '';
  const message = `${what}: ${messageOf(error)}${detail}`;
  if (code === UNIQUE_VIOLATION || code === EXCLUSION_VIOLATION) {
    return divergence(
      { subject, row, fact: `${message}; the ${replay.side} has a row that the origin has not` },
      error,
    );
  }
  return halted(
    {
      id: 'lane/apply-failed',
      subject,
      fact: `the ${replay.side} refuses ${message}`,
      remedy: `mend ${subject} on the ${replay.side}, then: switchback resume PLAN PHASE`,
    },
    error,
  );
};

const divergence = (
  seen: { readonly subject: string; readonly fact: string; readonly row: Finding['row'] | undefined },
  cause: unknown,
): SwitchbackError =>
  halted(
    {
      id: 'lane/divergence',
      subject: seen.subject,
      fact: seen.fact,
      ...(seen.row === undefined ? {} : { row: seen.row }),
      remedy:
        'find out who wrote to it; then make the row what the origin has, and go on: switchback verify PLAN PHASE --repair',
    },
    cause,
  );

/** The key of the row that a change was about, for a repair; undefined for a table without one. */
const rowOf = (staged: StagedChange | undefined): Finding['row'] => {
  const keyAt = staged?.change.table.keyAt;
  const tuple = staged?.before ?? staged?.after;
  if (!staged || !keyAt || !tuple) return undefined;
  return { table: staged.change.table.name, key: tuple.texts(keyAt).map((text) => text ?? '') };
};

/** `(id)=(5)`, or the values that stand for a row without a key; long ones are cut. */
const describe = (staged: StagedChange): string => {
  const { table } = staged.change;
  const indexes = foundBy(table);
  const tuple = staged.before ?? staged.after;
  const names = indexes.map((i) => table.columns[i]?.name ?? '');
  const values = tuple?.texts(indexes).map((text) => (text === null ? 'null' : text.slice(0, 100))) ?? [];
  return `(${names.join(', ')})=(${values.join(', ')})`;
};

/** Whether the server refused a statement for what it says or holds, so that one row is to blame. */
export const isRefusal = (code: string): boolean => /^(0A|21|22|23|42|44|54|P0)/.test(code);
