import { isKind } from '../../domain/errors.ts';
import type { PhaseStateName } from '../../domain/phase.ts';
import type { Direction, Position, Side } from '../../domain/position.ts';
import { displayName, type Table } from '../../domain/table.ts';
import type { PublicationTrace, SlotTrace } from '../../engines/traces.ts';
import { laneName } from '../../sidecar/lanes.ts';
import { PLACE_HOLDER } from '../../sidecar/ownership.ts';
import { type Salvage, salvage } from '../../sidecar/salvage.ts';
import { isPhaseState } from '../../sidecar/shape.ts';
import type { PhaseScope, RunContext, RunScope } from '../context.ts';
import { publicationName, slotPrefix } from '../names.ts';
import { askRouters, routersOf } from '../routes.ts';
import { scopeOf } from '../scope.ts';
import type { RunStatus } from '../status.ts';
import type { PhaseEvidence, SideEvidence, SwitchEvidence, Traces } from './evidence.ts';

/** Everything that is left of a run, of both sides and of every phase. */
export interface Remains {
  readonly source: Salvage;
  readonly target: Salvage;
  /** The newest epoch that anything left of the run knows. */
  readonly epoch: bigint;
  readonly phases: readonly PhaseRemains[];
  /** Other workers whose sessions are on either side. */
  readonly workers: readonly string[];
}

/** A phase's evidence with what writing the result needs. */
export interface PhaseRemains {
  readonly evidence: PhaseEvidence;
  readonly scope: PhaseScope;
  readonly publications: Readonly<Record<Direction, PublicationTrace | null>>;
}

/** What looking works with. */
export interface LookOptions {
  readonly context: RunContext;
  readonly traces: Traces;
  /** What a person has stated of phases' primaries. */
  readonly stated: ReadonlyMap<string, Side>;
  /** Routers of readers that will not answer any more, of which a person has stated that nobody is led to the target by them. */
  readonly awayFromTarget: ReadonlySet<string>;
}

/** Reads all that is left of a run. Changes nothing. Throws kind `unreachable` while a side does not answer. */
export const look = async (options: LookOptions): Promise<Remains> => {
  const { context, traces } = options;
  const [source, target] = await Promise.all([salvage(context.source.sql), salvage(context.target.sql)]);
  const inventory = await context.source.database.inventory();
  const published = await readPublications(options);
  const patterns = scopeOf(context.plan, inventory);
  const scope = scopeOf(context.plan, inventory, pinnedTables(patterns, { source, published }));
  const mirror = mirrorOf(target);
  const phases: PhaseRemains[] = [];
  for (const own of scope.phases.values()) {
    const publications = published.get(own.name) ?? { forward: null, reverse: null };
    const evidence = await readPhase(options, { scope: own, source, target, mirror, publications });
    phases.push({ evidence, scope: own, publications });
  }
  const [onSource, onTarget] = await Promise.all([traces.source.workers(), traces.target.workers()]);
  const mirrored = mirror?.worker?.epoch ?? '';
  const epochs = [source.epoch, target.epoch, /^\d{1,18}$/.test(mirrored) ? BigInt(mirrored) : 0n];
  return {
    source,
    target,
    epoch: epochs.reduce((a, b) => (a > b ? a : b)),
    phases,
    workers: [...new Set([...onSource, ...onTarget])],
  };
};

type Publications = ReadonlyMap<string, Readonly<Record<Direction, PublicationTrace | null>>>;

const readPublications = async ({ context, traces }: LookOptions): Promise<Publications> => {
  const found = new Map<string, Readonly<Record<Direction, PublicationTrace | null>>>();
  for (const { name } of context.plan.phases) {
    const publication = publicationName(context, name);
    const [forward, reverse] = await Promise.all([
      traces.lanes.publication('forward', publication),
      traces.lanes.publication('reverse', publication),
    ]);
    found.set(name, { forward, reverse });
  }
  return found;
};

/** The mirror is JSON of ours or nothing; a document of another shape is as good as none. */
const mirrorOf = ({ mirror }: Salvage): RunStatus | null => {
  if (typeof mirror !== 'object' || mirror === null || !('phases' in mirror) || !Array.isArray(mirror.phases))
    return null;
  return mirror.phases.every((phase: unknown) => isNamedPhase(phase)) ? (mirror as RunStatus) : null;
};

const isNamedPhase = (phase: unknown): boolean =>
  typeof phase === 'object' && phase !== null && 'name' in phase && 'state' in phase && isPhaseState(phase.state);

/**
 * What each phase was prepared with: as the run's facts say, else as its publication does, which names partitioned tables for
 * their partitions. A phase without either is taken as its patterns are now.
 */
const pinnedTables = (
  patterns: RunScope,
  known: { readonly source: Salvage; readonly published: Publications },
): Readonly<Record<string, readonly string[]>> => {
  const pinned: Record<string, readonly string[]> = { ...known.source.run?.facts?.tables };
  for (const { name, tables } of patterns.phases.values()) {
    const publication = known.published.get(name)?.forward ?? known.published.get(name)?.reverse;
    if (pinned[name] !== undefined || !publication) continue;
    pinned[name] = tables.filter((table) => publishes(publication, table)).map(displayName);
  }
  return pinned;
};

const publishes = (publication: PublicationTrace, table: Table): boolean => {
  const names = new Set(publication.tables.map(displayName));
  return names.has(displayName(table)) || (table.root !== null && names.has(displayName(table.root)));
};

interface PhaseSources {
  readonly scope: PhaseScope;
  readonly source: Salvage;
  readonly target: Salvage;
  readonly mirror: RunStatus | null;
  readonly publications: Readonly<Record<Direction, PublicationTrace | null>>;
}

