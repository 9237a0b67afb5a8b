import type { Finding } from '../../../domain/finding.ts';
import { type Direction, sidesOf } from '../../../domain/position.ts';
import type { Table } from '../../../domain/table.ts';
import type { PostgresServer } from '../../../platform/postgres/server.ts';
import { readOriginTables } from './facts.ts';
import { judgeOrigin } from './judge.ts';

/** One direction's lanes. */
export interface StreamChecksInput {
  readonly direction: Direction;
  /** The side that they read from. */
  readonly from: PostgresServer;
  /** Of all phases that are looked at. */
  readonly tables: readonly Table[];
}

/**
 * What the stream engine finds about tables on the side that it reads from: that every change of theirs is in the log with
 * the key it is found by. Tables that are not there yet are left out; while a phase is copied its target has no keys, so
 * ask for the reverse direction before the copy and right before a switch. Changes nothing.
 */
export const streamChecks = async ({ direction, from, tables }: StreamChecksInput): Promise<readonly Finding[]> => {
  const side = sidesOf(direction).from;
  const keys = new Map(tables.map((table) => [`${table.schema}\0${table.name}`, table.key]));
  const found = await readOriginTables(from, tables);
  return found.flatMap((table) =>
    judgeOrigin(table, { key: keys.get(`${table.schema}\0${table.name}`) ?? null, side }),
  );
};
