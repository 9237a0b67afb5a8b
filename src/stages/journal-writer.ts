import { isKind } from '../domain/errors.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { failpoint } from '../platform/failpoint.ts';
import type { ChainEnd } from '../sidecar/chain.ts';
import { type JournalEntry, readChainEnd, writeJournal } from '../sidecar/journal.ts';
import { untilKnown } from './effect.ts';
import { Mutex } from './mutex.ts';

/** A line of the journal before it has an epoch. */
export type Line = Omit<JournalEntry, 'id' | 'at' | 'epoch'>;

/** `cutover` for `cutover-7`: what kind of work a scope of the journal names. */
export const scopeKind = (scope: string): string => scope.replace(/-\d+$/, '');

/** Under whose lease the journal is written. */
export interface JournalOwner {
  /** The newest epoch that is ours. */
  readonly epoch: bigint;
  /** Runs a transaction on the source that commits only while the lease is ours. `now` is the server's clock. */
  act<T>(work: (sql: SqlExecutor, now: string) => Promise<T>): Promise<T>;
}

/** A line on its way, and the promise that whoever waits for it has; null when nobody does. */
interface Queued {
  readonly line: Line;
  readonly settled: PromiseWithResolvers<void> | null;
}

/** What a COMMIT in doubt would have written: if the chain ends there, these lines stand. */
interface Doubt {
  readonly end: ChainEnd;
  readonly lines: readonly Queued[];
}

/**
 * Writes lines to the end of the journal, in the order in which they came; those that come while others are written share
 * the next transaction. A line that somebody waits for is durable when that promise resolves, and is given up when it rejects:
 * its writer does nothing then (S12). A line that nobody waits for stays until it is written.
 *
 * A COMMIT whose answer is lost is looked up: the lease lets nobody else write, so the chain ends either where it did before
 * or with the lines in doubt. While that COMMIT is still under way, the key of its first entry keeps ours waiting.
 */
export class JournalWriter {
  readonly #owner: JournalOwner;
  readonly #turns = new Mutex();
  readonly #queue: Queued[] = [];
  /** Where the chain ends, as of our last commit; null when it has to be read again. */
  #end: ChainEnd | null;
  /** Since the last commit that is known. */
  #doubts: Doubt[] = [];

  constructor(owner: JournalOwner, end: ChainEnd) {
    this.#owner = owner;
    this.#end = end;
  }

  /** Where the chain ends, as of our last commit; null when that is not known. */
  get end(): ChainEnd | null {
    return this.#end;
  }

  /** Whether lines wait to be written. */
  get isBehind(): boolean {
    return this.#queue.length > 0;
  }

  /** Writes a line durably. */
  async write(line: Line): Promise<void> {
    const settled = Promise.withResolvers<void>();
    this.#queue.push({ line, settled });
    // Somebody else's turn may take the line along: what becomes of it is told by its own promise.
    this.flush().catch(() => undefined);
    await settled.promise;
    passPoint(line);
  }

  /** Takes a line that is written with the next one, or by `flush`. */
  writeSoon(line: Line): void {
    this.#queue.push({ line, settled: null });
  }

  /** Writes what waits. */
  async flush(): Promise<void> {
    await this.#turns.run(() => this.#writeQueue());
  }

  async #writeQueue(): Promise<void> {
    const batch = this.#queue.splice(0);
    if (batch.length === 0) return;
    try {
      await untilKnown({ act: () => this.#attempt(batch) });
    } catch (error) {
      this.#queue.unshift(...batch.filter(({ settled }) => settled === null));
      for (const { settled } of batch) settled?.reject(error);
      throw error;
    }
    for (const { settled } of batch) settled?.resolve();
    for (const { line, settled } of batch) if (settled === null) passPoint(line);
  }

  async #attempt(batch: readonly Queued[]): Promise<undefined> {
    const known = this.#end;
    // Until the commit is known, so is not where the chain ends.
    this.#end = null;
    const written: Doubt[] = [];
    try {
      this.#end = await this.#owner.act(async (sql, at) => {
        const doubt = await this.#append(sql, { at, end: known ?? (await readChainEnd(sql)), batch });
        written.push(doubt);
        return doubt.end;
      });
    } catch (error) {
      if (isKind(error, 'unknown')) this.#doubts.push(...written);
      throw error;
    }
    this.#doubts = [];
    return undefined;
  }

  /** Writes those lines of the batch that do not stand yet. */
  async #append(
    sql: SqlExecutor,
    { at, end, batch }: { readonly at: string; readonly end: ChainEnd; readonly batch: readonly Queued[] },
  ): Promise<Doubt> {
    const standing = this.#doubts.find((doubt) => doubt.end.id === end.id && doubt.end.hash === end.hash)?.lines ?? [];
    const lines = batch.filter((one) => !standing.includes(one));
    let next = end;
    for (const { line } of lines) next = await writeJournal(sql, next, { at, epoch: this.#owner.epoch, ...line });
    return { end: next, lines: [...standing, ...lines] };
  }
}

/** The line is durable. */
const passPoint = ({ status, scope, step }: Line): void => failpoint(`${status} ${scopeKind(scope)}/${step}`);
