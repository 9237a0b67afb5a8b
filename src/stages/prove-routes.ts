import type { ClientPath } from '../databases/client-path.ts';
import { messageOf } from '../domain/errors.ts';
import { otherSide, type Side } from '../domain/position.ts';
import type { RouteProof } from '../domain/proof.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { redactText } from '../platform/redact.ts';
import { isRequestWaiting } from '../sidecar/requests.ts';
import { portsOf, type RunContext } from './context.ts';
import type { RouterOfPhases } from './routes.ts';

/** Between two questions at first, and at most, in milliseconds. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** What is to be proven. */
export interface Claim {
  readonly routers: readonly RouterOfPhases[];
  /** Where they are said to lead. */
  readonly to: Side;
  /** Its clients only read, so that a standby of the side is as good as the side. Writers' when absent. */
  readonly areReaders?: boolean;
  /** When aborted, each path is asked once and not waited for. */
  readonly signal: AbortSignal;
  /** Each path is asked once, because whoever asks has other phases to go on with. */
  readonly isOnce?: boolean;
}

/**
 * Asks by the paths that clients take which server they reach, until it is the side that the routers were led to or the time
 * that the plan gives a router is over, or another command waits for this worker, which can be asked for the proof again. All at
 * the same time. Changes nothing, and throws for nothing that a path answers: what cannot be asked is not proven.
 */
export const proveRoutes = async (context: RunContext, claim: Claim): Promise<readonly RouteProof[]> => {
  const each = claim.routers.flatMap(({ name, phases }) => phases.map((phase) => ({ name, phase })));
  return await Promise.all(each.map(async ({ name, phase }) => await proveRoute(context, { ...claim, name, phase })));
};

interface OneClaim extends Claim {
  readonly name: string;
  readonly phase: string;
}

const proveRoute = async (context: RunContext, claim: OneClaim): Promise<RouteProof> => {
  const { name: router, phase } = claim;
  const { paths, withinMs } = context.probes(router, phase);
  if (paths.length === 0) return { router, phase, verdict: 'unasked', said: 'the plan names no probe for it' };
  const met = await Promise.all(paths.map(async (path) => await untilThere(context, path, { ...claim, withinMs })));
  const wrong = met.flatMap((text) => text ?? []);
  if (wrong.length > 0) return { router, phase, verdict: 'unproven', said: wrong.join(', ') };
  return { router, phase, verdict: 'proven', said: paths.map((path) => path.name).join(', ') };
};

/** Null when the path leads there; else what it met at last. */
const untilThere = async (
  context: RunContext,
  path: ClientPath,
  claim: OneClaim & { readonly withinMs: number },
): Promise<string | null> => {
  const { phase, to, signal, withinMs, areReaders = false } = claim;
  const begun = monotonicMs();
  let isTold = false;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    const met = await whereLeads(context, path, { to, areReaders });
    if (met === null) return null;
    if (monotonicMs() - begun + pauseMs > withinMs) return `${met} after ${withinMs} ms`;
    const why = await whyNoLonger(context, claim);
    if (why !== null) return `${met}; ${why}`;
    if (!isTold) context.emit({ type: 'note', phase, text: `probe: ${met}; asking again for ${withinMs} ms` });
    isTold = true;
    await sleep(pauseMs, signal).catch(() => undefined);
  }
};

/** Why a path is not waited for although its time is not over; null when it is. */
const whyNoLonger = async ({ source }: RunContext, { signal, isOnce }: Claim): Promise<string | null> => {
  if (signal.aborted) return 'interrupted before its time was over';
  if (isOnce === true) return 'it was asked only once, by a worker that had just begun';
  // The worker carries out one command after the other. A source that does not answer has nobody waiting who could be served.
  const isAwaited = await isRequestWaiting(source.sql).catch(() => false);
  return isAwaited ? 'not asked any longer, because another command waits for the worker' : null;
};

/** Null when it leads to the side; else what it leads to, or why it does not answer. */
const whereLeads = async (
  context: RunContext,
  path: ClientPath,
  { to, areReaders }: Required<Pick<Claim, 'to' | 'areReaders'>>,
): Promise<string | null> => {
  const [asked, described] = await Promise.allSettled([path.ask(), portsOf(context, to).sessions.describe()]);
  if (asked.status === 'rejected') return `${path.name} could not be asked: ${redactText(messageOf(asked.reason))}`;
  if (described.status === 'rejected')
    return `${path.name} answers, and the ${to} itself, which it is compared with, does not: ${redactText(messageOf(described.reason))}`;
  const { value: reached } = asked;
  const { value: winner } = described;
  if (reached.instance === winner.instance && !reached.isStandby) return null;
  if (areReaders && reached.identity === winner.identity && reached.isStandby) return null;
  const from = otherSide(to);
  // A side that does not answer is not the one that was reached.
  const loser = await portsOf(context, from)
    .sessions.describe()
    .catch(() => null);
  const copyOf = (side: Side) => `a ${reached.isStandby ? 'standby' : 'copy'} of the ${side}`;
  if (reached.instance === loser?.instance) return `${path.name} leads to the ${from}`;
  if (reached.identity === winner.identity) return `${path.name} leads to ${copyOf(to)}`;
  if (reached.identity === loser?.identity) return `${path.name} leads to ${copyOf(from)}`;
  return `${path.name} leads to another database`;
};
