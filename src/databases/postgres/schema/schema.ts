import { readFile } from 'node:fs/promises';
import { messageOf, SwitchbackError } from '../../../domain/errors.ts';
import type { Guard, SqlExecutor } from '../../../domain/sql.ts';
import type { Table, TableName } from '../../../domain/table.ts';
import { onlyRow, textOf } from '../../../platform/postgres/row.ts';
import { type PostgresServer, runTransaction } from '../../../platform/postgres/server.ts';
import type {
  BuildOptions,
  CreatedObject,
  CreateSchema,
  DeferredItem,
  RemainingObject,
  SchemaOrigin,
  SchemaTool,
} from '../../schema.ts';
import { buildItems, dropItems } from './build.ts';
import { captureDeferred } from './capture.ts';
import { createdSince, takeCensus, undoCreated } from './created.ts';
import { dumpSchema, dumpStatements } from './dump.ts';
import { emptyTables } from './empty.ts';
import { parseFile, runStatements, type Script } from './script.ts';
import type { Statement } from './split.ts';

/** What the tool works with. */
export interface PostgresSchemaOptions {
  readonly source: PostgresServer;
  readonly target: PostgresServer;
  /** For pg_dump, which makes a connection of its own. */
  readonly sourceUrl: string;
  /** Path or name of pg_dump; by default what PG_DUMP says, else the first on PATH. */
  readonly pgDump?: string;
}

/** A script and how to get its statements, which may need to know the target. */
interface Prepared {
  readonly script: Script;
  readonly statements: (sql: SqlExecutor) => Promise<readonly Statement[]>;
}

class PostgresSchemaTool implements SchemaTool {
  readonly #source: PostgresServer;
  readonly #target: PostgresServer;
  readonly #sourceUrl: string;
  readonly #pgDump: string;

  constructor(options: PostgresSchemaOptions) {
    this.#source = options.source;
    this.#target = options.target;
    this.#sourceUrl = options.sourceUrl;
    this.#pgDump = options.pgDump ?? process.env.PG_DUMP ?? 'pg_dump';
  }

  async create(schema: CreateSchema): Promise<void> {
    const scripts = await this.#prepare(schema.origin);
    await this.#onTarget(async (client) => {
      await runTransaction(client, this.#target.label, async (sql) => {
        const before = await takeCensus(sql);
        for (const { script, statements } of scripts) {
          // What an unqualified name in a file means to its author, not our sessions' pinned path. A dump sets its own.
          await sql.query('SET LOCAL search_path = "$user", public');
          await runStatements(sql, script, await statements(sql));
        }
        await sql.query('SET LOCAL search_path = pg_catalog');
        await schema.record(sql, await createdSince(sql, before));
      });
    });
  }

  async undo(created: readonly CreatedObject[], guard: Guard): Promise<readonly RemainingObject[]> {
    return await this.#onTarget((client) => undoCreated(client, { label: this.#target.label, created, guard }));
  }

  async capture(tables: readonly Table[]): Promise<readonly DeferredItem[]> {
    return await captureDeferred(this.#target, tables);
  }

  async drop(items: readonly DeferredItem[], guard: Guard): Promise<void> {
    await dropItems(this.#target, items, guard);
  }

  async build(
    items: readonly DeferredItem[] | AsyncIterable<readonly DeferredItem[]>,
    options: BuildOptions,
  ): Promise<void> {
    await buildItems(this.#target, items, options);
  }

  async empty(tables: readonly TableName[], guard: Guard): Promise<void> {
    await emptyTables(this.#target, tables, guard);
  }

  async #prepare(origin: SchemaOrigin): Promise<readonly Prepared[]> {
    switch (origin.from) {
      case 'existing':
        return [];
      case 'files':
        return await Promise.all(origin.files.map(prepareFile));
      case 'pg_dump': {
        const script = await this.#dump();
        return [{ script, statements: (sql) => dumpStatements(sql, script) }];
      }
    }
  }

  async #dump(): Promise<Script> {
    const row = onlyRow(await this.#source.query("SELECT current_setting('server_version_num') AS version"));
    const sourceMajor = Math.trunc(Number(textOf(row, 'version')) / 10_000);
    return await dumpSchema({ program: this.#pgDump, url: this.#sourceUrl, sourceMajor });
  }

  /** A session of its own: scripts leave settings behind. */
  async #onTarget<T>(work: (client: Awaited<ReturnType<PostgresServer['connect']>>) => Promise<T>): Promise<T> {
    const client = await this.#target.connect('schema');
    try {
      return await work(client);
    } catch (error) {
      throw this.#target.wrap(error);
    } finally {
      await client.end();
    }
  }
}

const prepareFile = async (path: string): Promise<Prepared> => {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new SwitchbackError('usage', `schema file ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  const script = { name: path, text };
  const statements = parseFile(script);
  return { script, statements: async () => statements };
};

/** The schema tool for PostgreSQL on both sides; see {@link SchemaTool}. */
export const postgresSchema = (options: PostgresSchemaOptions): SchemaTool => new PostgresSchemaTool(options);
