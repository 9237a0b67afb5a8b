import { isKind, messageOf, SwitchbackError } from '../../../domain/errors.ts';
import type { Guard } from '../../../domain/sql.ts';
import { displayName } from '../../../domain/table.ts';
import { monotonicMs } from '../../../platform/clock.ts';
import { isTrue } from '../../../platform/postgres/row.ts';
import { isConnectionLost, type PostgresServer, runTransaction } from '../../../platform/postgres/server.ts';
import type { BuildOptions, DeferredItem } from '../../schema.ts';
import { statisticsTasks } from './analyze.ts';
import { LOCK_ATTEMPT_MS, patiently } from './patience.ts';
import { Milestone, Pool, type Step, type TableLock, type Task, type Turn } from './pool.ts';

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
 * What a statement has to know and to set first, in one answer.
 *
 * A build gets workers of the server's when there are cores to spare, or when its table is large, since the last of many builds
 * is then the one that all wait for: alone, an index over 5 million rows takes two thirds of the time. Otherwise
 * workers only cost: with as many sessions as cores, sixty small tables' indexes took 13% more processor time with them.
 */
const BEFORE_STATEMENT = `
  SELECT set_config('default_tablespace', $4, true), set_config('lock_timeout', $5, true),
         CASE WHEN NOT $6::boolean AND pg_relation_size(t.oid) < 256 * 1024 * 1024
              THEN set_config('max_parallel_maintenance_workers', '0', true) END,
         EXISTS (SELECT FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
                 WHERE x.indrelid = t.oid AND i.relname = $3) AS index,
         EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = t.oid AND c.conname = $3) AS constraint
  FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = $1 AND t.relname = $2`;

/**
 * Builds what is not there, as items come. First what belongs to partitioned tables, which holds no entries and takes no time;
 * then indexes; then, the partitions' indexes being there, the marks of the partitioned ones; then foreign keys: all are
 * added before they are validated where possible, since neighbours in a chain can be validated at once but not added.
 * Statistics of a table fill the gaps once its indexes are there. `early` builds only the indexes.
 */
export const buildItems = async (
  server: PostgresServer,
  items: readonly DeferredItem[] | AsyncIterable<readonly DeferredItem[]>,
  options: BuildOptions,
): Promise<void> => {
  const builder = new Builder(server, options);
  const pool = new Pool({
    server,
    parallel: options.parallel,
    prepare: async (client) => void (await client.query(RAISE_SORT_MEMORY, [String(options.parallel)])),
    signal: options.signal,
  });
  try {
    await pool.finish(builder.tasks(items));
  } catch (error) {
    throw server.wrap(error);
  }
};

/** Whether it is a part of a partitioned table's index, whose marks need that one. */
const isPart = (item: DeferredItem): boolean => item.drop === null;

const isForeignKey = (item: DeferredItem): boolean => item.kind === 'foreign key';

/** A statement of an item. Marks may be repeated, the rest is left out when it is there. */
interface Part {
  readonly item: DeferredItem;
  readonly sql: string;
  readonly kind: 'index' | 'constraint' | 'mark';
}

class Builder {
  readonly #server: PostgresServer;
  readonly #options: BuildOptions;
  /** Indexes by table. */
  readonly #ofTable = new Map<string, Milestone>();
  readonly #indexes = new Milestone();
  readonly #partitioned = new Milestone();
  readonly #whole = new Milestone();
  readonly #spentMs = new Map<DeferredItem, number>();
  #total = 0;
  #done = 0;

  constructor(server: PostgresServer, options: BuildOptions) {
    this.#server = server;
    this.#options = options;
  }