const readPhase = async (options: LookOptions, from: PhaseSources): Promise<PhaseEvidence> => {
  const { scope, source, target } = from;
  const last = source.switches.findLast((s) => s.phases.includes(scope.name)) ?? null;
  const mirrored = from.mirror?.phases.find(({ name }) => name === scope.name) ?? null;
  const reverseSlot = last?.document?.reverseSlots[scope.name];
  const named = (direction: Direction): readonly string[] => [
    ...[source.slots.get(laneName(scope.name, direction))].filter((name) => name !== undefined),
    ...(reverseSlot !== undefined && last?.direction !== direction ? [reverseSlot] : []),
    ...(mirrored?.lane?.direction === direction ? [mirrored.lane.slot] : []),
  ];
  return {
    phase: scope.name,
    source: await readSideEvidence(options, from, 'source'),
    target: await readSideEvidence(options, from, 'target'),
    recorded: source.phases.get(scope.name) ?? null,
    switch: last === null ? null : switchOf(last),
    mirrored: (mirrored?.state.name as PhaseStateName | undefined) ?? null,
    namedSlots: { forward: named('forward'), reverse: named('reverse') },
    hasChunks: target.chunked.has(laneName(scope.name, 'forward')),
    isKeyed: scope.tables.every((table) => table.key !== null),
    routers: await askWriters(options.context, scope.name),
    readers: await askReaders(options, scope.name),
    isRestored: source.run?.facts?.restored !== undefined,
    stated: options.stated.get(scope.name) ?? null,
  };
};

const switchOf = ({ id, direction, outcome }: SwitchEvidence): SwitchEvidence => ({ id, direction, outcome });

const readSideEvidence = async (options: LookOptions, from: PhaseSources, side: Side): Promise<SideEvidence> => {
  const { traces } = options;
  const { scope } = from;
  const left = from[side];
  const reads: Direction = side === 'source' ? 'forward' : 'reverse';
  const writes: Direction = side === 'source' ? 'reverse' : 'forward';
  const own = left.ownership.find(({ phase, by }) => phase === scope.name && by !== PLACE_HOLDER);
  const tables: readonly Table[] = scope.tables;
  const [fence, holdsRows, found] = await Promise.all([
    traces[side].fence(tables),
    traces[side].holdsRows(tables),
    readSlots(options, scope.name, reads),
  ]);
  const slots = reads === 'reverse' ? slotsOfRestored(options, from, found) : found;
  return {
    ownership: own ? { role: own.role, fenced: own.fenced } : null,
    fence: fence.stands,
    hasTriggers: fence.hasTriggers,
    isPublished: isPublished(from.publications[reads], scope),
    slots,
    progress: left.progress.get(laneName(scope.name, writes)) ?? null,
    holdsRows,
  };
};

/**
 * What a slot was told is durable was durable on the source that is lost. To one that was restored it is of use only if that
 * has come as far; otherwise what is missing in between is in no stream any more (S14).
 */
const slotsOfRestored = (
  { traces }: LookOptions,
  { scope, source }: PhaseSources,
  slots: readonly SlotTrace[],
): readonly SlotTrace[] => {
  if (source.run?.facts?.restored === undefined) return slots;
  const until = leftOutFrom(source, scope.name);
  if (until !== null) {
    return slots.map((slot) => ({ ...slot, damage: `would bring what came after ${until}, and that is not wanted` }));
  }
  const progress = source.progress.get(laneName(scope.name, 'reverse'));
  const damage = `was read further than the restored source has come${progress ? ` (${progress.position})` : ''}`;
  return slots.map((slot) =>
    progress && traces.lanes.covers(progress.position, slot.confirmed)
      ? slot
      : { ...slot, damage: slot.damage ?? damage },
  );
};

/**
 * From where on a phase's changes on the target are not wanted, because its source was restored without them on purpose; null when all
 * are. That is over with the phase's first failback to what was restored: a slot that is there later was made by a cutover after it.
 * An adoption has taken away the records of all switches before it.
 */
export const leftOutFrom = ({ run, switches }: Pick<Salvage, 'run' | 'switches'>, phase: string): Position | null => {
  const hasGoneBack = switches.some(
    ({ direction, outcome, phases }) => direction === 'reverse' && outcome === 'committed' && phases.includes(phase),
  );
  return hasGoneBack ? null : (run?.facts?.restored?.until ?? null);
};

/** A publication that lacks one of the phase's tables has not published what changed there. */
const isPublished = (publication: PublicationTrace | null, scope: PhaseScope): boolean =>
  publication !== null && scope.tables.every((table) => publishes(publication, table));

const readSlots = async (
  { context, traces }: LookOptions,
  phase: string,
  direction: Direction,
): Promise<readonly SlotTrace[]> => await traces.lanes.slots(direction, slotPrefix(context, phase, direction));

/** A router that cannot be asked says nothing; that it could not be asked is no reason not to look at the rest. */
const askWriters = async (context: RunContext, phase: string): Promise<PhaseEvidence['routers']> =>
  await Promise.all(
    routersOf(context, [phase]).map(async ({ router }) => {
      try {
        const { primary, held } = await router.observe(phase);
        return { primary, held };
      } catch (error) {
        if (isKind(error, 'unreachable') || isKind(error, 'refused')) return null;
        throw error;
      }
    }),
  );

/** What a person has stated is believed of those only that do not answer; see `assertStatedReaders`. */
const askReaders = async ({ context, awayFromTarget }: LookOptions, phase: string): Promise<PhaseEvidence['readers']> =>
  (await askRouters(context, phase, 'readers')).map(({ router, primary, error }) => ({
    router,
    primary,
    answers: error === null,
    isStatedAway: error !== null && awayFromTarget.has(router),
  }));
