import type { TextRow } from '../../domain/sql.ts';
import { namesOf, textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';

/** What a database is made like, and what has to be on a server that it is restored on. It holds no secrets. JSON. */
export interface DatabaseFacts {
  readonly encoding: string;
  readonly collate: string;
  readonly ctype: string;
  /** `c` for that of the C library, `i` of ICU, `b` built in; and the locale of the last two. */
  readonly provider: string;
  readonly locale: string | null;
  /** Roles that own something in it, have rights there, or are named by a policy of row security. */
  readonly roles: readonly string[];
  /** Names of extensions; those that come with every server are left out. */
  readonly extensions: readonly string[];
  /** Bytes on the server's disk, indexes included. */
  readonly bytes: string;
}

const FACTS = `
  SELECT pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, d.datctype AS ctype,
         coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
         coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
         pg_database_size(d.oid)::text AS bytes,
         (SELECT coalesce(json_agg(DISTINCT r.rolname), '[]') FROM pg_shdepend h JOIN pg_roles r ON r.oid = h.refobjid
           WHERE h.dbid = d.oid AND h.refclassid = 'pg_authid'::regclass AND h.deptype IN ('o', 'a', 'r')
             AND r.rolname !~ '^pg_') AS roles,
         (SELECT coalesce(json_agg(extname ORDER BY extname), '[]') FROM pg_extension WHERE extname <> 'plpgsql') AS extensions
  FROM pg_database d WHERE d.datname = current_database()`;

/** Reads what there is to know of the database that a server's URL leads to. */
export const readFacts = async (server: PostgresServer): Promise<DatabaseFacts> => {
  const { rows } = await server.query(FACTS);
  const row: TextRow = rows[0] ?? {};
  return {
    encoding: textOf(row, 'encoding'),
    collate: textOf(row, 'collate'),
    ctype: textOf(row, 'ctype'),
    provider: textOf(row, 'provider'),
    locale: row.locale ?? null,
    roles: namesOf(row, 'roles'),
    extensions: namesOf(row, 'extensions'),
    bytes: textOf(row, 'bytes'),
  };
};

/** The version of a server, as it says it: `13.23`, and its major. */
export const versionOf = async (
  server: Pick<PostgresServer, 'query'>,
): Promise<{ readonly text: string; readonly major: number }> => {
  const { rows } = await server.query("SELECT split_part(current_setting('server_version'), ' ', 1) AS version");
  const text = rows[0]?.version ?? '';
  return { text, major: Number.parseInt(text, 10) };
};
