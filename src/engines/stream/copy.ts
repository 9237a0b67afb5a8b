import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Blocker } from '../../domain/event.ts';
import { displayName, type Table } from '../../domain/table.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { cancelStatement } from '../../platform/postgres/backend.ts';
import { codeOf, isConnectionLost } from '../../platform/postgres/server.ts';
import type { Chunk, FollowOptions } from '../engine.ts';
import { cutChunk, nextChunkRows, rowsToCut, sameKey } from './chunks.ts';
import { FIRST_CLIMB } from './connections.ts';
import type { LaneContext } from './context.ts';
import { type CopySessions, copyChunks, endCopySessions, openCopySessions, type Piece } from './copy-chunk.ts';
import { tuneCopy } from './copy-tune.ts';
import { isFinished, planCopy, type TableWork } from './copy-work.ts';
import { originHead } from './origin.ts';
import { ByteRate, Pace } from './pace.ts';
import { type LoadSample, sampleLoad } from './source-load.ts';
import { waitUntilVisible } from './visibility.ts';

/** Small tables of one transaction, and their bytes together. */
const TOGETHER = 20;
const TOGETHER_BYTES = 8 * 2 ** 20;
/** The server has no session to spare. */
const TOO_MANY_SESSIONS = '53300';
/** How long an aborted chunk may take to roll back before its sessions are cut. */
const ROLLBACK_WITHIN_MS = 3_000;

/**
 * Copies the rows of a lane's tables (DESIGN 4.2), then stores the origin's position as `strictFrom`; resolves at once when
 * that is stored already.
 *
 * Every chunk is read in a short transaction of its own, at a time of its own. The stream, which began before the first,
 * brings what changed since; so the tables are consistent only once the stream has passed `strictFrom`. Rows and their
 * entry in the journal are one commit: whatever ends this process, `copyTables` goes on with the chunks that are missing.
 * Memory is bounded by the streams' buffers. Rejects with the signal's reason when aborted; kind `halted` when a server
 * refuses a row or a statement, `unreachable` when a session breaks, `busy` and `refused` as {@link planCopy}.
 */
export const copyTables = async (context: LaneContext, options: FollowOptions): Promise<void> => {
  const progress = await context.spec.store.progress(context.to);
  if (progress === null) throw new SwitchbackError('internal', `lane ${context.spec.lane} has not been opened`);
  if (progress.strictFrom !== null) return;
  const { works, isBegun } = await planCopy(context);
  requireSnapshot(context, works);
  const onBlocked = (blockers: readonly Blocker[]): void => options.observer.blocked?.(blockers);
  if (!isBegun) await waitUntilVisible({ sql: context.from, signal: options.signal, onBlocked });
  await new CopyRun(context, options, works).run();
  await storeStrictFrom(context);
};

const requireSnapshot = (context: LaneContext, works: readonly TableWork[]): void => {
  const keyless = works.filter((work) => work.table.key === null && !isFinished(work));
  const [first] = keyless;
  if (first === undefined || context.snapshot !== undefined) return;
  throw new SwitchbackError(
    'internal',
    `${displayName(first.table)} has no key, and no snapshot is held to copy it under`,
  );
};

/** Read after the last chunk: what any chunk has seen was written to the log before here. */
const storeStrictFrom = async (context: LaneContext): Promise<void> => {
  const head = await originHead(context.from);
  await context.to.transaction(async (sql) => {
    const progress = await context.spec.store.progress(sql);
    if (progress === null) throw new SwitchbackError('internal', `lane ${context.spec.lane} has lost its progress`);
    await context.spec.store.record(sql, { ...progress, strictFrom: head });
  });
};

/** A piece with the work that it is a part of. */
interface Task extends Piece {
  readonly work: TableWork;
  readonly askedRows: number;
}

