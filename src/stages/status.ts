import { isKind, messageOf } from '../domain/errors.ts';
import type { Finding } from '../domain/finding.ts';
import type { Halt, PhaseState } from '../domain/phase.ts';
import type { Direction, Position, Side } from '../domain/position.ts';
import { sidesOf } from '../domain/position.ts';
import { isUnproven, type RouteProof } from '../domain/proof.ts';
import { laneDirection } from '../domain/protocol.ts';
import type { LaneProgress } from '../engines/engine.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { type JournalEntry, readSwitchJournal } from '../sidecar/journal.ts';
import { laneName, readCopied, readLanes, readProgress, type StoredLane } from '../sidecar/lanes.ts';
import type { Lease } from '../sidecar/lease.ts';
import { readLease } from '../sidecar/lease.ts';
import { type Ownership, readOwnership } from '../sidecar/ownership.ts';
import { readPhases } from '../sidecar/phases.ts';
import { readCertificates, readLatestLag, readMirror, type StoredCertificate } from '../sidecar/records.ts';
import { type LedReaders, type RunFacts, readRun } from '../sidecar/run.ts';
import { type EndedSwitch, lastProof, readSwitches, SWITCHES_ASKED_OF } from '../sidecar/switches.ts';
import type { Certificate } from './certificate.ts';
import type { RunContext } from './context.ts';
import { assertSound } from './damage.ts';
import { isHeld } from './holder.ts';
import { nextCommands } from './next-commands.ts';
import { readSnapshotStatus, type SnapshotStatus } from './snapshots/summary.ts';
import { findUnended } from './unended.ts';

/** A lane as `status` shows it. */
export interface LaneStatus {
  readonly name: string;
  readonly direction: Direction;
  readonly slot: string;
  readonly position: Position | null;
  /** Apply is strict from here on; null until the copy has ended. */
  readonly strictFrom: Position | null;
  /** Newest measured end-to-end lag, and how long ago that was. Null before the first marker has travelled. */
  readonly lagMs: number | null;
  readonly lagAgeMs: number | null;
  readonly halt: Halt | null;
}

/** A phase as `status` shows it. */
export interface PhaseStatus {
  readonly name: string;
  readonly state: PhaseState;
  /** What each side's own ownership row says; null where there is none yet. */
  readonly source: { readonly role: string; readonly fenced: boolean } | null;
  readonly target: { readonly role: string; readonly fenced: boolean } | null;
  readonly lane: LaneStatus | null;
  /** Where its readers were moved, or are being; null when they never were. */
  readonly readers: LedReaders | null;
  /** Why its stage cannot go on by itself, or null. */
  readonly stuck: Finding | null;
  readonly copied: { readonly rows: number; readonly bytes: number };
  readonly certificate: {
    readonly id: string;
    readonly at: string;
    readonly ageMs: number;
    readonly tables: number;
    readonly rows: number;
    readonly clean: boolean;
  } | null;
  /** What is known of its routers since its last switch that committed; empty when there was none. */
  readonly proof: readonly RouteProof[];
  /** Commands that make sense now, best first. */
  readonly next: readonly string[];
}

/** Everything about a run, as data: `status --json`, the mirror and the report are made of it. */
export interface RunStatus {
  /** Which side answered; `target` means that the source did not, and that the rest is from the mirror. */
  readonly answeredBy: Side;
  readonly sourceError: string | null;
  readonly mirroredAt: string | null;
  readonly run: {
    readonly id: string;
    readonly name: string;
    readonly planHash: string;
    readonly createdAt: string;
  } | null;
  readonly servers: { readonly source: string; readonly target: string };
  readonly worker: {
    readonly holder: string;
    readonly host: string;
    readonly epoch: string;
    readonly alive: boolean;
  } | null;
  readonly phases: readonly PhaseStatus[];
  /** What the end of the last phase has left behind, when no worker is at it; see {@link findUnended}. */
  readonly unended: Finding | null;
  /** What is known of snapshots; null where the plan makes none. */
  readonly snapshots: SnapshotStatus | null;
  readonly lastSwitch: {
    readonly id: string;
    readonly outcome: string | null;
    readonly steps: readonly JournalLine[];
  } | null;
}

