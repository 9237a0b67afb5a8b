import { type Finding, SLOT_LOST } from '../../domain/finding.ts';
import type { PhaseStateName } from '../../domain/phase.ts';
import { type Direction, otherSide, type Side, sidesOf } from '../../domain/position.ts';
import { beginAnew } from '../../domain/remedy.ts';
import type { SlotTrace } from '../../engines/traces.ts';
import type { Conclusion, LaneConclusion, Parked, Settled } from './conclusion.ts';
import type { PhaseEvidence } from './evidence.ts';
import { concludePrimary, isRightlyOpen, isUntouched } from './primary.ts';

/** States that a phase enters only after its copy has ended. */
const COPIED: ReadonlySet<PhaseStateName> = new Set(['following', 'ready', 'switching', 'soaking', 'finalised']);

/**
 * What is left of a phase → what is to be done about it. Pure, so that every combination of evidence can be tried.
 *
 * The rules: the primary is known for certain or the phase is parked; at most one side accepts writes afterwards; a fence is
 * lifted only by the completion of a switch, after the other side's fence stands; a slot is never made; rows are emptied only
 * on the target, and only where the source is the primary.
 */
export const conclude = (e: PhaseEvidence): Conclusion => {
  const known = concludePrimary(e);
  if (known.primary === null) return park(e, known.why, known.recorded);
  return known.primary === 'source' ? onSource(e, known.because) : onTarget(e, known.because);
};

const isOpen = (e: PhaseEvidence, side: Side): boolean => e[side].fence !== 'all';

const park = (e: PhaseEvidence, why: string, recorded: Side | null): Parked => {
  const both = isOpen(e, 'source') && isOpen(e, 'target');
  // Whoever is led to the side that goes on is served; nobody knows better than the records, then the router.
  const kept = recorded ?? e.routers.find((router) => router?.primary)?.primary ?? 'source';
  return { kind: 'parked', phase: e.phase, why, fence: both ? otherSide(kept) : null };
};

/** A loser that could be written to is fenced before anything else, and always before the primary is lifted. */
const fenceOf = (e: PhaseEvidence, primary: Side, lifts: boolean): Side | null => {
  const loser = otherSide(primary);
  return isOpen(e, loser) && (lifts || !isRightlyOpen(e, loser)) ? loser : null;
};

/** Something of a switch is left to do: the primary is not lifted, or clients are not led to it, or are kept waiting. */
const isIncomplete = (e: PhaseEvidence, primary: Side): boolean =>
  e[primary].fence !== 'none' ||
  e[primary].ownership?.fenced === true ||
  e[primary].ownership?.role === 'replica' ||
  e.routers.some((router) => router !== null && (router.held || (router.primary ?? 'source') !== primary));

/** The recorded state is the truth when its primary is, and a state that is `switching` when its switch is recorded too. */
const isRecordUsable = (e: PhaseEvidence): boolean =>
  e.recorded !== null &&
  e.stated === null &&
  (e.recorded.name !== 'switching' || (e.switch?.id === e.recorded.switchId && isOutcomeKnown(e)));

/**
 * What settles a switch takes an absent outcome for an abort. That is right unless the source's ownership shows that it was
 * committed, and the record of it is gone.
 */
const isOutcomeKnown = (e: PhaseEvidence): boolean => {
  if (!e.switch || e.switch.outcome !== null) return true;
  const { from } = sidesOf(e.switch.direction);
  return e.source.ownership !== null && (e.source.ownership.role === 'primary') === (from === 'source');
};

const strays = (e: PhaseEvidence, side: Side): Finding => ({
  id: 'rebuild/stood-open',
  severity: 'warns',
  subject: `phase ${e.phase}`,
  fact: `the ${side} is not the primary and its fence did not stand; what was written there meanwhile is on no other side`,
  remedy:
    'it is fenced now; save rows there that are wanted, then replace them by the primary’s: switchback verify PLAN PHASE --repair',
});

