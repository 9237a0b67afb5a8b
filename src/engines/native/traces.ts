import { type Side, sidesOf } from '../../domain/position.ts';
import { quoteTable } from '../../platform/postgres/quote.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { LaneTraces } from '../traces.ts';
import { markerTableSql } from './marker.ts';
import { markerTable } from './names.ts';

/**
 * Traces of the native engine's lanes. Slots and publications are those of the stream engine's; a subscription bears the name
 * of its slot, and goes with it when that is retired. `stream` looks for markers in {@link markerTable}.
 */
export const nativeTraces = (servers: Readonly<Record<Side, PostgresServer>>, stream: LaneTraces): LaneTraces => ({
  ...stream,
  // A server's worker keeps its progress in the server and not in the database.
  covers: () => false,
  async mendMarker(direction, what) {
    // Markers of a phase that publishes nothing have nobody to arrive at.
    if (what.publication === null) return;
    const table = quoteTable(markerTable(what.publication, direction));
    await servers[sidesOf(direction).from].query(markerTableSql(table));
    await stream.mendMarker(direction, what);
  },
});