/** A journal entry without bigints, for JSON. */
export type JournalLine = Omit<JournalEntry, 'id' | 'epoch'> & { readonly id: string; readonly epoch: string };

/** Makes a journal entry printable as JSON. */
export const journalLine = (entry: JournalEntry): JournalLine => ({
  ...entry,
  id: String(entry.id),
  epoch: String(entry.epoch),
});

const NO_RUN: Omit<RunStatus, 'servers'> = {
  answeredBy: 'source',
  sourceError: null,
  mirroredAt: null,
  run: null,
  worker: null,
  phases: [],
  unended: null,
  snapshots: null,
  lastSwitch: null,
};

/** What a mirror does not tell of a phase that was written before it was known. */
const UNTOLD: Pick<PhaseStatus, 'proof' | 'readers'> = { proof: [], readers: null };

/** Reads the run's status from the source. Throws kind `unreachable` when the source does not answer. */
export const readStatus = async (context: RunContext): Promise<RunStatus> => {
  const { sql } = context.source;
  const [source, target] = await Promise.all([
    context.source.sessions.describe(),
    context.target.sessions.describe().catch((error: unknown) => ({ version: `not reachable: ${messageOf(error)}` })),
  ]);
  const servers = { source: source.version, target: target.version };
  if (!(await sidecarExists(sql))) return { ...NO_RUN, servers };
  const run = await readRun(sql);
  if (!run) return { ...NO_RUN, servers };
  const worker = await workerStatus(context, await readLease(sql));
  const switches = await readSwitches(sql, SWITCHES_ASKED_OF);
  const isHeldNow = worker?.alive === true;
  const phases = await phaseStatuses(context, { readers: run.facts.readers, worker: isHeldNow, switches });
  return {
    ...NO_RUN,
    servers,
    run: { id: run.id, name: run.planName, planHash: run.planHash, createdAt: run.createdAt },
    worker,
    phases,
    unended: worker?.alive === true ? null : await findUnended(context, phases),
    snapshots: context.plan.snapshots === null ? null : await readSnapshotStatus(sql),
    lastSwitch: await lastSwitch(context, switches.at(-1)),
  };
};

/**
 * As {@link readStatus}, or the target's mirror when the source does not answer. Throws kind `parked`, with the command, when
 * the sidecars are damaged.
 */
export const readStatusFromEither = async (context: RunContext): Promise<RunStatus> => {
  try {
    await assertSound(context);
    return await readStatus(context);
  } catch (error) {
    // What the mirror knew is no answer to records that are damaged; the rebuild shows it.
    if (isKind(error, 'parked')) throw error;
    const mirror = await readMirror<RunStatus>(context.target.sql, 'status').catch(() => null);
    if (!mirror) throw error;
    const document = { ...NO_RUN, ...mirror.document };
    // A worker of an earlier version may have written it.
    const phases = document.phases.map((phase) => ({ ...UNTOLD, ...phase }));
    return { ...document, phases, answeredBy: 'target', sourceError: messageOf(error), mirroredAt: mirror.at };
  }
};

const workerStatus = async (context: RunContext, lease: Lease | null): Promise<RunStatus['worker']> => {
  if (!lease || lease.holder === '') return null;
  // The worker that writes its mirror need not be observed.
  const alive = lease.holder === context.holder || (await isHeld(context, lease));
  return { holder: lease.holder, host: lease.host, epoch: String(lease.epoch), alive };
};

