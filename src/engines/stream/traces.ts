import { type Direction, type Position, type Side, sidesOf } from '../../domain/position.ts';
import type { TextRow } from '../../domain/sql.ts';
import { displayName, type TableName } from '../../domain/table.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { quoteName, quoteTable } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { LaneTraces, PublicationTrace, SlotTrace } from '../traces.ts';
import { type MarkerOf, sharedMarker } from './context.ts';
import { PUBLISHED } from './publication.ts';
import { lossOf, SLOT_FACTS } from './slot.ts';

/** Traces of the stream engine's lanes. */
export const streamTraces = (
  servers: Readonly<Record<Side, PostgresServer>>,
  markerOf: MarkerOf = sharedMarker,
): LaneTraces => {
  const origin = (direction: Direction): PostgresServer => servers[sidesOf(direction).from];
  return {
    slots: (direction, prefix) => readSlots(origin(direction), prefix),
    publication: (direction, name) => readPublication(origin(direction), name, markerOf(name, direction)),
    covers: (position, confirmed) => Lsn.reached(position, confirmed),
    mendMarker: (direction, what) =>
      mendMarker(origin(direction), { ...what, table: markerOf(what.publication ?? '', direction) }),
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

const readPublication = async (
  server: PostgresServer,
  name: string,
  marker: TableName,
): Promise<PublicationTrace | null> => {
  const { rowCount } = await server.query('SELECT 1 FROM pg_publication WHERE pubname = $1', [name]);
  if (rowCount === 0) return null;
  const { rows } = await server.query(PUBLISHED, [name]);
  const tables = rows.map((row) => ({ schema: textOf(row, 'schema'), name: textOf(row, 'name') }));
  return {
    tables: tables.filter((table) => displayName(table) !== displayName(marker)),
    hasMarker: tables.some((table) => displayName(table) === displayName(marker)),
  };
};

type Mending = Parameters<LaneTraces['mendMarker']>[1] & { readonly table: TableName };

const mendMarker = async (server: PostgresServer, { lane, marker, publication, table }: Mending): Promise<void> => {
  // A marker that began to count anew would never be seen to arrive: the other side knows a higher one.
  await server.query(
    `INSERT INTO ${quoteTable(table)} AS m (lane, seq) VALUES ($1, $2)
       ON CONFLICT (lane) DO UPDATE SET seq = greatest(m.seq, excluded.seq)`,
    [lane, String(marker)],
  );
  if (publication === null) return;
  const found = await readPublication(server, publication, table);
  if (found === null || found.hasMarker) return;
  await server.query(`ALTER PUBLICATION ${quoteName(publication)} ADD TABLE ONLY ${quoteTable(table)}`);
};
