import { Socket } from 'node:net';
import pg from 'pg';
import { messageOf } from '../../domain/errors.ts';
import { after } from '../../platform/clock.ts';

/**
 * So long a session that is not in use is kept: the window is over then, and a pooler that is told to end when its clients
 * have gone does not wait for us.
 */
const KEPT_MS = 5_000;
const GOODBYE_MS = 500;

/** A session that is not in use, and how to keep it from being ended for that. */
interface Kept {
  readonly client: pg.Client;
  readonly use: () => void;
}

/**
 * Sessions with one admin console. A switch says some ten things to it, and while the pooler's servers are busy letting a
 * session in takes longer than all that is then said: one is kept for whatever comes next.
 */
export class Sessions {
  readonly #config: pg.ClientConfig;
  readonly #kept = new Set<Kept>();

  /** Connects to nothing yet. */
  constructor(config: pg.ClientConfig) {
    this.#config = config;
  }

  /**
   * Does something on a session that nobody else uses. Work opens it first: it may take as long as a pooler that has fallen
   * silent. When it rejects, the session is cut. One that was kept may have been lost unnoticed; then the work is done again, on a new one.
   */
  async with<T>(work: (client: pg.Client, open: () => Promise<void>) => Promise<T>): Promise<T> {
    const kept = this.#take();
    if (kept !== undefined) {
      try {
        return await this.#on(kept, () => work(kept, async () => undefined));
      } catch (error) {
        if (!isLost(error)) throw error;
      }
    }
    const client = new pg.Client(this.#config);
    client.on('error', () => undefined);
    return await this.#on(client, () => work(client, async () => void (await client.connect())));
  }

  async #on<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
    try {
      const result = await work();
      this.#keep(client);
      return result;
    } catch (error) {
      // A pooler that waits for a pause, or has fallen silent, does not listen to a goodbye.
      cut(client);
      throw error;
    }
  }

  #take(): pg.Client | undefined {
    const [kept] = this.#kept;
    kept?.use();
    return kept?.client;
  }

  #keep(client: pg.Client): void {
    const leave = (): void => {
      this.#kept.delete(kept);
      client.off('end', use);
    };
    const cancel = after(KEPT_MS, () => {
      leave();
      const late = after(GOODBYE_MS, () => cut(client));
      client
        .end()
        .catch(() => undefined)
        .finally(late);
    });
    const use = (): void => {
      cancel();
      leave();
    };
    const kept = { client, use };
    this.#kept.add(kept);
    client.once('end', use);
  }
}

/** Whether the session ended, rather than a command in it. */
const isLost = (error: unknown): boolean => {
  if (error instanceof pg.DatabaseError) return error.severity !== 'ERROR';
  const isCut = /^(EPIPE|ECONNRESET)$/.test((error as NodeJS.ErrnoException).code ?? '');
  return isCut || /connection terminated|not queryable/i.test(messageOf(error));
};

/**
 * Ends a session at once. After a mere close, what was written would still be delivered to a pooler that comes back, a PAUSE
 * too; a reset takes it back. Where a session cannot be reset, over TLS or a Unix socket, it is closed.
 */
const cut = ({ connection: { stream } }: pg.Client): void => {
  try {
    if (stream instanceof Socket && !stream.connecting) stream.resetAndDestroy();
  } catch {
    // Closed below.
  }
  stream.destroy();
};