const phaseStatuses = async (
  context: RunContext,
  {
    readers,
    worker,
    switches,
  }: {
    readonly readers: RunFacts['readers'];
    readonly worker: boolean;
    readonly switches: readonly EndedSwitch[];
  },
): Promise<readonly PhaseStatus[]> => {
  const { source, target } = context;
  const onTarget = await sidecarExists(target.sql).catch(() => false);
  // Each of these asks about all phases at once: a statement for every one of 200 would be a second of them.
  const none = new Map<string, never>();
  const [phases, lanes, lag, ownSource, ownTarget, toTarget, toSource, copied, certificates] = await Promise.all([
    readPhases(source.sql),
    readLanes(source.sql).then((all) => new Map(all.map((lane) => [lane.name, lane]))),
    readLatestLag(source.sql),
    readOwnership(source.sql).then(byPhase),
    onTarget ? readOwnership(target.sql).then(byPhase, () => none) : none,
    onTarget ? readProgress(target.sql).catch(() => none) : none,
    readProgress(source.sql),
    onTarget ? readCopied(target.sql).catch(() => none) : none,
    readCertificates<Certificate>(source.sql),
  ]);
  return phases.map(({ name, state, stuck }) => {
    const direction = laneDirection(state) ?? 'forward';
    const named = laneName(name, direction);
    const lane = lanes.get(named);
    const progress = (sidesOf(direction).to === 'target' ? toTarget : toSource).get(named);
    const sample = lag.get(named);
    const proof = lastProof(switches, name);
    return {
      name,
      state,
      source: roleOf(ownSource.get(name)),
      target: roleOf(ownTarget.get(name)),
      lane: lane && laneDirection(state) !== null ? laneStatus(lane, { direction, progress, sample }) : null,
      readers: readers?.[name] ?? null,
      stuck,
      copied: copied.get(laneName(name, 'forward')) ?? { rows: 0, bytes: 0 },
      certificate: certificateOf(certificates.get(name)),
      proof,
      next: nextCommands({
        name,
        state,
        unproven: isUnproven(proof),
        obstacle: (laneDirection(state) === null ? null : lane?.halt?.finding) ?? stuck,
        worker,
        path: context.plan.path,
        isReadOnSource: isReadOnSource(context, name, readers?.[name]),
      }),
    };
  });
};

/** Whether a phase has readers that can be moved to the target, as far as it is recorded. */
const isReadOnSource = ({ plan }: RunContext, name: string, led: LedReaders | undefined): boolean =>
  (plan.phases.find((phase) => phase.name === name)?.readers.length ?? 0) > 0 && led?.to !== 'target';

const byPhase = (rows: readonly Ownership[]): ReadonlyMap<string, Ownership> =>
  new Map(rows.map((row) => [row.phase, row]));

const laneStatus = (
  lane: StoredLane,
  about: {
    readonly direction: Direction;
    readonly progress: LaneProgress | undefined;
    readonly sample: { readonly ms: number; readonly ageMs: number } | undefined;
  },
): LaneStatus => ({
  name: lane.name,
  direction: about.direction,
  slot: lane.slot,
  position: about.progress?.position ?? null,
  strictFrom: about.progress?.strictFrom ?? null,
  lagMs: about.sample?.ms ?? null,
  lagAgeMs: about.sample?.ageMs ?? null,
  halt: lane.halt,
});

const roleOf = (ownership: { role: string; fenced: boolean } | undefined) =>
  ownership ? { role: ownership.role, fenced: ownership.fenced } : null;

const certificateOf = (stored: StoredCertificate<Certificate> | undefined): PhaseStatus['certificate'] => {
  if (!stored) return null;
  const { id, tables, clean } = stored.document;
  const rows = tables.reduce((sum, table) => sum + table.rows, 0);
  return { id, at: stored.at, ageMs: stored.ageMs, tables: tables.length, rows, clean };
};

/** Far more than the steps of one, each begun and ended; a step that was tried again has more. */
const LINES_OF_A_SWITCH = 500;

const lastSwitch = async (context: RunContext, last: EndedSwitch | undefined): Promise<RunStatus['lastSwitch']> => {
  if (!last) return null;
  const lines = await readSwitchJournal(context.source.sql, LINES_OF_A_SWITCH);
  return {
    id: last.id,
    outcome: last.outcome,
    steps: lines.filter((line) => line.scope === last.id).map(journalLine),
  };
};
