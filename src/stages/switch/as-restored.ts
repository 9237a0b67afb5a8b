import { SwitchbackError } from '../../domain/errors.ts';
import { SLOT_LOST } from '../../domain/finding.ts';
import { fillRemedy } from '../../domain/remedy.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { laneName, writeLane } from '../../sidecar/lanes.ts';
import { serverTime } from '../../sidecar/phases.ts';
import type { Phase } from '../machine.ts';
import { publicationName, slotName } from '../names.ts';
import { routersOf } from '../routes.ts';
import { findLoss, lossText, type TableLoss } from '../snapshots/loss.ts';
import { recordRoutes } from './routing.ts';
import { type AsRestored, type Switch, sideA, sideB } from './types.ts';

/** Compared under load the rows may have taken less time than with clients waiting, or more; a little is due to both. */
const COMPARED_AGAIN = 2;
const AT_LEAST_MS = 2_000;

/**
 * What is looked at before a failback to the source as it was restored: no lane has to be well, because none is used. All rows are
 * compared, to know how long the window has to be for doing it once more.
 */
export const checkAsRestored = async (s: Switch): Promise<void> => {
  await recordRoutes(
    routersOf(
      s.tools.context,
      s.phases.map((phase) => phase.name),
    ),
  );
  for (const phase of s.phases) {
    await sideA(s).database.sequences.read(phase.scope.sequences);
    await sideB(s).database.sequences.read(phase.scope.sequences);
  }
  const begun = monotonicMs();
  await compare(s);
  restoredOf(s).comparisonMs = AT_LEAST_MS + COMPARED_AGAIN * (monotonicMs() - begun);
};

const restoredOf = ({ id, asRestored }: Switch): AsRestored => {
  if (asRestored === null) throw new SwitchbackError('internal', `${id} does not go back to what was restored`);
  return asRestored;
};

const compare = async (s: Switch): Promise<readonly TableLoss[]> =>
  await findLoss({
    tables: s.phases.flatMap((phase) => phase.scope.tables),
    primary: sideA(s).digests,
    restored: sideB(s).digests,
    signal: s.tools.signal,
  });

/**
 * In the place of the proof: both sides stand still, and whatever differs is what is lost. It is told and recorded, and refuses
 * nothing, because a person has confirmed it. The lane forward gets the name of a slot that does not exist: the target has rows
 * that the source lacks, so what changes from now on must not be applied to it, nor hold back the source's log.
 */
export const accountForLoss = async (s: Switch): Promise<string> => {
  const { tenure } = s.tools;
  await Promise.all(s.phases.map((phase) => phase.runner?.stop()));
  const losses = await compare(s);
  s.left();
  await tenure.act(async (sql) => {
    for (const phase of s.phases) await writeLane(sql, await endedLane(s, phase));
  });
  restoredOf(s).losses = losses;
  return `${lossText(losses)}; the lane forward ends`;
};

const endedLane = async (s: Switch, phase: Phase) => {
  const { context } = s.tools;
  const name = laneName(phase.name, 'forward');
  const finding = {
    id: SLOT_LOST,
    severity: 'blocks',
    subject: `lane ${name}`,
    fact: 'the phase went back to its source as that was restored, and the target keeps rows that the source lacks',
    remedy: fillRemedy(
      'save what is wanted of the target’s rows, and when no client has its address any more: switchback abort PLAN PHASE --unfence',
      { plan: context.plan.path, phase: phase.name },
    ),
  } as const;
  return {
    name,
    phase: phase.name,
    direction: 'forward',
    slot: slotName(context, phase.name, { direction: 'forward', generation: 'lost' }),
    publication: publicationName(context, phase.name),
    halt: { lane: name, at: await serverTime(context.source.sql), finding },
  } as const;
};