/** One run of the workers over what is left. */
class CopyRun {
  readonly #context: LaneContext;
  readonly #options: FollowOptions;
  readonly #works: readonly TableWork[];
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #pace: Pace;
  readonly #workers = new Set<Promise<void>>();
  /** How many workers there should be, and how many are not about to end. */
  #wanted = FIRST_CLIMB.connections;
  #active = 0;
  #keylessLeft: number;
  /** The cut after the last one handed out, made while that one is copied. */
  #ahead: Promise<readonly Task[]> | undefined;

  constructor(context: LaneContext, options: FollowOptions, works: readonly TableWork[]) {
    this.#context = context;
    this.#options = options;
    this.#works = works;
    this.#pace = new Pace(context.copyRate ?? new ByteRate(null));
    this.#signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.#keylessLeft = works.filter((work) => work.table.key === null && !isFinished(work)).length;
  }

  async run(): Promise<void> {
    if (this.#keylessLeft === 0) await this.#context.snapshot?.release();
    for (const work of this.#works) if (isFinished(work)) this.#tell(work);
    const before = await sampleLoad(this.#context.from);
    const ended = new AbortController();
    // Not waited for: it may be waiting for a source that no longer answers.
    void this.#tune(before, ended.signal);
    this.#use(this.#wanted);
    while (this.#workers.size > 0) await Promise.race(this.#workers);
    ended.abort();
    await this.#ahead?.catch(() => undefined);
    this.#options.signal.throwIfAborted();
    // The first worker to fail aborted the others; what those threw is its consequence.
    this.#failed.signal.throwIfAborted();
  }

  async #tune(before: LoadSample, signal: AbortSignal): Promise<void> {
    const tuning = {
      source: this.#context.from,
      before,
      pace: this.#pace,
      onConnections: (count: number): void => this.#use(count),
      onPace: (text: string): void => this.#options.observer.paced?.(text),
    };
    await tuneCopy(tuning, signal).catch((error: unknown) => this.#failed.abort(error));
  }

  /** Copies with so many workers from now on; those that are too many end after the chunk in hand. */
  #use(count: number): void {
    this.#wanted = count;
    while (this.#active < this.#wanted && !this.#signal.aborted) {
      this.#active += 1;
      const worker: Promise<void> = this.#copyTasks().finally(() => this.#workers.delete(worker));
      this.#workers.add(worker);
    }
  }

  /** One worker: copies until nothing is left, or there are too many. */
  async #copyTasks(): Promise<void> {
    const sessions = await this.#openSessions();
    if (sessions === null) return;
    try {
      while (this.#active <= this.#wanted) {
        const tasks = await this.#next();
        if (tasks.length === 0) break;
        await this.#copy(tasks, sessions);
      }
    } catch (error) {
      this.#failed.abort(error);
    } finally {
      this.#active -= 1;
      await endCopySessions(sessions);
    }
  }

  /** Null when a server has none to spare while others copy, and after a failure. */
  async #openSessions(): Promise<CopySessions | null> {
    try {
      return await openCopySessions(this.#context);
    } catch (error) {
      this.#active -= 1;
      if (codeOf(error) !== TOO_MANY_SESSIONS || this.#active === 0) this.#failed.abort(error);
      return null;
    }
  }

  /** Empty when nothing is left. */
  async #next(): Promise<readonly Task[]> {
    this.#signal.throwIfAborted();
    const tasks = this.#ahead ?? this.#gather();
    this.#ahead = tasks.then((cut) => (cut.length === 0 ? [] : this.#gather()));
    // Whoever takes it sees its failure; at the end nobody may.
    this.#ahead.catch(() => undefined);
    return await tasks;
  }

  /** One piece of a large table, or several small tables for one transaction, whose commit would take longer than their rows. */
  async #gather(): Promise<readonly Task[]> {
    const tasks: Task[] = [];
    let bytes = 0;
    for (let work = this.#firstLeft(); work !== undefined; work = this.#firstLeft()) {
      const isSmall = work.columns.length === 0 && work.table.key !== null;
      bytes += work.table.bytes;
      if (tasks.length > 0 && (!isSmall || bytes > TOGETHER_BYTES)) break;
      tasks.push(await this.#cut(work));
      if (!isSmall || tasks.length === TOGETHER) break;
    }
    return tasks;
  }

  #firstLeft(): TableWork | undefined {
    return this.#works.find((work) => work.gaps.length > 0);
  }

  async #cut(work: TableWork): Promise<Task> {
    const { table, columns, bounds, format, padding } = work;
    const [within = { after: null, upTo: null }] = work.gaps;
    const left = { rows: table.estimatedRows - work.handedOut, connections: this.#wanted };
    const rows = rowsToCut(work.chunkRows, left);
    work.handedOut += rows;
    const request = { table, columns, bounds, within, rows };
    const range = columns.length === 0 ? within : await cutChunk(this.#context.from, request);
    const rest = sameKey(range.upTo, within.upTo) ? [] : [{ after: range.upTo, upTo: within.upTo }];
    work.gaps = [...rest, ...work.gaps.slice(1)];
    work.inFlight += 1;
    return { table, columns, range, format, padding, work, askedRows: rows };
  }

  async #copy(tasks: readonly Task[], sessions: CopySessions): Promise<void> {
    const startedMs = monotonicMs();
    const chunks = await this.#guarded(tasks, sessions);
    const seconds = (monotonicMs() - startedMs) / 1_000;
    for (const [at, { work, askedRows }] of tasks.entries()) {
      const { rows, bytes } = chunks[at] ?? { rows: 0, bytes: 0 };
      work.inFlight -= 1;
      work.rows += rows;
      work.bytes += bytes;
      work.chunkRows = nextChunkRows({ asked: askedRows, rows, bytes, seconds });
      this.#tell(work);
      if (work.table.key !== null || !isFinished(work)) continue;
      this.#keylessLeft -= 1;
      if (this.#keylessLeft === 0) await this.#context.snapshot?.release();
    }
  }

  async #guarded(tasks: readonly Task[], sessions: CopySessions): Promise<readonly Chunk[]> {
    let piece: Piece | undefined = tasks[0];
    const onPiece = (begun: Piece): void => {
      piece = begun;
    };
    const onBytes = (bytes: number): Promise<void> | undefined => this.#pace.take(bytes);
    // A chunk that is aborted rolls back by itself, unless its server no longer answers.
    let late: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      late = setTimeout(() => void this.#cutOff(sessions), ROLLBACK_WITHIN_MS);
    };
    this.#signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await copyChunks({ context: this.#context, sessions, signal: this.#signal, onBytes, onPiece }, tasks);
    } catch (error) {
      throw this.#signal.aborted || piece === undefined ? error : this.#explain(error, piece.table);
    } finally {
      clearTimeout(late);
      this.#signal.removeEventListener('abort', onAbort);
    }
  }

