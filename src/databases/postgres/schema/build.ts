import type pg from 'pg';
import { isKind, messageOf, SwitchbackError } from '../../../domain/errors.ts';
import type { Guard, SqlExecutor } from '../../../domain/sql.ts';
import { displayName } from '../../../domain/table.ts';
import { monotonicMs } from '../../../platform/clock.ts';
import { cancelStatement, prepareForLongStatements } from '../../../platform/postgres/backend.ts';
import { quoteName } from '../../../platform/postgres/quote.ts';
import { isConnectionLost, type PostgresServer, runTransaction } from '../../../platform/postgres/server.ts';
import type { BuildOptions, DeferredItem } from '../../schema.ts';
import { LOCK_ATTEMPT_MS, patiently } from './patience.ts';

const DROPS_PER_TRANSACTION = 50;

/**
 * Sorting in memory is most of an index's speed. shared_buffers is the one figure that tells how large the server is; a part
 * of it for each build stays within what its administrator reckoned with.
 */
const RAISE_SORT_MEMORY = `
  SELECT set_config('maintenance_work_mem', greatest(
    pg_size_bytes(current_setting('maintenance_work_mem')),
    least(pg_size_bytes(current_setting('shared_buffers')) / (2 * $1::int), 1 << 30)) / 1024 || 'kB', false)`;

/** Drops the items that are there, foreign keys first since they need the keys. The list must have been stored before. */
export const dropItems = async (
  server: PostgresServer,
  items: readonly DeferredItem[],
  guard: Guard,
): Promise<void> => {
  const ordered = [...items].sort((a, b) => Number(b.kind === 'foreign key') - Number(a.kind === 'foreign key'));
  const drops = ordered.flatMap((item) => item.drop ?? []);
  const client = await server.connect('schema');
  try {
    for (let at = 0; at < drops.length; at += DROPS_PER_TRANSACTION) {
      const some = drops.slice(at, at + DROPS_PER_TRANSACTION);
      await patiently(() =>
        runTransaction(client, server.label, async (sql) => {
          await sql.query(`SET LOCAL lock_timeout = ${LOCK_ATTEMPT_MS}`);
          await guard(sql);
          await sql.query(some.join(';\n'));
        }),
      );
    }
  } catch (error) {
    throw server.wrap(error);
  } finally {
    await client.end();
  }
};

/**
 * Builds what is not there. First what belongs to partitioned tables, which holds no entries and takes no time; then
 * indexes, several at once; then, the partitions' indexes being there, the marks of the partitioned ones; foreign keys last.
 * `early` builds only the indexes.
 */
export const buildItems = async (
  server: PostgresServer,
  items: readonly DeferredItem[],
  options: BuildOptions,
): Promise<void> => {
  const builder = new Builder(server, items.length, options);
  const isForeignKey = (item: DeferredItem): boolean => item.kind === 'foreign key';
  const parents = items.filter((item) => item.partitioned);
  const indexes = items.filter((item) => !item.partitioned && !isForeignKey(item));
  if (options.early === true) {
    await builder.run(indexes, { parallel: options.parallel, parts: ['index', 'constraint', 'marks'] });
    return;
  }
  await builder.run(parents, { parallel: 1, parts: ['index', 'constraint'] });
  await builder.run(indexes, { parallel: options.parallel, parts: ['index', 'constraint', 'marks'] });
  await builder.run(parents, { parallel: 1, parts: ['marks'] });
  await builder.run(items.filter(isForeignKey), { parallel: options.parallel, parts: ['constraint', 'marks'] });
};

/** Whether it is a part of a partitioned table's index, whose marks need that one. */
const isPart = (item: DeferredItem): boolean => item.drop === null;

type Part = 'index' | 'constraint' | 'marks';

interface Round {
  readonly parallel: number;
  readonly parts: readonly Part[];
}

class Builder {
  readonly #server: PostgresServer;
  readonly #total: number;
  readonly #options: BuildOptions;
  #done = 0;

  constructor(server: PostgresServer, total: number, options: BuildOptions) {
    this.#server = server;
    this.#total = total;
    this.#options = options;
  }

