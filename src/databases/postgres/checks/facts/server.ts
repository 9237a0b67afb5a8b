import type { SqlExecutor, TextRow } from '../../../../domain/sql.ts';
import { isTrue, onlyRow, textOf } from '../../../../platform/postgres/row.ts';
import type { PostgresServer } from '../../../../platform/postgres/server.ts';
import { POOL_SETTINGS } from '../../../../platform/postgres/settings.ts';

/** How many of something the server allows, and how many are taken. */
export interface Capacity {
  readonly max: number;
  readonly used: number;
}

/** A transaction that has been open for long. */
export interface OpenTransaction {
  /** 0 for a prepared one, whose `query` is then its gid. */
  readonly pid: number;
  readonly user: string;
  readonly seconds: number;
  readonly query: string;
}

/** How a database sorts and spells text. */
export interface TextFacts {
  readonly encoding: string;
  readonly collate: string;
  readonly ctype: string;
  /** Of the sort order now, by the operating system or ICU; null where it has none or the server cannot say. */
  readonly collationVersion: string | null;
  /** What it was when the database was made, where the server remembers (15 and newer). */
  readonly recordedVersion: string | null;
}

/** What is true of one side's server and of the database as a whole. */
export interface ServerFacts {
  readonly side: string;
  readonly database: string;
  /** server_version_num: 130023 is 13.23. */
  readonly version: number;
  /** Cluster, database and start of its server: the same database on both sides has the same. */
  readonly instance: string;
  /** How many different servers our sessions reached under this URL. */
  readonly servers: number;
  readonly standby: boolean;
  readonly text: TextFacts;
  /** From pg_settings, in its units; a setting that this version does not have is absent. */
  readonly settings: Readonly<Record<string, string>>;
  /** Settings that we ask for on connecting and did not get. */
  readonly unpinned: readonly string[];
  readonly slots: Capacity & { readonly ours: number };
  readonly senders: Capacity;
  readonly connections: Capacity;
  /** Physical slots, which stand for standbys. */
  readonly standbys: number;
  readonly bytes: number;
  /** Tables, indexes, sequences, TOAST of the database, system's apart: each takes a lock of whoever makes it. */
  readonly relations: number;
  /** Locks that all sessions together may hold, at the least. */
  readonly locks: number;
  readonly openTransactions: readonly OpenTransaction[];
}

const SETTINGS = [
  'wal_level',
  'max_locks_per_transaction',
  'max_slot_wal_keep_size',
  'idle_replication_slot_timeout',
  'wal_sender_timeout',
  'transaction_timeout',
  'idle_session_timeout',
  'default_transaction_read_only',
  'fsync',
  'sync_replication_slots',
];

/** Shorter ones end before a slot that waits for them gives up. */
const LONG_SECONDS = 60;

const SERVER = `
  SELECT current_setting('server_version_num') AS version, current_database() AS database,
         (SELECT system_identifier FROM pg_control_system()) || '/' || d.oid || '@' || pg_postmaster_start_time() AS instance,
         pg_is_in_recovery() AS standby, pg_encoding_to_char(d.encoding) AS encoding,
         coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate) AS collate,
         d.datctype AS ctype, to_jsonb(d) ->> 'datcollversion' AS recorded_version,
         pg_database_size(d.oid) AS bytes, (SELECT count(*) FROM pg_class WHERE oid >= 16384) AS relations,
         current_setting('max_locks_per_transaction')::bigint
           * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) AS locks,
         (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name = ANY($1::text[])) AS settings,
         current_setting('max_replication_slots') AS max_slots,
         (SELECT count(*) FROM pg_replication_slots) AS slots,
         (SELECT count(*) FROM pg_replication_slots WHERE starts_with(slot_name, 'switchback')) AS own_slots,
         (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical') AS standbys,
         current_setting('max_wal_senders') AS max_senders, (SELECT count(*) FROM pg_stat_replication) AS senders,
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS max_connections,
         (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL
           AND NOT starts_with(application_name, 'switchback')) AS connections
  FROM pg_database d WHERE d.datname = current_database()`;

