import type { Position, Side } from '../../domain/position.ts';
import { sidesOf } from '../../domain/position.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import type { Engine, LaneProgress, LaneSpec, LaneStart } from '../engine.ts';
import { streamArchives } from './archive/archives.ts';
import { beginArchive } from './archive/open.ts';
import { ARCHIVE_LIMITS, type ArchiveLimits } from './archive/writer.ts';
import { streamChecks } from './checks/checks.ts';
import { type LaneContext, type MarkerOf, sharedMarker } from './context.ts';
import { StreamLane, type StreamLaneOptions } from './lane.ts';
import { ByteRate } from './pace.ts';
import { dropPublication, ensurePublication } from './publication.ts';
import { ReadyLanes } from './ready.ts';
import { repairRows } from './repair.ts';
import { createSlot, dropSlot, evictReader, inspectSlot } from './slot.ts';

/** How the engine works. */
export interface StreamOptions {
  /** Most that all copies together read of the origin, in bytes per second; no limit when null or absent. */
  readonly copyRate?: number | null;
  /** Where lanes write their markers; the sidecar's own table when absent. */
  readonly markerOf?: MarkerOf;
  /** When segments of archives are closed. */
  readonly archiveLimits?: ArchiveLimits;
  /** Whether lanes only copy and catch up here, and follow by something else. */
  readonly isForCopies?: boolean;
}

/** The `stream` engine: PostgreSQL to PostgreSQL, by logical replication read here and COPY. */
export const streamEngine = (
  servers: Readonly<Record<Side, PostgresServer>>,
  { copyRate = null, markerOf = sharedMarker, isForCopies = false, archiveLimits = ARCHIVE_LIMITS }: StreamOptions = {},
): Engine => {
  const ready = isForCopies ? null : new ReadyLanes();
  return makeEngine(servers, { copyRate: new ByteRate(copyRate), markerOf, ready, archiveLimits });
};

interface EngineParts extends StreamLaneOptions {
  readonly copyRate: ByteRate;
  readonly markerOf: MarkerOf;
}

const makeEngine = (
  servers: Readonly<Record<Side, PostgresServer>>,
  { copyRate, markerOf, ready, archiveLimits }: EngineParts,
): Engine => ({
  capabilities: { truncate: true, keyless: true, strict: true },
  archives: streamArchives,

  async checks({ direction, tables }) {
    return await streamChecks({ direction, from: servers[sidesOf(direction).from], tables });
  },

  async publish(spec) {
    const server = servers[sidesOf(spec.direction).from];
    const { publication: name, tables, roots, guard } = spec;
    await ensurePublication(server, { name, tables, roots, marker: markerOf(name, spec.direction) }, guard);
  },

  async retire({ direction, slot, publication, guard }) {
    const server = servers[sidesOf(direction).from];
    if (slot !== null) {
      await ready?.drop(slot);
      await server.transaction(async (sql) => {
        await guard(sql);
        await evictReader(sql, slot);
      });
      await dropSlot(server, slot, guard);
    }
    if (publication !== null) {
      await server.transaction(async (sql) => {
        await guard(sql);
        await dropPublication(sql, publication);
      });
    }
  },

  async openLane(spec, start) {
    const { from, to } = sidesOf(spec.direction);
    const marker = markerOf(spec.publication, spec.direction);
    const context = { spec, from: servers[from], to: servers[to], marker, copyRate };
    await openSlot(context, start);
    // Clients will be waiting when this lane begins to follow.
    if (start.kind === 'reserve') await ready?.keep(context);
    return new StreamLane(context, { ready, archiveLimits });
  },

  async repair(spec, requests, options) {
    const { from, to } = sidesOf(spec.direction);
    const marker = markerOf(spec.publication, spec.direction);
    return await repairRows({ spec, from: servers[from], to: servers[to], marker }, requests, options);
  },
});

const openSlot = async (context: LaneContext, start: LaneStart): Promise<void> => {
  const { spec, from } = context;
  switch (start.kind) {
    case 'create': {
      const position = await createSlot(from, spec.slot);
      await begin(spec, position, null);
      // Chunks of an earlier start would be taken for done, and what changed in between would be missing.
      await context.to.transaction((sql) => spec.store.restart(sql, { position, strictFrom: null, marker: 0n }));
      break;
    }
    case 'reserve':
      await createSlot(from, spec.slot);
      break;
    case 'from': {
      await inspectSlot(from, spec.slot, async () => start.position);
      await begin(spec, start.position, start.ended ?? null);
      const earlier = await spec.store.progress(context.to);
      await store(context, {
        position: start.position,
        strictFrom: start.position,
        marker: earlier?.marker ?? 0n,
      });
      break;
    }
    case 'resume': {
      const stored = async () => (await spec.store.progress(context.to))?.position ?? null;
      await inspectSlot(from, spec.slot, stored);
    }
  }
};

const store = async (context: LaneContext, progress: LaneProgress): Promise<void> => {
  await context.to.transaction((sql) => context.spec.store.begin(sql, progress));
};

/** Before the progress is stored: a lane that knows where it is never finds that its archive does not. */
const begin = async ({ archive, direction }: LaneSpec, at: Position, ended: Position | null): Promise<void> => {
  if (archive !== undefined) await beginArchive(archive, { direction, at, ended });
};
