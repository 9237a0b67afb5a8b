import { otherSide, type Side, sidesOf } from '../../domain/position.ts';
import { primarySide } from '../../domain/protocol.ts';
import type { PhaseEvidence } from './evidence.ts';

/** Which side has every acknowledged write, and what says so; or why that cannot be known. */
export type PrimaryConclusion =
  | { readonly primary: Side; readonly because: string }
  | { readonly primary: null; readonly why: string; readonly recorded: Side | null };

interface Opinion {
  readonly side: Side;
  readonly because: string;
}

/**
 * Who is the primary.
 *
 * The source's ownership row is written in the transaction of the commit record and says the same as it; after it come the
 * records of outcomes and states. The target's row says it when the source's sidecar is gone: a target that was lifted is the
 * primary since, because only a commit lifts it; one that is a replica *and whose fence really stands* has taken no write, so
 * the source has all of them, whatever was recorded. A target that is a fenced primary is in the middle of a failback and
 * says nothing. That a record is absent is never evidence: it may be what was lost.
 *
 * Records do not know what happened after them. When a fence was lost together with the sidecar, clients that are led to that
 * side may have written there; only routers that all lead to the primary exclude it.
 */
export const concludePrimary = (e: PhaseEvidence): PrimaryConclusion => {
  const found = byRecords(e);
  if (found.primary === null) return byStatement(e, found);
  const loser = otherSide(found.primary);
  if (e[loser].fence === 'all' || isRightlyOpen(e, loser) || areLedTo(e, found.primary)) return found;
  const isLedWrong = e.routers.some((router) => router?.primary === loser);
  const router = isLedWrong ? `its router leads to the ${loser}` : 'its router does not say where it leads';
  const why = `the ${found.primary} is the primary (${found.because}), but the ${loser} accepts writes and ${router}: clients may have written there`;
  return byStatement(e, { primary: null, why, recorded: found.primary });
};

/** Every router of the phase leads there. */
const areLedTo = ({ routers }: PhaseEvidence, side: Side): boolean =>
  routers.length > 0 && routers.every((router) => router?.primary === side);

const byStatement = (e: PhaseEvidence, unknown: PrimaryConclusion & { readonly primary: null }): PrimaryConclusion =>
  e.stated === null ? unknown : { primary: e.stated, because: 'you have stated it' };

/** No fence is due on a side before a phase is prepared, after it was aborted, and where the end of the soak removed it. */
export const isRightlyOpen = (e: PhaseEvidence, loser: Side): boolean => {
  const row = e[loser].ownership;
  if (row) return row.role === 'replica' && !row.fenced;
  return loser === 'target' && (isUntouched(e) || e.recorded?.name === 'planned' || e.recorded?.name === 'aborted');
};

/** Nothing of the phase was ever begun, as far as can be seen. */
export const isUntouched = (e: PhaseEvidence): boolean =>
  e.source.ownership === null &&
  e.target.ownership === null &&
  !e.source.isPublished &&
  !e.target.isPublished &&
  e.source.slots.length + e.target.slots.length === 0 &&
  e.source.progress === null &&
  e.target.progress === null &&
  !e.source.hasTriggers &&
  !e.target.hasTriggers &&
  (e.recorded === null || e.recorded.name === 'planned') &&
  (e.mirrored === null || e.mirrored === 'planned') &&
  e.switch === null &&
  e.routers.every((router) => router?.primary !== 'target') &&
  !e.target.holdsRows;

const byRecords = (e: PhaseEvidence): PrimaryConclusion => {
  const bySource = ofSource(e);
  const byTarget = ofTarget(e);
  const unknown = (why: string, recorded: Side | null = null): PrimaryConclusion => ({ primary: null, why, recorded });
  if (bySource === 'contradiction')
    return unknown('the records of the source contradict each other', ownerOf(e.target.ownership));
  if (bySource === null) return byTarget ?? (isUntouched(e) ? nothingBegun : unknown(whyUnknown(e)));
  // A replica says only that it has not been lifted, which is so until the end of a cutover that has committed.
  if (byTarget?.side === 'target' && bySource.side === 'source')
    return unknown('both sides say that they are the primary', 'source');
  return { primary: bySource.side, because: bySource.because };
};

const nothingBegun: PrimaryConclusion = { primary: 'source', because: 'nothing of it has been begun' };

const ownerOf = (row: PhaseEvidence['target']['ownership']): Side | null =>
  row?.role === 'primary' && !row.fenced ? 'target' : null;

const whyUnknown = (e: PhaseEvidence): string => {
  const row = e.target.ownership;
  if (row?.role === 'primary') return 'a failback was under way, and whether it was committed is not recorded any more';
  if (row) return 'the target is recorded as a fenced replica, but its fence does not stand: it may have been lifted';
  return 'neither side has a record of who may write';
};

const ofSource = (e: PhaseEvidence): Opinion | 'contradiction' | null => {
  const opinions = [byOwnership(e), byOutcome(e), byState(e)].filter((opinion) => opinion !== null);
  const [first] = opinions;
  if (!first) return null;
  return opinions.every(({ side }) => side === first.side) ? first : 'contradiction';
};

const byOwnership = ({ source: { ownership } }: PhaseEvidence): Opinion | null => {
  if (!ownership) return null;
  const side = ownership.role === 'primary' ? 'source' : 'target';
  return { side, because: `the source is recorded as ${ownership.role}` };
};

const byOutcome = ({ switch: last }: PhaseEvidence): Opinion | null => {
  if (!last || last.outcome === null) return null;
  const { from, to } = sidesOf(last.direction);
  return { side: last.outcome === 'committed' ? to : from, because: `${last.id} is recorded as ${last.outcome}` };
};

/** Of a phase that is switching only the outcome tells. A switch that is newer than the state would have changed it. */
const byState = ({ recorded }: PhaseEvidence): Opinion | null =>
  !recorded || recorded.name === 'switching'
    ? null
    : { side: primarySide(recorded), because: `its state is recorded as ${recorded.name}` };

const ofTarget = (e: PhaseEvidence): (Opinion & { readonly primary: Side }) | null => {
  const found = byTargetRow(e);
  return found && { ...found, primary: found.side };
};

const byTargetRow = (e: PhaseEvidence): Opinion | null => {
  const row = e.target.ownership;
  if (!row) return null;
  if (row.role === 'primary')
    return row.fenced ? null : { side: 'target', because: 'the target is recorded as primary and lifted' };
  if (!row.fenced) return { side: 'source', because: 'the target is recorded as a replica of an aborted phase' };
  return e.target.fence === 'all' ? { side: 'source', because: 'the target is a replica and its fence stands' } : null;
};
