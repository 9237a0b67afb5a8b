import type { TextRow } from '../../domain/sql.ts';
import { BoundedClient } from '../../platform/postgres/bounded-client.ts';
import { isTrue, textOf } from '../../platform/postgres/row.ts';
import { rawText } from '../../platform/postgres/server.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import type { ClientPath } from '../client-path.ts';
import { DESCRIBED } from './sessions.ts';

/**
 * The application_name of a probe. Not one of ours: a pooler may leave it on a session that it gives to the application
 * next, and ours are ended when a worker is taken over.
 */
export const PROBE_APPLICATION = 'probe of switchback';

/** For the connection and for the answer, each, in milliseconds. */
const PATIENCE_MS = 5_000;

const ASK = `SELECT ${DESCRIBED.identity} AS identity, ${DESCRIBED.started} AS started,
       pg_catalog.pg_is_in_recovery() AS standby FROM ${DESCRIBED.from}`;

/**
 * A path of clients by its URL. Everything that is asked may be called by any role, so the application's own user and
 * password will do; and it is one simple statement, which a pooler passes in every mode. Throws kind `usage` for a URL that
 * cannot be read; `of` is whose it is.
 */
export const postgresPath = (url: string, of: string): ClientPath => {
  const { driver } = readPostgresUrl(url, of);
  return {
    name: `${driver.host ?? 'localhost'}:${driver.port ?? 5432}/${driver.database ?? ''}`,
    ask: async () => {
      const client = new BoundedClient({
        ...driver,
        application_name: PROBE_APPLICATION,
        connectionTimeoutMillis: PATIENCE_MS,
        query_timeout: PATIENCE_MS,
        types: rawText,
      });
      client.on('error', () => undefined);
      try {
        await client.connect();
        const { rows } = await client.query<TextRow>(ASK);
        const row = rows[0] ?? {};
        const identity = textOf(row, 'identity');
        return { identity, instance: `${identity}@${textOf(row, 'started')}`, isStandby: isTrue(row, 'standby') };
      } finally {
        // Not waited for: whoever does not answer takes its time to hear a farewell.
        client.end().catch(() => undefined);
      }
    },
  };
};
