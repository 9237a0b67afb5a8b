import { otherSide, type Side } from '../../domain/position.ts';
import { primarySide } from '../../domain/protocol.ts';
import type { LedReaders } from '../../sidecar/run.ts';
import type { RunContext } from '../context.ts';
import { type Answer, askRouters, disagreement, faultOf, type ObservedRoute } from '../routes.ts';
import type { PhaseStatus, RunStatus } from '../status.ts';

/** Where the readers of phases are led, and what is not as it should be with that. One that cannot be asked stops nothing. */
export const observeReaders = async (
  context: RunContext,
  status: Pick<RunStatus, 'phases' | 'worker'>,
): Promise<readonly ObservedRoute[]> => {
  const led = status.phases.filter(({ state }) => state.name !== 'aborted');
  const observed = await Promise.all(
    led.map(async (phase) => {
      const answers = await askRouters(context, phase.name, 'readers');
      const isFollowed = status.worker?.alive === true;
      return answers.map((answer) => ({
        phase: phase.name,
        router: answer.router,
        led: 'readers' as const,
        label: `${phase.name} (readers${answers.length === 1 ? '' : `, ${answer.router}`})`,
        primary: answer.primary,
        held: answer.held,
        due: phase.readers?.isDone === false ? phase.readers.to : null,
        trouble: troubleOf(context, { phase, answer, answers, isFollowed }),
      }));
    }),
  );
  return observed.flat();
};

interface Looked {
  readonly phase: PhaseStatus;
  readonly answer: Answer;
  readonly answers: readonly Answer[];
  /** A worker is there. */
  readonly isFollowed: boolean;
}

const troubleOf = (context: RunContext, looked: Looked): ObservedRoute['trouble'] => {
  const { phase, answer, answers } = looked;
  const { path } = context.plan;
  const faulty = faultOf(context, phase.name, answer);
  if (faulty !== null) return faulty;
  const led = phase.readers;
  if (led !== null && !led.isDone) {
    const fact = `its readers are on their way to the ${led.to} and not all there`;
    return { fact, remedy: `switchback resume ${path} ${phase.name}` };
  }
  const missing = led?.proof.find(({ router, verdict }) => router === answer.router && verdict === 'unproven');
  if (led && missing) {
    const fact = `its readers were not seen to arrive on the ${led.to}: ${missing.said}`;
    return { fact, remedy: `mend their path, then ask again: ${remedyOf(path, phase.name, led.to)}` };
  }
  const side = answer.primary;
  if (side === null) return null;
  const stale =
    phase.state.name === 'switching' || side === primarySide(phase.state) ? null : staleness(context, looked);
  if (stale !== null) {
    const fact = `its readers are led to the ${side}, ${stale}: what they read may be old`;
    return { fact, remedy: remedyOf(path, phase.name, otherSide(side)) };
  }
  return strayOf(path, { phase, side, led, answers });
};

const remedyOf = (path: string, phase: string, to: Side): string =>
  `switchback ${to === 'target' ? 'cutover' : 'failback'} ${path} ${phase} --reads`;

/** Why a side that is not the primary may be old; null when it is not. */
const staleness = ({ plan }: RunContext, { phase, isFollowed }: Looked): string | null => {
  const { lane, state } = phase;
  if (lane === null || !['following', 'ready', 'soaking'].includes(state.name))
    return `while the phase is ${state.name}`;
  if (lane.halt !== null) return 'whose lane is halted';
  if (lane.lagMs === null) return null;
  // Without a worker the newest sample grows old, and the side with it.
  const behindMs = lane.lagMs + (isFollowed ? 0 : (lane.lagAgeMs ?? 0));
  return behindMs > plan.switch.maxLagMs ? `which is ${Math.round(behindMs)} ms behind` : null;
};

/** Somebody has led readers elsewhere than the newest move did. */
const strayOf = (
  path: string,
  at: {
    readonly phase: PhaseStatus;
    readonly side: Side;
    readonly led: LedReaders | null;
    readonly answers: readonly Answer[];
  },
): ObservedRoute['trouble'] => {
  const { phase, side, led, answers } = at;
  if (led === null || led.to === side) return null;
  return {
    fact: `its readers are led to the ${side}, and were led to the ${led.to}${disagreement(answers)}`,
    remedy: `find out who changed the router, then say where they belong: ${remedyOf(path, phase.name, led.to)}; or ${remedyOf(path, phase.name, side)}`,
  };
};
