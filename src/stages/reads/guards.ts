import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { otherSide, type Side } from '../../domain/position.ts';
import { primarySide } from '../../domain/protocol.ts';
import { readReaders } from '../../sidecar/run.ts';
import type { RunContext } from '../context.ts';
import type { Phase } from '../machine.ts';
import { askRouters, routersOf } from '../routes.ts';
import { type Followed, measureLag } from '../switch/guards.ts';

const refused = (message: string, remedy: string): SwitchbackError =>
  new SwitchbackError('refused', message, { remedy });

/**
 * Refuses phases whose readers cannot be led to a side in the state that they are in. To the primary they always can; to
 * the other side while that is consistent and follows.
 */
export const assertReadersMay = (context: RunContext, phases: readonly Phase[], to: Side): void => {
  for (const phase of phases) {
    const { name, state } = phase;
    if (routersOf(context, [name], 'readers').length === 0) {
      throw refused(
        `phase ${name} has no router of its readers`,
        `name one as \`reads\` of the phase in ${context.plan.path}, or move readers and writers together`,
      );
    }
    if (state.name === 'switching')
      throw refused(`phase ${name} is in the middle of a switch`, 'switchback resume PLAN');
    if (primarySide(state) === to) continue;
    if (state.name === 'finalised') {
      throw refused(
        `phase ${name} is finalised: its way back was given up`,
        'its readers stay on the target; what was done says: switchback report PLAN',
      );
    }
    if (state.name !== 'ready' && state.name !== 'soaking') {
      throw refused(
        `phase ${name} is ${state.name}; its readers can be led to the ${to} when it is ready`,
        'see what it waits for: switchback status PLAN',
      );
    }
    if (phase.runner?.halt) throw haltedLane(phase, to, phase.runner.halt);
  }
};

const haltedLane = (
  { name }: Phase,
  to: Side,
  halt: { readonly fact: string; readonly remedy?: string | undefined },
): SwitchbackError =>
  refused(
    `readers of phase ${name} cannot be led to the ${to}, whose lane is halted: ${halt.fact}`,
    `${halt.remedy ?? 'see why: switchback status PLAN'}; then give the command again`,
  );

/** Refuses a side that is not the primary and is further behind than max_lag. */
export const assertFollows = async (context: RunContext, followed: Followed, to: Side): Promise<void> => {
  const { phase } = followed;
  if (primarySide(phase.state) === to) return;
  try {
    await measureLag(context, followed);
  } catch (error) {
    throw isKind(error, 'halted') ? haltedLane(phase, to, { fact: messageOf(error), remedy: error.remedy }) : error;
  }
};

/** Phases any of whose readers are led to a side, as their routers say, or else as it is recorded, or else from the start. */
export const phasesReadOn = async (
  context: RunContext,
  phases: readonly string[],
  side: Side,
): Promise<readonly string[]> => {
  const recorded = await readReaders(context.source.sql);
  const found = await Promise.all(
    phases.map(async (phase) => {
      const answers = await askRouters(context, phase, 'readers');
      const known = recorded[phase];
      // A move that has not ended may have led them to either side.
      const isUnder = known !== undefined && !known.isDone;
      return answers.some(({ primary }) => isUnder || (primary ?? known?.to ?? 'source') === side) ? [phase] : [];
    }),
  );
  return found.flat();
};

/** Throws kind `refused` while readers are led to the source, which is not kept current after the end of the soak. */
export const assertReadersMoved = async (context: RunContext, phases: readonly string[]): Promise<void> => {
  const [phase] = await phasesReadOn(context, phases, 'source');
  if (phase === undefined) return;
  throw refused(
    `readers of phase ${phase} are led to the source, which does not follow the ${otherSide('source')} any more after this`,
    `lead them to the target first: switchback cutover ${context.plan.path} ${phase} --reads`,
  );
};
