import pg from 'pg';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { monotonicMs, sleep } from '../../src/platform/clock.ts';

const WRITE_EVERY_MS = 50;
const LOOK_EVERY_MS = 5;
const WITHIN_MS = 120_000;

const LOOK = `SELECT id, extract(epoch FROM clock_timestamp() - at)::float8 * 1000 AS ms FROM probe WHERE id > $1 ORDER BY id`;

/**
 * Measures how old a row of the source is when it is first seen on the target: rows with the source's clock are written all
 * the time, and looked for by the target's clock. Both servers have to be on one machine, and so have one clock.
 */
export class Probe {
  /** Makes its table; it has to be on both sides, and replicated. */
  static readonly TABLE_SQL = 'CREATE TABLE probe (id int PRIMARY KEY, at timestamptz NOT NULL)';
  readonly #source: pg.Client;
  readonly #target: pg.Client;
  readonly #working: Promise<unknown>;
  #isWriting = true;
  #isInWriting = false;
  #isLooking = true;
  #lags: number[] = [];
  #written = 0;
  #seen = 0;
  #failure: unknown;

  /** Opens a session on each side and begins. The caller closes it. */
  static async open(urls: { readonly source: string; readonly target: string }): Promise<Probe> {
    const clientOf = (connectionString: string) => new pg.Client({ connectionString, application_name: 'bench:probe' });
    const clients = [clientOf(urls.source), clientOf(urls.target)] as const;
    for (const client of clients) client.on('error', () => undefined);
    await Promise.all(clients.map((client) => client.connect()));
    return new Probe(...clients);
  }

  private constructor(source: pg.Client, target: pg.Client) {
    this.#source = source;
    this.#target = target;
    const working = Promise.all([
      this.#every(WRITE_EVERY_MS, { act: () => this.#write(), goesOn: () => this.#isWriting }),
      this.#every(LOOK_EVERY_MS, { act: () => this.#look(), goesOn: () => this.#isLooking }),
    ]);
    this.#working = working.catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /** Lags in milliseconds of the rows that have been seen since the last call. */
  take(): readonly number[] {
    if (this.#failure !== undefined) throw this.#failure;
    const taken = this.#lags;
    this.#lags = [];
    return taken;
  }

  /** Resolves when a row that is written from now on has been seen. */
  async untilArrived(): Promise<void> {
    const next = this.#written + 1;
    await this.#untilSeen(() => next);
  }

  async #untilSeen(id: () => number): Promise<void> {
    const deadlineMs = monotonicMs() + WITHIN_MS;
    // A row may be seen before its own writer is told that it stands.
    while (this.#seen < id() || (!this.#isWriting && this.#isInWriting)) {
      if (this.#failure !== undefined) throw this.#failure;
      if (monotonicMs() > deadlineMs) throw new SwitchbackError('internal', `no row came within ${WITHIN_MS / 1000} s`);
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** Writes no more, and resolves when everything that was written has been seen. */
  async finish(): Promise<void> {
    this.#isWriting = false;
    await this.#untilSeen(() => this.#written);
  }

  /** Ends both sessions. May be called more than once. */
  async close(): Promise<void> {
    this.#isWriting = false;
    this.#isLooking = false;
    await this.#working;
    await Promise.all([this.#source.end(), this.#target.end()]).catch(() => undefined);
  }

  async #every(ms: number, what: { readonly act: () => Promise<void>; readonly goesOn: () => boolean }): Promise<void> {
    let dueMs = monotonicMs();
    while (what.goesOn()) {
      await what.act();
      dueMs = Math.max(dueMs + ms, monotonicMs());
      await sleep(Math.max(0, dueMs - monotonicMs()));
    }
  }

  async #write(): Promise<void> {
    this.#isInWriting = true;
    const id = this.#written + 1;
    await this.#source.query('INSERT INTO probe VALUES ($1, clock_timestamp())', [id]);
    this.#written = id;
    this.#isInWriting = false;
  }

  async #look(): Promise<void> {
    const { rows } = await this.#target.query<{ id: number; ms: number }>(LOOK, [this.#seen]);
    for (const { id, ms } of rows) {
      this.#lags.push(ms);
      this.#seen = id;
    }
  }
}
