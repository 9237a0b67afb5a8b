import { SwitchbackError } from '../../domain/errors.ts';
import { portsOf, type RunContext, type SidePorts } from '../context.ts';

/**
 * A store says where it has restored something to, and that is about to be fenced, or looked at instead of the source. Throws
 * kind `refused` when it is one of the plan's two databases. One that does not answer is not it.
 */
export const assertBeside = async (context: RunContext, { sessions }: Pick<SidePorts, 'sessions'>): Promise<void> => {
  const { instance } = await sessions.describe();
  for (const side of ['source', 'target'] as const) {
    const described = await portsOf(context, side)
      .sessions.describe()
      .catch(() => null);
    if (described?.instance !== instance) continue;
    throw new SwitchbackError('refused', `what was restored is the plan's own ${side} (${described.identity})`, {
      remedy: `look where the ${side}'s URL leads: to go back to what was restored, switchback failback PLAN PHASE --from-snapshot; otherwise lead it to the ${side} of the run`,
    });
  }
};