interface Basis {
  readonly primary: Side;
  readonly because: string;
}

const settled = (e: PhaseEvidence, basis: Basis, rest: Pick<Settled, 'state'> & Partial<Settled>): Settled => {
  const lifts = rest.complete === true || (rest.state === 'recorded' && e.recorded?.name === 'switching');
  const fence = fenceOf(e, basis.primary, lifts);
  return {
    kind: 'settled',
    phase: e.phase,
    ...basis,
    fence,
    complete: false,
    lane: null,
    anew: false,
    ...rest,
    findings: [...(fence ? [strays(e, fence)] : []), ...(rest.findings ?? [])],
  };
};

const onSource = (e: PhaseEvidence, because: string): Conclusion => {
  const basis = { primary: 'source', because } as const;
  const over = isRecordUsable(e) && (e.recorded?.name === 'planned' || e.recorded?.name === 'aborted');
  if (over) return settled(e, basis, { state: 'recorded' });
  if (isUntouched(e)) return settled(e, basis, { state: 'planned' });
  if (isAborted(e)) return settled(e, basis, { state: 'aborted' });
  const record = isRecordUsable(e);
  const isSwitching = record && e.recorded?.name === 'switching';
  const complete = !record && isIncomplete(e, 'source');
  // Only a switch fences the source or leads clients elsewhere, and it begins when the copy has ended.
  if (!(complete || hasCopied(e))) return copying(e, basis, record);
  const lane = e.target.progress?.strictFrom === null ? null : laneOf(e, 'forward');
  if (lane !== null) return settled(e, basis, { state: record ? 'recorded' : 'following', complete, lane });
  if (complete || isSwitching) {
    const lost = lostLane(e, 'forward', 'its position is not known any more');
    return settled(e, basis, { state: record ? 'recorded' : 'following', complete, lane: lost });
  }
  return e.target.progress === null ? anew(e, basis) : copying(e, basis, false);
};

/**
 * Routers whose readers would get empty tables without an error: the phase is copied anew, and they lead to the target or cannot
 * be asked. A router that does not know is told of in the finding, for a person to see to.
 */
export const strandedReaders = (e: PhaseEvidence, conclusion: Conclusion): PhaseEvidence['readers'] => {
  if (conclusion.kind !== 'settled' || !conclusion.findings.some(({ id }) => id === COPIED_ANEW)) return [];
  return e.readers.filter(({ primary, answers, isStatedAway }) => primary === 'target' || !(answers || isStatedAway));
};

const COPIED_ANEW = 'rebuild/copied-anew';

const readerText = ({ router, primary, answers, isStatedAway }: PhaseEvidence['readers'][number]): string => {
  if (isStatedAway) return `router ${router}, which leads nobody to the target, as you have stated`;
  if (!answers) return `router ${router}, which does not answer`;
  return primary === null ? `router ${router}, which does not say where` : `router ${router}, to the ${primary}`;
};

/** An abort leaves a replica that nothing fences, and no publication. */
const isAborted = ({ target }: PhaseEvidence): boolean =>
  target.ownership?.role === 'replica' && !target.ownership.fenced && !target.hasTriggers;

/** Something says that the phase has followed once: a record, the mirror, or a switch. */
const hasCopied = (e: PhaseEvidence): boolean =>
  (e.recorded !== null && COPIED.has(e.recorded.name)) ||
  (e.mirrored !== null && COPIED.has(e.mirrored)) ||
  e.switch !== null ||
  e.source.ownership?.role === 'replica' ||
  e.source.progress !== null;

/** Every step of the copy may be repeated, so a copy that may have ended is gone on with. */
const copying = (e: PhaseEvidence, basis: Basis, record: boolean): Conclusion => {
  const { progress } = e.target;
  const state = record ? 'recorded' : 'copying';
  const isJournaled = progress !== null && (progress.strictFrom !== null || e.hasChunks || !e.target.holdsRows);
  const lane = isJournaled ? laneOf(e, 'forward') : null;
  return lane === null ? anew(e, basis) : settled(e, basis, { state, lane });
};