  /** The server would go on with a statement whose client has gone away, so it is told first. */
  async #cutOff(sessions: CopySessions): Promise<void> {
    await cancelStatement(this.#context.to, sessions.writerPid);
    await endCopySessions(sessions);
  }

  #explain(error: unknown, table: Table): unknown {
    const subject = displayName(table);
    // An unknown outcome of COMMIT is no harm: the next run reads the journal after that transaction has ended.
    if (isKind(error, 'unknown') || isConnectionLost(error)) {
      const message = `a session that copies ${subject} broke: ${messageOf(error)}`;
      return new SwitchbackError('unreachable', message, { cause: error });
    }
    if (error instanceof SwitchbackError) return error;
    const remedy = `mend ${subject} on the ${this.#context.to.label}, then: switchback resume PLAN PHASE (chunks that are done stay)`;
    return new SwitchbackError('halted', `${subject} cannot be copied: ${messageOf(error)}`, {
      remedy,
      findings: [{ id: 'copy/refused', severity: 'blocks', subject, fact: messageOf(error), remedy }],
      cause: error,
    });
  }

  #tell(work: TableWork): void {
    const { table, rows, bytes } = work;
    this.#options.observer.copied({ table: displayName(table), rows, bytes, finished: isFinished(work) });
  }
}
