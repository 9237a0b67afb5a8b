import type pg from 'pg';
import { messageOf } from '../../domain/errors.ts';
import type { TextRow } from '../../domain/sql.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { quoteName } from '../../platform/postgres/quote.ts';

const RETRY = 'server_login_retry';
/** A value that nobody else would set, so that it is known for ours. */
const SHORT_RETRY_S = 0.017;
/** For how long a pool may have clients and no session on the way to a server, in milliseconds. */
const STARVED_MS = 300;
/** Columns of SHOW POOLS that count sessions with a server. */
const SERVERS = ['sv_active', 'sv_idle', 'sv_used', 'sv_tested', 'sv_login'] as const;
const LOOK_AGAIN_MS = 10;
const NOTHING_TO_RESUME = /is not paused|no such database/;

/**
 * Lets clients of databases go on, on a session with the console. A client that was new while a pause was on made 1.18 begin
 * a session with the server and cut it, which counts as a failed login, so that nobody of its user would get a session before
 * `server_login_retry` (15 s) is over. That is made short, where it is seen, until all have one on the way.
 */
export const resumeOn = async (client: pg.Client, databases: readonly string[]): Promise<void> => {
  for (const database of databases) {
    await client.query(`RESUME ${quoteName(database)}`).catch((error: unknown) => {
      if (!NOTHING_TO_RESUME.test(messageOf(error))) throw error;
    });
  }
  if (!(await isStarved(client, databases))) return;
  await withShortRetry(client, async () => {
    const begun = monotonicMs();
    // A server that is down is no reason to wait for it.
    while ((await isStarved(client, databases)) && monotonicMs() - begun <= STARVED_MS) await sleep(LOOK_AGAIN_MS);
  });
};

/** Whether clients of one of them wait while no session with a server is there, or on the way. */
const isStarved = async (client: pg.Client, databases: readonly string[]): Promise<boolean> => {
  const { rows } = await client.query<TextRow>('SHOW POOLS');
  return rows.some(
    (row) =>
      databases.includes(row.database ?? '') && row.cl_waiting !== '0' && SERVERS.every((name) => row[name] === '0'),
  );
};

/** Sets it for the time of the work. One that a worker left short when it died goes back to what it is by default. */
const withShortRetry = async (client: pg.Client, work: () => Promise<void>): Promise<void> => {
  const { rows } = await client.query<TextRow>('SHOW CONFIG');
  const { value = null, default: byDefault = null } = rows.find(({ key }) => key === RETRY) ?? {};
  const usual = Number(value) === SHORT_RETRY_S ? byDefault : value;
  // Not a pooler that we know: clients go on all the same.
  if (usual === null) return await work();
  const isShort = await client.query(`SET ${RETRY} = '${SHORT_RETRY_S}'`).then(
    () => true,
    () => false,
  );
  // Clients that wait a while longer are better than clients that wait for ever.
  if (!isShort) return await work();
  try {
    await work();
  } finally {
    await client.query(`SET ${RETRY} = '${usual}'`);
  }
};
