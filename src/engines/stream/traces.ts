import { type Direction, type Position, type Side, sidesOf } from '../../domain/position.ts';
import type { TextRow } from '../../domain/sql.ts';
import { displayName } from '../../domain/table.ts';
import { quoteName } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { LaneTraces, PublicationTrace, SlotTrace } from '../traces.ts';
import { PUBLISHED } from './publication.ts';
import { lossOf, SLOT_FACTS } from './slot.ts';

const MARKER = 'switchback.marker';

/** Traces of the stream engine's lanes. */
export const streamTraces = (servers: Readonly<Record<Side, PostgresServer>>): LaneTraces => {
  const origin = (direction: Direction): PostgresServer => servers[sidesOf(direction).from];
  return {
    slots: (direction, prefix) => readSlots(origin(direction), prefix),
    publication: (direction, name) => readPublication(origin(direction), name),
    mendMarker: (direction, what) => mendMarker(origin(direction), what),
  };
};

const readSlots = async (server: PostgresServer, prefix: string): Promise<readonly SlotTrace[]> => {
  const { rows } = await server.query(
    `SELECT slot_name::text AS name, ${SLOT_FACTS} FROM pg_replication_slots s
      WHERE starts_with(slot_name::text, $1) AND s.database = current_database() AND NOT s.temporary ORDER BY slot_name`,
    [prefix],
  );
  return rows.map(slotOf);
};

const slotOf = (row: TextRow): SlotTrace => ({
  name: textOf(row, 'name'),
  damage: lossOf(row) ?? (row.confirmed ? null : 'has never been confirmed'),
  confirmed: (row.confirmed ?? '0/0') as Position,
});

const readPublication = async (server: PostgresServer, name: string): Promise<PublicationTrace | null> => {
  const { rowCount } = await server.query('SELECT 1 FROM pg_publication WHERE pubname = $1', [name]);
  if (rowCount === 0) return null;
  const { rows } = await server.query(PUBLISHED, [name]);
  const tables = rows.map((row) => ({ schema: textOf(row, 'schema'), name: textOf(row, 'name') }));
  return {
    tables: tables.filter((table) => displayName(table) !== MARKER),
    hasMarker: tables.some((table) => displayName(table) === MARKER),
  };
};

const mendMarker: (server: PostgresServer, what: Parameters<LaneTraces['mendMarker']>[1]) => Promise<void> = async (
  server,
  { lane, marker, publication },
) => {
  // A marker that began to count anew would never be seen to arrive: the other side knows a higher one.
  await server.query(
    `INSERT INTO switchback.marker AS m (lane, seq) VALUES ($1, $2)
       ON CONFLICT (lane) DO UPDATE SET seq = greatest(m.seq, excluded.seq)`,
    [lane, String(marker)],
  );
  if (publication === null) return;
  const found = await readPublication(server, publication);
  if (found === null || found.hasMarker) return;
  await server.query(`ALTER PUBLICATION ${quoteName(publication)} ADD TABLE ONLY ${MARKER}`);
};
