import pg from 'pg';
import { codeOrWord } from '../../src/demo/attempt.ts';
import { otherSide, type Side } from '../../src/domain/position.ts';
import { monotonicMs, sleep } from '../../src/platform/clock.ts';
import { PHASE_NAMES, type PhaseName } from './workloads.ts';

/** What a side says to somebody who wants to write: yes, SQLSTATE 25006, or anything else, which is no answer. */
export type SideAnswer = 'writable' | 'refused' | 'unknown';

/** What both sides said to the newest probe of a phase, and when that ended. */
export interface ProbeResult {
  readonly source: SideAnswer;
  readonly target: SideAnswer;
  readonly atMs: number;
}

/** A statement that touches no row; the fence's trigger is a statement's and refuses it all the same. */
const PROBES: Readonly<Record<PhaseName, string>> = {
  lists: `UPDATE list SET items = items WHERE false`,
  accounts: `UPDATE account SET balance = balance WHERE false`,
};
const EVERY_MS = 50;
const SILENT_AFTER_MS = 4_000;
const LOCK_TIMEOUT_MS = 300;
const FENCED = '25006';

/** What the prober is told to look at. */
export interface ProberOptions {
  /** Direct: whatever becomes of the worker's network, this is how an application would write. */
  readonly urls: Readonly<Record<Side, string>>;
  readonly onBothWritable: (what: string) => void;
}

/**
 * Asks both sides all the time whether they would take a write (S1). A write is tried on one side and its transaction kept
 * open while it is tried on the other: the first one's table lock keeps a fence from being made meanwhile, so if both take
 * it, and the first transaction is still alive afterwards, both sides were writable at one moment. Which side is first
 * alternates. Everything is rolled back.
 */
export class Prober {
  readonly #options: ProberOptions;
  readonly #results = new Map<PhaseName, ProbeResult>();
  #loops: readonly Promise<void>[] = [];
  #isStopping = false;
  #probes = 0;
  #bothWritable = 0;
  readonly #writableMs = new Map<PhaseName, number>();
  #longestPauseMs = 0;

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** Begins to probe. */
  start(): void {
    this.#loops = PHASE_NAMES.map((phase) => this.#probeAlways(phase));
  }

  /** How many pairs of writes were tried. */
  get probes(): number {
    return this.#probes;
  }

  /** How often both sides were writable: each is a violation. */
  get bothWritable(): number {
    return this.#bothWritable;
  }

  /** The longest time for which a phase could be written nowhere, faults included, in milliseconds. */
  get longestPauseMs(): number {
    return this.#longestPauseMs;
  }

  /** The newest result of a phase, or undefined before the first. */
  result(phase: PhaseName): ProbeResult | undefined {
    return this.#results.get(phase);
  }

  /** The one side that a phase can be written at by a probe begun after `sinceMs`; undefined when there is none or no such probe. */
  writableSide(phase: PhaseName, sinceMs: number): Side | undefined {
    const result = this.#results.get(phase);
    if (result === undefined || result.atMs < sinceMs) return undefined;
    if (result.source === 'writable' && result.target !== 'writable') return 'source';
    if (result.target === 'writable' && result.source !== 'writable') return 'target';
    return undefined;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#loops);
  }

  #noteWritable(phase: PhaseName, atMs: number): void {
    const beforeMs = this.#writableMs.get(phase);
    if (beforeMs !== undefined) this.#longestPauseMs = Math.max(this.#longestPauseMs, atMs - beforeMs);
    this.#writableMs.set(phase, atMs);
  }

  async #probeAlways(phase: PhaseName): Promise<void> {
    const sessions = {
      source: new ProbeSession(this.#options.urls.source),
      target: new ProbeSession(this.#options.urls.target),
    };
    let first: Side = 'source';
    while (!this.#isStopping) {
      const atMs = monotonicMs();
      const second = otherSide(first);
      const one = await sessions[first].tryWrite(PROBES[phase]);
      const two = await sessions[second].tryWrite(PROBES[phase]);
      if (one === 'writable' && two === 'writable' && (await sessions[first].isInTransaction())) {
        this.#bothWritable += 1;
        this.#options.onBothWritable(`phase ${phase} was writable on both sides at once`);
      }
      await Promise.all([sessions.source.undo(), sessions.target.undo()]);
      this.#results.set(
        phase,
        first === 'source' ? { source: one, target: two, atMs } : { source: two, target: one, atMs },
      );
      this.#probes += 1;
      if (one === 'writable' || two === 'writable') this.#noteWritable(phase, atMs);
      first = second;
      await sleep(EVERY_MS);
    }
    await Promise.all([sessions.source.close(), sessions.target.close()]);
  }
}

/** A session on one side that is made again whenever it is lost. */
class ProbeSession {
  readonly #url: string;
  #client: pg.Client | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  /** Begins a transaction and tries to write in it; the transaction stays open when the write was taken. */
  async tryWrite(sql: string): Promise<SideAnswer> {
    return await this.#timely(async (client) => {
      await client.query('BEGIN');
      await client.query(sql);
    });
  }

  async isInTransaction(): Promise<boolean> {
    if (this.#client === undefined) return false;
    return (await this.#timely((client) => client.query('SELECT 1'))) === 'writable';
  }

  async undo(): Promise<void> {
    if (this.#client !== undefined) await this.#timely((client) => client.query('ROLLBACK'));
  }

  async close(): Promise<void> {
    this.#drop();
  }

  async #timely(work: (client: pg.Client) => Promise<unknown>): Promise<SideAnswer> {
    const late = setTimeout(() => this.#drop(), SILENT_AFTER_MS);
    try {
      await work(await this.#connected());
      return 'writable';
    } catch (error) {
      const code = codeOrWord(error);
      if (code === FENCED) return 'refused';
      // A lock that somebody holds just now says nothing, and the session is good.
      if (code !== '55P03') this.#drop();
      return 'unknown';
    } finally {
      clearTimeout(late);
    }
  }

  async #connected(): Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client;
    const client = new pg.Client({
      connectionString: this.#url,
      application_name: 'chaos-prober',
      connectionTimeoutMillis: SILENT_AFTER_MS,
      options: `-c lock_timeout=${LOCK_TIMEOUT_MS}`,
    });
    client.on('error', () => {
      if (this.#client === client) this.#client = undefined;
    });
    this.#client = client;
    await client.connect();
    return client;
  }

  #drop(): void {
    this.#client?.connection.stream.destroy();
    this.#client = undefined;
  }
}
