import {
  type Compilable,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
} from 'kysely';
import type { SqlExecutor, SqlResult } from '../../src/domain/sql.ts';
import type { SimExecutor } from './network.ts';
import type { Node } from './sql.ts';

// Most of these errors are caught and tried again; nobody reads where they came from, and looking it up costs time.
Error.stackTraceLimit = 0;

/** As the product's, but without naming the schema in every node, which would take half of a simulation's time. */
const build = new Kysely({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
});

/** Stands in for `src/sidecar/tables.ts`: statements go to the simulated servers as trees instead of as text. */
export const replacing = async (original: () => Promise<unknown>): Promise<object> => {
  const execute = async (sql: SqlExecutor, statement: Compilable): Promise<SqlResult> =>
    await (sql as SimExecutor).run((statement as unknown as { toOperationNode(): Node }).toOperationNode());
  const fetch = async (sql: SqlExecutor, statement: Compilable): Promise<readonly unknown[]> =>
    (await execute(sql, statement)).rows;
  return { ...((await original()) as object), build, execute, fetch };
};
