import pg from 'pg';
import { sleep } from '../../src/platform/clock.ts';

/** A client that writes all the time. */
export interface RunningWriter {
  /** Transactions that were acknowledged so far. */
  readonly acknowledged: number;
  /** Stops after the transaction in hand; throws the first error that was not a lost connection. */
  stop(): Promise<void>;
}

const LOST = /terminat|ECONN|57P0|closed|not queryable|starting up|shutting down|recovery/i;

/**
 * Runs the statements of `next(i)` as one transaction after the other, about every `everyMs`. A server that goes away is
 * connected to again; its last transaction may or may not have been done, so a statement must not mind that.
 */
export const startWriter = (
  url: string,
  next: (i: number) => string,
  options: { readonly everyMs: number } = { everyMs: 2 },
): RunningWriter => {
  let stopping = false;
  let acknowledged = 0;
  const write = async (): Promise<void> => {
    let client: pg.Client | undefined;
    for (let i = 0; !stopping; i++) {
      try {
        client ??= await connect(url);
        await client.query(`BEGIN; ${next(i)}; COMMIT`);
        acknowledged += 1;
      } catch (error) {
        await client?.end().catch(() => undefined);
        client = undefined;
        const code = error instanceof Error && 'code' in error ? String(error.code) : '';
        if (!LOST.test(`${code} ${error}`)) throw error;
      }
      await sleep(options.everyMs);
    }
    await client?.end().catch(() => undefined);
  };
  const writing = write();
  writing.catch(() => undefined);
  return {
    get acknowledged() {
      return acknowledged;
    },
    stop: async () => {
      stopping = true;
      await writing;
    },
  };
};

const connect = async (url: string): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url, application_name: 'writer' });
  client.on('error', () => undefined);
  await client.connect();
  return client;
};