  /** The tasks of items that come at once, or by and by. Only the former may be of every kind. */
  async *tasks(
    items: readonly DeferredItem[] | AsyncIterable<readonly DeferredItem[]>,
  ): AsyncGenerator<readonly Task[]> {
    if (Symbol.asyncIterator in items) {
      for await (const some of items) yield this.#indexTasks(some);
      return;
    }
    const parents = items.filter((item) => item.partitioned);
    const tasks = [
      ...this.#parentTasks(parents),
      ...this.#indexTasks(items.filter((item) => !item.partitioned && !isForeignKey(item))),
      ...this.#foreignKeyTasks(items.filter(isForeignKey)),
    ];
    const { statistics = [] } = this.#options;
    yield [...tasks, ...(await statisticsTasks(this.#server, statistics, (table) => this.#indexesOf(table)))];
  }

  #indexesOf(table: string): Milestone {
    const milestone = this.#ofTable.get(table) ?? new Milestone();
    this.#ofTable.set(table, milestone);
    return milestone;
  }

  /** One after the other, from the top down, before any index of a partition; the marks after all of these. */
  #parentTasks(parents: readonly DeferredItem[]): readonly Task[] {
    if (parents.length === 0) return [];
    this.#total += parents.length;
    const made = parents.flatMap((item) => this.#made(item));
    const marked = parents.flatMap((item) => [...this.#marked(item, lockOf(item)), this.#told(item)]);
    return [
      { steps: made, needs: [], counts: [this.#partitioned] },
      { steps: marked, needs: [this.#partitioned, this.#indexes], counts: [this.#whole] },
    ];
  }

  #indexTasks(items: readonly DeferredItem[]): readonly Task[] {
    this.#total += items.length;
    return items.map((item) => ({
      steps: [
        ...this.#made(item),
        ...(this.#options.early === true && isPart(item) ? [] : this.#marked(item, lockOf(item))),
        this.#told(item),
      ],
      needs: [this.#partitioned],
      counts: [this.#indexes, this.#indexesOf(displayName(item.table))],
    }));
  }

  /** What adds the keys comes first: it takes no time where the rows are looked at later, and keeps neighbours out. */
  #foreignKeyTasks(items: readonly DeferredItem[]): readonly Task[] {
    this.#total += items.length;
    const keys = items.map((item) => ({ item, added: new Milestone() }));
    const adds = keys.map(({ item, added }) => ({
      steps: this.#made(item),
      needs: [this.#indexes, this.#whole],
      counts: [added],
    }));
    const validations = keys.map(({ item, added }) => ({
      steps: [...this.#marked(item, validationLocks(item)), this.#told(item)],
      needs: [added],
      counts: [],
    }));
    return [...adds, ...validations];
  }

  /** The index and the constraint of an item. An index waits for its lock as long as it takes, behind nothing but our own lane. */
  #made(item: DeferredItem): readonly Step[] {
    const { index, constraint } = item;
    const locks = isForeignKey(item) ? additionLocks(item) : lockOf(item);
    const made: Step[] = [];
    if (index !== null) {
      const part: Part = { item, sql: index, kind: 'index' };
      made.push({
        locks: [{ table: displayName(item.table), mode: 'share' }],
        run: (turn) => this.#timed(item, turn, () => this.#execute(part, turn, 0)),
      });
    }
    if (constraint !== null) made.push(this.#patient({ item, sql: constraint, kind: 'constraint' }, locks));
    return made;
  }

  #marked(item: DeferredItem, locks: readonly TableLock[]): readonly Step[] {
    return item.marks.map((sql) => this.#patient({ item, sql, kind: 'mark' }, locks));
  }

  #patient(part: Part, locks: readonly TableLock[]): Step {
    const act = (turn: Turn) => patiently(() => this.#execute(part, turn, LOCK_ATTEMPT_MS), turn.signal);
    return { locks, run: (turn) => this.#timed(part.item, turn, () => act(turn)) };
  }

  #told(item: DeferredItem): Step {
    return {
      locks: [],
      run: async () => {
        this.#done += 1;
        const progress = { done: this.#done, total: this.#total, ms: this.#spentMs.get(item) ?? 0 };
        this.#options.onProgress({ item, ...progress });
      },
    };
  }

  async #timed(item: DeferredItem, { signal }: Turn, act: () => Promise<void>): Promise<void> {
    const startedMs = monotonicMs();
    try {
      await act();
    } catch (error) {
      throw signal.aborted ? error : this.#explain(item, error);
    }
    this.#spentMs.set(item, (this.#spentMs.get(item) ?? 0) + monotonicMs() - startedMs);
  }

  async #execute({ item, sql, kind }: Part, { client, spare, signal }: Turn, lockMs: number): Promise<void> {
    const { schema, name: table } = item.table;
    await runTransaction(client, this.#server.label, async (session) => {
      await this.#options.guard(session);
      const settings = [item.tablespace ?? '', String(lockMs), String(spare)];
      const { rows } = await session.query(BEFORE_STATEMENT, [schema, table, item.name, ...settings]);
      if (kind !== 'mark' && rows.some((row) => isTrue(row, kind))) return;
      // A cancel that came between two statements has ended none, and a build takes hours.
      signal.throwIfAborted();
      await session.query(sql);
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

/** An index's constraint and its marks change the table's entry in the catalogue. */
const lockOf = ({ table }: DeferredItem): readonly TableLock[] => [
  { table: displayName(table), mode: 'access exclusive' },
];

/** What is referred to is unknown of items that an older version has stored: their statements wait for their locks. */
const referred = ({ references }: DeferredItem, mode: TableLock['mode']): readonly TableLock[] =>
  references == null ? [] : [{ table: displayName(references), mode }];

const additionLocks = (item: DeferredItem): readonly TableLock[] => [
  { table: displayName(item.table), mode: 'share row exclusive' },
  ...referred(item, 'share row exclusive'),
];

const validationLocks = (item: DeferredItem): readonly TableLock[] => [
  { table: displayName(item.table), mode: 'share update exclusive' },
  ...referred(item, 'row share'),
];
