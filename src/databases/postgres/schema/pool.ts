import type pg from 'pg';
import { SwitchbackError } from '../../../domain/errors.ts';
import { cancelStatement, prepareForLongStatements } from '../../../platform/postgres/backend.ts';
import type { PostgresServer } from '../../../platform/postgres/server.ts';

/** The table locks that our statements take, by the server's names. */
export type LockMode = 'row share' | 'share update exclusive' | 'share' | 'share row exclusive' | 'access exclusive';

/** A lock that a statement takes on a table, which is named in any way that is always the same. */
export interface TableLock {
  readonly table: string;
  readonly mode: LockMode;
}

/** After the table of conflicting lock modes in PostgreSQL's documentation ("Explicit Locking"). */
const CONFLICTS: Readonly<Record<LockMode, readonly LockMode[]>> = {
  'row share': ['access exclusive'],
  'share update exclusive': ['share update exclusive', 'share', 'share row exclusive', 'access exclusive'],
  share: ['share update exclusive', 'share row exclusive', 'access exclusive'],
  'share row exclusive': ['share update exclusive', 'share', 'share row exclusive', 'access exclusive'],
  'access exclusive': ['row share', 'share update exclusive', 'share', 'share row exclusive', 'access exclusive'],
};

/** Counts tasks that others wait for. */
export class Milestone {
  left = 0;
}

/** What a step is run with. */
export interface Turn {
  readonly client: pg.Client;
  /** Aborted when the pool is, or when another task has failed. Statements are cancelled then. */
  readonly signal: AbortSignal;
  /** Whether fewer tasks are left than there are sessions, so that cores of the server may be idle. */
  readonly spare: boolean;
}

/** What one session does at a stretch, under locks that it holds to the end of the step. */
export interface Step {
  readonly locks: readonly TableLock[];
  readonly run: (turn: Turn) => Promise<void>;
}

/** Steps that follow each other, in whatever session is free. */
export interface Task {
  readonly steps: readonly Step[];
  /** Is not begun before these have been reached. */
  readonly needs: readonly Milestone[];
  /** Are reached when this and all others that count are done. */
  readonly counts: readonly Milestone[];
}

/** What a {@link Pool} is made from. */
export interface PoolOptions {
  readonly server: Pick<PostgresServer, 'connect' | 'query'>;
  /** Sessions at most; each is made when there is something for it. */
  readonly parallel: number;
  /** Makes a new session ready. */
  readonly prepare: (client: pg.Client) => Promise<void>;
  readonly signal: AbortSignal;
}

/** A task with how far it has come. */
interface Begun {
  readonly task: Task;
  at: number;
}

/**
 * Sessions that share tasks. Of those that wait, each takes the first whose locks conflict with none of a running step, so
 * that a session waits for a lock of another one only when there is nothing else to do.
 */
export class Pool {
  readonly #options: PoolOptions;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #waiting: Begun[] = [];
  readonly #running = new Set<Begun>();
  readonly #sessions = new Set<Promise<void>>();
  #closed = false;
  #changed = Promise.withResolvers<void>();

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#failed.signal]);
  }

  /** Tasks in the order in which they are preferred. */
  add(tasks: readonly Task[]): void {
    for (const task of tasks) for (const milestone of task.counts) milestone.left += 1;
    this.#waiting.push(...tasks.map((task) => ({ task, at: 0 })));
    this.#tell();
    const useful = Math.min(this.#options.parallel, this.#waiting.length + this.#running.size);
    while (this.#sessions.size < useful && !this.#signal.aborted) this.#sessions.add(this.#session());
  }

  /** Nothing more is added after `tasks` has ended. Resolves when all is done; throws the first failure. */
  async finish(tasks: AsyncIterable<readonly Task[]>): Promise<void> {
    const added = this.#addAll(tasks);
    const aborted = Promise.withResolvers<void>();
    const onAbort = (): void => aborted.resolve();
    this.#signal.addEventListener('abort', onAbort, { once: true });
    if (this.#signal.aborted) onAbort();
    await Promise.race([added, aborted.promise]);
    await Promise.all(this.#sessions);
    this.#signal.removeEventListener('abort', onAbort);
    this.#options.signal.throwIfAborted();
    this.#failed.signal.throwIfAborted();
  }

  async #addAll(tasks: AsyncIterable<readonly Task[]>): Promise<void> {
    try {
      for await (const some of tasks) this.add(some);
    } catch (error) {
      this.#failed.abort(error);
    }
    this.#closed = true;
    this.#tell();
  }

  /** Lets those that wait look again. */
  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async #session(): Promise<void> {
    try {
      await this.#work();
    } catch (error) {
      this.#failed.abort(error);
    }
    this.#tell();
  }

  async #work(): Promise<void> {
    const { server, prepare } = this.#options;
    const client = await server.connect('build');
    const pid = await prepareForLongStatements(client);
    // The server would go on with a statement whose client has gone away.
    const cancel = (): void => {
      void cancelStatement(server, pid);
      this.#tell();
    };
    this.#signal.addEventListener('abort', cancel, { once: true });
    try {
      await prepare(client);
      for (let begun = await this.#next(); begun !== undefined; begun = await this.#next()) {
        await this.#step(client, begun);
      }
    } finally {
      this.#signal.removeEventListener('abort', cancel);
      await client.end();
    }
  }

  async #next(): Promise<Begun | undefined> {
    for (;;) {
      this.#signal.throwIfAborted();
      const found = this.#waiting.findIndex((begun) => this.#mayRun(begun));
      const [begun] = found === -1 ? [] : this.#waiting.splice(found, 1);
      if (begun !== undefined) {
        // At once, before another session looks.
        this.#running.add(begun);
        return begun;
      }
      if (this.#closed && this.#running.size === 0) {
        if (this.#waiting.length === 0) return undefined;
        throw new SwitchbackError('internal', `${this.#waiting.length} builds wait for each other`);
      }
      await this.#changed.promise;
    }
  }

  #mayRun(begun: Begun): boolean {
    if (!begun.task.needs.every(({ left }) => left === 0)) return false;
    const running = [...this.#running].flatMap(locksOf);
    return locksOf(begun).every((mine) =>
      running.every((theirs) => theirs.table !== mine.table || !CONFLICTS[mine.mode].includes(theirs.mode)),
    );
  }

  async #step(client: pg.Client, begun: Begun): Promise<void> {
    const { steps, counts } = begun.task;
    const spare = this.#closed && this.#waiting.length + this.#running.size < this.#options.parallel;
    await steps[begun.at]?.run({ client, signal: this.#signal, spare });
    this.#running.delete(begun);
    begun.at += 1;
    // What has been begun is ended first.
    if (begun.at < steps.length) this.#waiting.unshift(begun);
    else for (const milestone of counts) milestone.left -= 1;
    this.#tell();
  }
}

const locksOf = ({ task, at }: Begun): readonly TableLock[] => task.steps[at]?.locks ?? [];