/** Before 15 only the version of a collation in the catalogue can be asked for: one with the same locale stands for it. */
const COLLATION_VERSION = {
  before15: `SELECT pg_collation_actual_version(c.oid) AS version FROM pg_collation c, pg_database d
             WHERE d.datname = current_database() AND c.collprovider = 'c' AND c.collcollate = d.datcollate
             ORDER BY c.oid LIMIT 1`,
  since15: `SELECT pg_database_collation_actual_version(oid) AS version FROM pg_database
            WHERE datname = current_database()`,
} as const;

const OPEN_TRANSACTIONS = `
  SELECT a.pid, a.usename AS "user", extract(epoch FROM clock_timestamp() - a.xact_start)::int AS seconds,
         left(a.query, 200) AS query
  FROM pg_stat_activity a
  WHERE a.backend_xid IS NOT NULL AND a.xact_start < clock_timestamp() - $1::text::interval
    AND NOT starts_with(a.application_name, 'switchback')
  UNION ALL
  SELECT 0, owner, extract(epoch FROM clock_timestamp() - prepared)::int, gid FROM pg_prepared_xacts
  WHERE prepared < clock_timestamp() - $1::text::interval
  ORDER BY seconds DESC LIMIT 10`;

const readUnpinned = async (sql: SqlExecutor): Promise<readonly string[]> => {
  const { rows } = await sql.query('SELECT name, setting FROM pg_settings WHERE lower(name) = ANY($1::text[])', [
    Object.keys(POOL_SETTINGS).map((name) => name.toLowerCase()),
  ]);
  const found = new Map(rows.map((row) => [textOf(row, 'name').toLowerCase(), textOf(row, 'setting')]));
  return Object.entries(POOL_SETTINGS)
    .filter(([name, wanted]) => found.get(name.toLowerCase())?.replaceAll(' ', '') !== wanted)
    .map(([name]) => name);
};

/** Several sessions at once, since a load balancer deals them out. */
const countServers = async (server: PostgresServer): Promise<number> => {
  const asked = await Promise.all(
    [1, 2, 3].map(() => server.query('SELECT pg_postmaster_start_time() AS started, inet_server_addr() AS address')),
  );
  return new Set(asked.map((result) => JSON.stringify(onlyRow(result)))).size;
};

const settingsOf = (row: TextRow): Readonly<Record<string, string>> => {
  const parsed: unknown = JSON.parse(textOf(row, 'settings'));
  return typeof parsed === 'object' && parsed !== null
    ? Object.fromEntries(Object.entries(parsed).map(([name, value]) => [name, String(value)]))
    : {};
};

const capacity = (row: TextRow, name: string): Capacity => ({
  max: Number(textOf(row, `max_${name}`)),
  used: Number(textOf(row, name)),
});

/** Reads what is true of a side as a whole, with transactions open for longer than `longSeconds`. Any role may. */
export const readServer = async (server: PostgresServer, longSeconds = LONG_SECONDS): Promise<ServerFacts> => {
  const row = onlyRow(await server.query(SERVER, [SETTINGS]));
  const version = Number(textOf(row, 'version'));
  const collation = await server.query(COLLATION_VERSION[version < 150_000 ? 'before15' : 'since15']);
  const open = await server.query(OPEN_TRANSACTIONS, [String(longSeconds)]);
  return {
    side: server.label,
    database: textOf(row, 'database'),
    version,
    instance: textOf(row, 'instance'),
    servers: await countServers(server),
    standby: isTrue(row, 'standby'),
    text: {
      encoding: textOf(row, 'encoding'),
      collate: textOf(row, 'collate'),
      ctype: textOf(row, 'ctype'),
      collationVersion: collation.rows[0]?.version ?? null,
      recordedVersion: row.recorded_version ?? null,
    },
    settings: settingsOf(row),
    unpinned: await readUnpinned(server),
    slots: { ...capacity(row, 'slots'), ours: Number(textOf(row, 'own_slots')) },
    senders: capacity(row, 'senders'),
    connections: capacity(row, 'connections'),
    standbys: Number(textOf(row, 'standbys')),
    bytes: Number(textOf(row, 'bytes')),
    relations: Number(textOf(row, 'relations')),
    locks: Number(textOf(row, 'locks')),
    openTransactions: open.rows.map((t) => ({
      pid: Number(textOf(t, 'pid')),
      user: t.user ?? '',
      seconds: Number(textOf(t, 'seconds')),
      query: t.query ?? '',
    })),
  };
};
