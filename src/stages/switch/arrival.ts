import { ERROR_KINDS, SwitchbackError } from '../../domain/errors.ts';
import { type Direction, type Side, sidesOf } from '../../domain/position.ts';
import { isUnproven, proofText, type RouteProof } from '../../domain/proof.ts';
import type { RequestResult } from '../../sidecar/requests.ts';
import type { RunContext } from '../context.ts';
import { proveRoutes } from '../prove-routes.ts';
import { phasesReadOn } from '../reads/where.ts';
import { routersOf } from '../routes.ts';
import { leftText, type SessionsLeft, seeToSessionsLeft } from '../sessions-left.ts';
import type { Tenure } from '../tenure.ts';

/** What is known of the application after it was let go on. */
export interface Arrival {
  readonly proof: readonly RouteProof[];
  readonly left: SessionsLeft;
}

/** A switch of which it is asked whether the application has arrived. */
export interface Arriving {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly direction: Direction;
  readonly phases: readonly string[];
  readonly signal: AbortSignal;
  /** Each path is asked once, and not waited for. */
  readonly asksOnce?: boolean;
}

/**
 * Asks whether clients are on the winning side, and sees to those who are left on the other one (DESIGN 6, step 12). The switch
 * has committed and the winner is lifted, so nothing is undone and nobody is kept waiting for the answer: what is not proven is
 * told, by a finding, by the command's exit code and by `status`, until `resume` has proven it.
 */
export const seeArrival = async (s: Arriving): Promise<Arrival> => {
  const { context, tenure, phases, signal } = s;
  const { from, to } = sidesOf(s.direction);
  const isOnce = s.asksOnce === true;
  const proof = await proveRoutes(context, { routers: routersOf(context, phases), to, signal, isOnce });
  // They would only come back to where their path leads.
  const spared = isUnproven(proof) ? 'their path is not proven to lead elsewhere' : await readersOn(context, from);
  const left = await seeToSessionsLeft({ context, tenure }, { side: from, spared, signal });
  tell(context, { proof, left }, phases);
  return { proof, left };
};

/** Why sessions on a side may be of readers, who belong there; null when they are not, or nobody is to be ended. */
const readersOn = async (context: RunContext, side: Side): Promise<string | null> => {
  if (context.plan.switch.sessionsLeft.action !== 'terminate') return null;
  const names = context.plan.phases.map(({ name }) => name);
  const phases = await phasesReadOn(context, names, side);
  return phases.length === 0 ? null : `readers of phase ${phases.join(', ')} are led there`;
};

/** An arrival as one line, for the journal and for whoever asked. */
export const arrivalText = ({ proof, left }: Arrival): string =>
  [proofText(proof), leftText(left)].filter((text) => text !== '').join('; ');

const tell = ({ emit, plan }: RunContext, { proof, left }: Arrival, phases: readonly string[]): void => {
  for (const { router, phase, verdict, said } of proof) {
    if (verdict !== 'unproven') continue;
    const fact = `it is not proven to lead clients of phase ${phase}: ${said}`;
    const remedy = `${MEND}: switchback resume ${plan.path} ${phase}`;
    const finding = { id: 'router/unproven', severity: 'warns', subject: `router ${router}`, fact, remedy } as const;
    emit({ type: 'finding', phase, finding });
  }
  if (left.sessions.length === 0) return;
  const finding = {
    id: 'sessions/left',
    severity: 'warns',
    subject: `the ${left.side}`,
    fact: `${leftText(left)}; phase ${phases.join(', ')} has moved, and refuses their writes there`,
    remedy: `let them connect again; see who is left: switchback status ${plan.path}`,
  } as const;
  emit({ type: 'finding', phase: null, finding });
};

const MEND = 'mend the path, or lead the router there by hand, then prove it';

/** The answer to a switch that is done; an exit code of its own says that its clients were not seen to arrive. */
export const answerTo = (
  done: { readonly message: string; readonly data: { readonly arrival: Arrival } },
  plan: string,
): RequestResult => {
  const { arrival } = done.data;
  const answer = { data: done.data, message: `${done.message}; ${arrivalText(arrival)}` };
  if (!isUnproven(arrival.proof)) return { exitCode: 0, ...answer };
  return { exitCode: ERROR_KINDS.unproven.exitCode, remedy: `${MEND}: switchback resume ${plan}`, ...answer };
};

/** Throws kind `unproven` when clients were not seen to arrive. */
export const assertArrived = (arrival: Arrival): void => {
  if (!isUnproven(arrival.proof)) return;
  throw new SwitchbackError('unproven', arrivalText(arrival), { remedy: `${MEND}: switchback resume PLAN` });
};
