import type pg from 'pg';
import { SwitchbackError } from '../../domain/errors.ts';
import type { TableName } from '../../domain/table.ts';
import { monotonicMs } from '../clock.ts';
import { quoteTable } from './quote.ts';
import type { PostgresServer } from './server.ts';

const EVERY_MS = 1_000;
/**
 * The reader of every lane is sent the markers of all lanes from its origin, so that their number grows with the square of the
 * lanes'. Beyond twenty they are written less often: never more than twenty a second on one origin. A drain's own comes at once.
 */
const EVERY_MS_PER_LANE = 50;
/** Nothing of ours holds a lock on the marker's row, so an answer that takes longer will not come. */
const STUCK_MS = 30_000;

const writeTo = (
  table: TableName,
): string => `INSERT INTO ${quoteTable(table)} AS m (lane, seq, at) VALUES ($1, 1, clock_timestamp())
  ON CONFLICT (lane) DO UPDATE SET seq = m.seq + 1, at = clock_timestamp() RETURNING seq`;

/** What marker writing needs and tells. */
export interface MarkerOptions {
  readonly server: PostgresServer;
  readonly lane: string;
  /** The table of the markers there: lane, seq, at. */
  readonly table: TableName;
  /** Age in seconds of the newest marker that has arrived, at its arrival, or of the oldest that has not, every second. */
  readonly onLag: (seconds: number) => void;
  /** A marker could not be written. */
  readonly onFailure: (error: unknown) => void;
}

/** Lanes of this process that write markers on an origin. */
const lanesFrom = new WeakMap<PostgresServer, number>();

/** Writes a marker on the origin every second, on a session of its own, and measures how long each takes to arrive. */
export class MarkerWriter {
  readonly #options: MarkerOptions;
  readonly #client: pg.Client;
  /** When each marker that has not arrived was written; in the order of their numbers. */
  readonly #sentMs = new Map<bigint, number>();
  readonly #timer: NodeJS.Timeout;
  #newest = 0n;
  #dueMs = 0;
  #writingSinceMs: number | null = null;
  #isClosed = false;
  #last: Promise<unknown> = Promise.resolve();

  /** The number of the marker that it begins with, as `write`. */
  readonly first: Promise<bigint>;

  /** Opens the session and begins to write. Throws kind `unreachable`. */
  static async open(options: MarkerOptions): Promise<MarkerWriter> {
    return new MarkerWriter(options, await options.server.connect('marker'));
  }

  /** Begins to write on a session, which is closed with it. */
  constructor(options: MarkerOptions, client: pg.Client) {
    this.#options = options;
    this.#client = client;
    lanesFrom.set(options.server, this.#lanes + 1);
    this.#timer = setInterval(() => this.#tick(), EVERY_MS);
    this.first = this.#writeOnTime();
  }

  /**
   * Writes a marker now; its sequence number, once it is committed on the origin. Whoever comes meanwhile waits: a session
   * carries out one statement at a time, and several comparisons may ask at once.
   */
  async write(): Promise<bigint> {
    const writing = this.#last.then(() => this.#write());
    this.#last = writing.catch(() => undefined);
    return await writing;
  }

  async #write(): Promise<bigint> {
    const sentMs = monotonicMs();
    const { rows } = await this.#client.query<{ seq: string }>(writeTo(this.#options.table), [this.#options.lane]);
    const [row] = rows;
    if (row === undefined) throw new SwitchbackError('internal', 'the marker was not written');
    const seq = BigInt(row.seq);
    // It may have arrived before this answer did.
    if (seq > this.#newest) this.#sentMs.set(seq, sentMs);
    else this.#options.onLag((monotonicMs() - sentMs) / 1_000);
    return seq;
  }

  /** A marker has become durable on the other side, and with it all earlier ones. */
  arrived(newest: bigint): void {
    this.#newest = newest;
    const sentMs = this.#sentMs.get(newest);
    for (const seq of this.#sentMs.keys()) if (seq <= newest) this.#sentMs.delete(seq);
    if (sentMs !== undefined) this.#options.onLag((monotonicMs() - sentMs) / 1_000);
  }

  /** Ends the session. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    if (!this.#isClosed) lanesFrom.set(this.#options.server, this.#lanes - 1);
    this.#isClosed = true;
    await this.#client.end().catch(() => undefined);
  }

  get #lanes(): number {
    return lanesFrom.get(this.#options.server) ?? 0;
  }

  #tick(): void {
    const [oldestMs] = this.#sentMs.values();
    if (oldestMs !== undefined) this.#options.onLag((monotonicMs() - oldestMs) / 1_000);
    const { server, onFailure } = this.#options;
    if (this.#writingSinceMs !== null) {
      if (monotonicMs() - this.#writingSinceMs < STUCK_MS) return;
      onFailure(new SwitchbackError('unreachable', `the ${server.label} does not answer`));
    }
    if (monotonicMs() < this.#dueMs) return;
    void this.#writeOnTime();
  }

  /** Whoever does not wait for it need not catch it. */
  #writeOnTime(): Promise<bigint> {
    const { server, onFailure } = this.#options;
    this.#writingSinceMs = monotonicMs();
    this.#dueMs = this.#writingSinceMs + Math.max(EVERY_MS, this.#lanes * EVERY_MS_PER_LANE) - EVERY_MS / 2;
    const written = this.write();
    written
      .catch((error: unknown) => onFailure(server.wrap(error)))
      .finally(() => {
        this.#writingSinceMs = null;
      });
    return written;
  }
}
