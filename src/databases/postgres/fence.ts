import { SwitchbackError } from '../../domain/errors.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { displayName, type TableName } from '../../domain/table.ts';
import { quoteTable, quoteText } from '../../platform/postgres/quote.ts';
import { isTrue, onlyRow, textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { FenceAct, LiftAct } from '../database.ts';
import { inLockOrder, sameTable } from './inventory.ts';
import { type LockSessions, type Relation, whileOpening, withLocks } from './locks.ts';

/** The trigger that refuses writes. Its comment carries the reason, because an argument could not be changed later. */
export const FENCE_TRIGGER = 'switchback_fence';

/**
 * The fence's trigger function, in the sidecar's schema, which must exist. Re-running it changes nothing. A transaction
 * that took its snapshot before the fence cannot see the reason yet and is refused without it.
 */
export const FENCE_FUNCTION_SQL = `
CREATE OR REPLACE FUNCTION switchback.refuse_write() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog AS $refuse$
DECLARE
  reason text := (SELECT d.description FROM pg_description d JOIN pg_trigger t ON t.oid = d.objoid
                  WHERE d.classoid = 'pg_trigger'::regclass AND d.objsubid = 0
                    AND t.tgrelid = TG_RELID AND t.tgname = TG_NAME);
BEGIN
  RAISE EXCEPTION USING
    ERRCODE = 'read_only_sql_transaction',
    MESSAGE = format('%s on %I.%I refused: %s', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME,
                     coalesce(reason, 'the table is fenced by Switchback')),
    HINT = 'Reconnect: this database is read-only for this table, another one accepts the write.',
    SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END $refuse$;`;

/**
 * The tables and all that they inherit from or are partitions of: a statement trigger fires only for the relation that
 * the statement names, so a write through the root passes the leaf's trigger and the other way round.
 */
const RELATIONS = `
  WITH RECURSIVE named AS (
    SELECT c.oid, n.nspname, c.relname FROM json_to_recordset($1::json) AS w(schema text, name text)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name),
  tree AS (SELECT oid FROM named UNION SELECT i.inhparent FROM tree t JOIN pg_inherits i ON i.inhrelid = t.oid)
  SELECT t.oid, n.nspname AS schema, c.relname AS name
  FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace`;

const TRIGGERS = `
  SELECT t.tgrelid AS oid, t.tgenabled IN ('O', 'A') AS enabled
  FROM pg_trigger t WHERE t.tgname = '${FENCE_TRIGGER}' AND NOT t.tgisinternal AND t.tgrelid = ANY($1::oid[])`;

/** The tables and what they inherit from or are partitions of, in lock order; tables that do not exist are left out. */
export const readRelations = async (sql: SqlExecutor, tables: readonly TableName[]): Promise<readonly Relation[]> => {
  const wanted = JSON.stringify(tables.map(({ schema, name }) => ({ schema, name })));
  const { rows } = await sql.query(RELATIONS, [wanted]);
  return inLockOrder(
    rows.map((row) => ({ schema: textOf(row, 'schema'), name: textOf(row, 'name'), oid: textOf(row, 'oid') })),
  );
};

const readAllRelations = async (sql: SqlExecutor, tables: readonly TableName[]): Promise<readonly Relation[]> => {
  const found = await readRelations(sql, tables);
  const missing = tables.filter((table) => !found.some((relation) => sameTable(relation, table)));
  if (missing.length === 0) return found;
  throw new SwitchbackError('refused', `there is no table ${missing.map(displayName).join(', ')}`, {
    remedy: 'give the table back to that side, under its name; what is still missing says: switchback check PLAN',
  });
};

/** Whether each relation's fence is enabled; relations without one are absent. */
const readTriggers = async (
  sql: SqlExecutor,
  relations: readonly Relation[],
): Promise<ReadonlyMap<string, boolean>> => {
  const { rows } = await sql.query(TRIGGERS, [relations.map((relation) => relation.oid)]);
  return new Map(rows.map((row) => [textOf(row, 'oid'), isTrue(row, 'enabled')]));
};

const createTrigger = (table: string): string =>
  `CREATE TRIGGER ${FENCE_TRIGGER} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ${table}
   FOR EACH STATEMENT EXECUTE FUNCTION switchback.refuse_write();`;

/** The statements that fence one relation. None of them takes a stronger lock than the one that we have. */
const fenceOne = (relation: Relation, enabled: boolean | undefined, reason: string): string => {
  const table = quoteTable(relation);
  const comment = `COMMENT ON TRIGGER ${FENCE_TRIGGER} ON ${table} IS ${quoteText(reason)};`;
  if (enabled === undefined) return createTrigger(table) + comment;
  return enabled ? comment : `ALTER TABLE ONLY ${table} ENABLE TRIGGER ${FENCE_TRIGGER};${comment}`;
};

/** Outside the act: two fences at once would collide on the function's catalogue row, also when both write the same. */
const ensureFunction = async (server: PostgresServer): Promise<void> => {
  await server.transaction(async (sql) => {
    await sql.query(`SELECT pg_advisory_xact_lock(hashtext('switchback.refuse_write'))`);
    const found = onlyRow(await sql.query(`SELECT to_regprocedure('switchback.refuse_write()') AS function`));
    if (found.function === null) await sql.query(FENCE_FUNCTION_SQL);
  });
};

/**
 * Makes the tables, and whatever they are partitions or children of, refuse writes; see {@link Database.fence}. The owner
 * and superusers are refused too; sessions with session_replication_role = replica pass. Repeating it renews the reason.
 */
export const fence = async (server: PostgresServer, act: FenceAct): Promise<void> => {
  await whileOpening(server, async (opening) => {
    await ensureFunction(server);
    const relations = await readAllRelations(server, act.tables);
    const work = async (sql: SqlExecutor): Promise<void> => {
      if (relations.length === 0) return;
      const triggers = await readTriggers(sql, relations);
      await sql.query(relations.map((r) => fenceOne(r, triggers.get(r.oid), act.reason)).join('\n'));
    };
    const what = `the fence of the ${server.label}`;
    await withLocks(
      server,
      { ...act, label: server.label, what, relations, mode: 'SHARE ROW EXCLUSIVE', work },
      opening,
    );
  });
};

/**
 * Lets the tables be written again; see {@link Database.lift}. The trigger stays, disabled, because dropping it waits for
 * readers; `remove` drops it afterwards, in a transaction of its own, and then tables that are gone are no error.
 */
export const lift = async (server: PostgresServer, act: LiftAct): Promise<void> => {
  const find = act.remove === true ? readRelations : readAllRelations;
  const lifted = await whileOpening(server, async (opening) => {
    const relations = await find(server, act.tables);
    if (!(await recordIfUnfenced(server, act, relations))) await disable(server, { act, relations, opening });
    return relations;
  });
  if (act.remove === true) await removeFence(server, { act, relations: lifted });
};

/**
 * Where nothing is fenced, only the record is made, without a lock on any table: undoing a switch whose fence could not be
 * had must not wait for the very transaction that was in its way. The guard's row locks wait for a fence that is committing.
 */
const recordIfUnfenced = async (
  server: PostgresServer,
  act: LiftAct,
  relations: readonly Relation[],
): Promise<boolean> => {
  const fenced = new Error('something is fenced');
  try {
    await server.transaction(async (sql) => {
      await act.guard(sql);
      const triggers = await readTriggers(sql, relations);
      if ([...triggers.values()].includes(true)) throw fenced;
    });
    return true;
  } catch (error) {
    if (error === fenced) return false;
    throw error;
  }
};

const disable = async (
  server: PostgresServer,
  lifting: {
    readonly act: LiftAct;
    readonly relations: readonly Relation[];
    readonly opening: Promise<LockSessions>;
  },
): Promise<void> => {
  const { act, relations, opening } = lifting;
  const work = async (sql: SqlExecutor): Promise<void> => {
    const triggers = await readTriggers(sql, relations);
    const fenced = relations.filter((relation) => triggers.get(relation.oid) === true);
    const statement = (r: Relation) => `ALTER TABLE ONLY ${quoteTable(r)} DISABLE TRIGGER ${FENCE_TRIGGER};`;
    if (fenced.length > 0) await sql.query(fenced.map(statement).join('\n'));
  };
  const what = `lifting the fence of the ${server.label}`;
  await withLocks(server, { ...act, label: server.label, what, relations, mode: 'SHARE ROW EXCLUSIVE', work }, opening);
};

const removeFence = async (
  server: PostgresServer,
  { act, relations }: { readonly act: FenceAct; readonly relations: readonly Relation[] },
): Promise<void> => {
  const triggers = await readTriggers(server, relations);
  const fenced = relations.filter((relation) => triggers.has(relation.oid));
  if (fenced.length === 0) return;
  const drops = fenced.map((r) => `DROP TRIGGER IF EXISTS ${FENCE_TRIGGER} ON ${quoteTable(r)};`);
  const removal = {
    ...act,
    label: server.label,
    what: `removing the fence of the ${server.label}`,
    relations: fenced,
    mode: 'ACCESS EXCLUSIVE',
    work: async (sql: SqlExecutor): Promise<void> => {
      await sql.query(drops.join('\n'));
    },
  } as const;
  await whileOpening(server, (opening) => withLocks(server, removal, opening));
};

/** One table's fence as it stands. */
export interface FenceState {
  readonly table: TableName;
  readonly enabled: boolean;
}

/** Every fence in the database, partitioned roots included, sorted by schema and name. */
export const readFences = async (server: PostgresServer): Promise<readonly FenceState[]> => {
  const { rows } = await server.query(`
    SELECT n.nspname AS schema, c.relname AS name, t.tgenabled IN ('O', 'A') AS enabled
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.tgname = '${FENCE_TRIGGER}' AND NOT t.tgisinternal
    ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`);
  return rows.map((row) => ({
    table: { schema: textOf(row, 'schema'), name: textOf(row, 'name') },
    enabled: isTrue(row, 'enabled'),
  }));
};
