import type { Envelope, SealedObject } from '../../platform/objects/envelope.ts';
import { namesOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';

/**
 * What belongs to a database itself and to nothing in it, so that no dump carries it. Applications keep secrets in settings, so it
 * is an object of its own, which is encrypted where the rows are, and no part of the manifest. JSON.
 */
export interface OwnFacts {
  /** `name=value`, set for all roles by ALTER DATABASE. */
  readonly settings: readonly string[];
}

const OWN = `
  SELECT (SELECT coalesce(json_agg(setting), '[]') FROM pg_db_role_setting s, unnest(s.setconfig) setting
           WHERE s.setdatabase = d.oid AND s.setrole = 0) AS settings
  FROM pg_database d WHERE d.datname = current_database()`;

/** Reads it of the database that a server's URL leads to. */
export const readOwn = async (server: PostgresServer): Promise<OwnFacts> => {
  const [row = {}] = (await server.query(OWN)).rows;
  return { settings: namesOf(row, 'settings') };
};

const once = async function* (text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
};

/** Keeps it beside a dump. */
export const putOwn = async (envelope: Envelope, id: string, own: OwnFacts): Promise<SealedObject> =>
  await envelope.put(`${id}/database.json`, once(JSON.stringify(own)));

/** Gets it again. Throws kind `refused` when it is not what was put. */
export const getOwn = async (envelope: Envelope, object: SealedObject): Promise<OwnFacts> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of envelope.get(object)) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString('utf8')) as OwnFacts;
};