const anew = (e: PhaseEvidence, basis: Basis): Conclusion =>
  settled(e, basis, { state: 'planned', anew: e.target.holdsRows, findings: [copiedAnew(e)] });

const readersText = ({ readers }: PhaseEvidence): string =>
  readers.length === 0
    ? ''
    : `; its readers must not be on the target then, and are led by ${readers.map(readerText).join(', ')}`;

const copiedAnew = (e: PhaseEvidence): Finding => ({
  id: COPIED_ANEW,
  severity: 'warns',
  subject: `phase ${e.phase}`,
  fact: 'how far its copy had come, or where its lane stood, is not known any more',
  remedy: `its tables on the target are emptied and copied again from the source, which is the primary${readersText(e)}`,
});

const onTarget = (e: PhaseEvidence, because: string): Conclusion => {
  const basis = { primary: 'target', because } as const;
  const record = isRecordUsable(e);
  if (record && e.recorded?.name === 'finalised') return settled(e, basis, { state: 'recorded' });
  if (isFinalised(e) && e.isRestored !== true) return settled(e, basis, { state: 'finalised' });
  const lane = laneOf(e, 'reverse') ?? lostLane(e, 'reverse', 'its position is not known any more');
  return settled(e, basis, {
    state: record ? 'recorded' : 'soaking',
    complete: !record && isIncomplete(e, 'target'),
    lane,
  });
};

/** The end of a soak removes the target's triggers and publication; a soaking target has both, the triggers disabled. */
const isFinalised = ({ source, target }: PhaseEvidence): boolean =>
  (target.ownership?.role === 'primary' || source.ownership?.role === 'replica') &&
  !target.hasTriggers &&
  !target.isPublished &&
  !source.isPublished &&
  target.slots.length === 0;

/**
 * How the lane gets on; null when neither its progress nor a position to take up from is known. A slot that is gone, or a
 * publication, halts it: whatever was changed without them is in no stream any more (S14).
 */
const laneOf = (e: PhaseEvidence, direction: Direction): LaneConclusion | null => {
  const { from, to } = sidesOf(direction);
  const { progress } = e[to];
  if (progress === null && !e.isKeyed) return null;
  if (!e[from].isPublished) return lostLane(e, direction, `the publication on the ${from} is gone`);
  const slot = chooseSlot(e, direction);
  if (slot === null) return lostLane(e, direction, `its slot on the ${from} is gone`);
  if (slot.damage !== null) return lostLane(e, direction, `slot ${slot.name} on the ${from} ${slot.damage}`);
  return { direction, slot: slot.name, rejoin: progress === null ? slot : null, halt: null };
};

/** The slot that a record names; without one the only one of that direction. Several are a guess, and none is made. */
const chooseSlot = (e: PhaseEvidence, direction: Direction): SlotTrace | null => {
  const { slots } = e[sidesOf(direction).from];
  const named = e.namedSlots[direction].flatMap((name) => slots.filter((slot) => slot.name === name));
  if (named[0]) return named[0];
  return e.namedSlots[direction].length === 0 && slots.length === 1 ? (slots[0] ?? null) : null;
};

const lostLane = (e: PhaseEvidence, direction: Direction, fact: string): LaneConclusion => ({
  direction,
  slot: null,
  rejoin: null,
  halt: {
    id: SLOT_LOST,
    severity: 'blocks',
    subject: `lane ${e.phase}/${direction}`,
    fact: `${fact}; changes may be missing, and nothing more is applied`,
    remedy:
      direction === 'forward'
        ? `it has to be copied again: ${beginAnew(e.phase)}`
        : e.isRestored === true
          ? 'what is missing is read again from the target: switchback failback PLAN PHASE --from-snapshot'
          : 'the way back is gone: switchback finalise PLAN PHASE --early --confirm PHASE; before that, restore a snapshot beside if you must go back',
  },
});