  /** Ends when all items are built, or with the first failure, after the builds in hand have been cancelled. */
  async run(items: readonly DeferredItem[], round: Round): Promise<void> {
    const queue = [...items];
    const failed = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, failed.signal]);
    const worker = async (): Promise<void> => {
      try {
        await this.#work(queue, round, signal);
      } catch (error) {
        failed.abort(error);
      }
    };
    await Promise.all(Array.from({ length: Math.min(round.parallel, queue.length) }, worker));
    this.#options.signal.throwIfAborted();
    failed.signal.throwIfAborted();
  }

  async #work(queue: DeferredItem[], round: Round, signal: AbortSignal): Promise<void> {
    const client = await this.#server.connect('build');
    const pid = await prepareForLongStatements(client);
    // The server would go on with a statement whose client has gone away.
    const cancel = (): void => void cancelStatement(this.#server, pid);
    signal.addEventListener('abort', cancel, { once: true });
    try {
      await client.query(RAISE_SORT_MEMORY, [String(this.#options.sharers ?? this.#options.parallel)]);
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
        signal.throwIfAborted();
        await this.#build(client, item, { ...round, signal });
      }
    } finally {
      signal.removeEventListener('abort', cancel);
      await client.end();
    }
  }

  async #build(client: pg.Client, item: DeferredItem, round: Round & { readonly signal: AbortSignal }): Promise<void> {
    const startedMs = monotonicMs();
    try {
      await this.#make(client, item, round);
    } catch (error) {
      throw round.signal.aborted ? error : this.#explain(item, error);
    }
    if (!round.parts.includes('marks')) return;
    this.#done += 1;
    this.#options.onProgress({ item, done: this.#done, total: this.#total, ms: monotonicMs() - startedMs });
  }

  async #make(client: pg.Client, item: DeferredItem, round: Round & { readonly signal: AbortSignal }): Promise<void> {
    const { signal, parts } = round;
    // An index waits for its lock as long as it takes: SHARE, behind nothing but our own lane.
    if (item.index !== null && parts.includes('index'))
      await this.#step(client, item, { sql: item.index, kind: 'index' });
    if (item.constraint !== null && parts.includes('constraint')) {
      const step = { sql: item.constraint, kind: 'constraint', lockMs: LOCK_ATTEMPT_MS } as const;
      await patiently(() => this.#step(client, item, step), signal);
    }
    if (!parts.includes('marks') || (this.#options.early === true && isPart(item))) return;
    for (const sql of item.marks) {
      await patiently(() => this.#step(client, item, { sql, kind: 'mark', lockMs: LOCK_ATTEMPT_MS }), signal);
    }
  }

  async #step(
    client: pg.Client,
    item: DeferredItem,
    step: { readonly sql: string; readonly kind: 'index' | 'constraint' | 'mark'; readonly lockMs?: number },
  ): Promise<void> {
    await runTransaction(client, this.#server.label, async (sql) => {
      await this.#options.guard(sql);
      if (step.kind !== 'mark' && (await isThere(sql, item, step.kind))) return;
      await sql.query(`SET LOCAL default_tablespace = ${item.tablespace === null ? "''" : quoteName(item.tablespace)}`);
      await sql.query(`SET LOCAL lock_timeout = ${step.lockMs ?? 0}`);
      await sql.query(step.sql);
    });
  }

  #explain(item: DeferredItem, error: unknown): unknown {
    // An unknown outcome of COMMIT is no harm: the next run looks at what is there.
    if (isKind(error, 'unknown') || isConnectionLost(error)) {
      return new SwitchbackError('unreachable', `the ${this.#server.label} went away: ${messageOf(error)}`, {
        cause: error,
      });
    }
    if (error instanceof SwitchbackError) return error;
    const subject = `${item.kind} ${item.name} on ${displayName(item.table)}`;
    const detail = error instanceof Error && 'detail' in error ? ` (${String(error.detail)})` : '';
    const fact = `${messageOf(error)}${detail}`;
    const remedy = `mend what ${item.constraint ?? item.index} complains of, then: switchback resume PLAN PHASE`;
    return new SwitchbackError('findings', `${subject} cannot be built: ${fact}`, {
      remedy,
      findings: [{ id: 'schema/cannot-build', severity: 'blocks', subject, fact, remedy }],
      cause: error,
    });
  }
}

const INDEX_THERE = `
  SELECT FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = $1 AND t.relname = $2 AND i.relname = $3`;

const CONSTRAINT_THERE = `
  SELECT FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = $1 AND t.relname = $2 AND c.conname = $3`;

const isThere = async (sql: SqlExecutor, item: DeferredItem, kind: 'index' | 'constraint'): Promise<boolean> => {
  const found = await sql.query(kind === 'index' ? INDEX_THERE : CONSTRAINT_THERE, [
    item.table.schema,
    item.table.name,
    item.name,
  ]);
  return found.rowCount > 0;
};
