import { SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { sidesOf } from '../../domain/position.ts';
import { quoteTable } from '../../platform/postgres/quote.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { Engine, LaneSpec } from '../engine.ts';
import { nativeChecks } from './checks/checks.ts';
import type { NativeContext } from './context.ts';
import { assertSameHistory } from './history.ts';
import { NativeLane } from './lane.ts';
import { forgetArrivals, markerTableSql } from './marker.ts';
import { markerTable } from './names.ts';
import { dropMarkers, dropWritten } from './retire.ts';
import {
  disableSubscription,
  dissolve,
  heldStore,
  laneGuard,
  removeSubscription,
  subscribedStore,
} from './subscription.ts';

/** What the engine is made from. */
export interface NativeEngineOptions {
  readonly servers: Readonly<Record<Side, PostgresServer>>;
  /** How the other side's server reaches each side, for libpq; passwords included. */
  readonly conninfo: Readonly<Record<Side, string>>;
  /** Publishes with {@link markerTable}, copies, catches up, and looks after slots. */
  readonly stream: Engine;
}

/**
 * The row of the lane's markers is there before its slot is, so that every marker comes as an update: one that came as an insert
 * would meet the row that the written side has already.
 */
const beginMarkers = async ({ spec, from }: NativeContext): Promise<void> => {
  const table = quoteTable(markerTable(spec.publication, spec.direction));
  await from.query(`INSERT INTO ${table} (lane, seq) VALUES ($1, 0) ON CONFLICT (lane) DO NOTHING`, [spec.lane]);
};

/**
 * The `native` engine: PostgreSQL to PostgreSQL by the servers' own logical replication, so that changes do not pass through
 * us. The copy and the catching up are the stream engine's; then a subscription on the written side goes on from the same slot.
 */
export const nativeEngine = ({ servers, conninfo, stream }: NativeEngineOptions): Engine => {
  const contextOf = (spec: LaneSpec): NativeContext => {
    const { from, to } = sidesOf(spec.direction);
    const own = { ...spec, store: subscribedStore(spec.store, servers[from], spec.slot) };
    const held = heldStore(spec.store, spec.slot);
    return { spec: own, held, from: servers[from], to: servers[to], conninfo: conninfo[from], stream };
  };
  return {
    capabilities: { truncate: true, keyless: true, strict: false },

    async checks(spec) {
      const { from, to } = sidesOf(spec.direction);
      return [
        ...(await stream.checks(spec)),
        ...(await nativeChecks({ ...spec, from: servers[from], to: servers[to], conninfo: conninfo[from] })),
      ];
    },

    async publish(spec) {
      const table = quoteTable(markerTable(spec.publication, spec.direction));
      await servers[sidesOf(spec.direction).from].transaction(async (sql) => {
        await spec.guard(sql);
        await sql.query(markerTableSql(table));
      });
      await stream.publish(spec);
    },

    async retire(what) {
      const { from, to } = sidesOf(what.direction);
      const { slot, publication, guardWritten } = what;
      if (slot !== null) {
        await disableSubscription(servers[to], slot, guardWritten);
        await servers[to].transaction(async (sql) => {
          await guardWritten(sql);
          await removeSubscription(sql, slot);
        });
      }
      await stream.retire(what);
      if (publication === null) return;
      const names = { publication, direction: what.direction };
      await dropWritten(servers[to], names, guardWritten);
      await dropMarkers(servers[from], names, what.guard);
    },

    async openLane(spec, start) {
      if (spec.archive !== undefined) throw noArchive(spec.lane);
      const context = contextOf(spec);
      if (start.kind === 'create' || start.kind === 'reserve') await beginMarkers(context);
      // What an earlier one has applied is no longer asked of it.
      if (start.kind === 'create' || start.kind === 'from') {
        await dissolve(context);
        await forgetArrivals(context.to, spec, laneGuard(context.held));
      }
      return new NativeLane(context, await stream.openLane(context.spec, start));
    },

    async repair(spec, requests, options) {
      const context = contextOf(spec);
      await assertSameHistory(context, options.observer);
      await dissolve(context);
      return await stream.repair(context.spec, requests, options);
    },
  };
};

const noArchive = (lane: string): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `lane ${lane} cannot be archived: with engine native its changes do not pass through us`,
    {
      remedy: 'take soak.archive out of the plan, or write engine: stream',
    },
  );
