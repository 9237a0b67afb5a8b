import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { primarySide } from '../../domain/protocol.ts';
import type { RunContext } from '../context.ts';
import type { Phase } from '../machine.ts';
import { routersOf } from '../routes.ts';
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
