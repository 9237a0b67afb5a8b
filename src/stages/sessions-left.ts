import type { ClientSessions } from '../databases/clients.ts';
import { isKind, messageOf } from '../domain/errors.ts';
import { otherSide, type Side } from '../domain/position.ts';
import { primarySide } from '../domain/protocol.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { redactAll, redactText } from '../platform/redact.ts';
import { isRequestWaiting } from '../sidecar/requests.ts';
import { portsOf, type RunContext } from './context.ts';
import { guardOnLeft } from './guard.ts';
import type { PhaseStatus } from './status.ts';
import type { Tenure } from './tenure.ts';

/** How often sessions that may go by themselves, or were ended, are counted, in milliseconds. */
const LOOK_MS = 100;
/** How long a session may take to go after it was ended: it rolls back first. */
const GRACE_MS = 2_000;

/** Sessions of the application on a side that is nobody's primary any more, or may be. */
export interface SessionsLeft {
  readonly side: Side;
  readonly sessions: readonly ClientSessions[];
  /** How many were ended. */
  readonly ended: number;
  /** Why they could not be counted or ended, or were only told of; empty when all is said. */
  readonly said: string;
}

/** What decides about them. */
export interface LeftPolicy {
  readonly side: Side;
  /** Not null when they must not be ended whatever the plan says, and why. */
  readonly spared: string | null;
  /** When aborted, nobody is waited for, and nobody ended. */
  readonly signal: AbortSignal;
}

/**
 * Counts the application's sessions on the side that lost the writes, and ends them where `switch.sessions_left` says so. Only
 * a take-over makes it fail (kind `deposed`): clients are where they should be, and the switch stands.
 *
 * Whoever asked for the switch waits for it: the answer says who was ended. That is done before the states are recorded, so that
 * a worker that dies in between comes here again. Other commands do not wait: the first of them ends the wait, because a
 * failback would give these sessions their side back.
 */
export const seeToSessionsLeft = async (
  { context, tenure }: { readonly context: RunContext; readonly tenure: Tenure },
  policy: LeftPolicy,
): Promise<SessionsLeft> => {
  const { side } = policy;
  const { action, waitMs } = context.plan.switch.sessionsLeft;
  let ended = 0;
  try {
    const found = await sessionsOn(context, side);
    if (action === 'tell' || found.length === 0) return { side, sessions: found, ended, said: '' };
    if (policy.spared !== null) return { side, sessions: found, ended, said: `not ended: ${policy.spared}` };
    const stayed = await untilNone(context, { ...policy, waitMs });
    if (stayed.sessions.length === 0) return { side, sessions: [], ended, said: '' };
    // They have not had their time to go by themselves.
    if (stayed.cutBy !== null) return { side, sessions: stayed.sessions, ended, said: `not ended: ${stayed.cutBy}` };
    const done = await portsOf(context, side).clients.end(guardOnLeft(tenure, side));
    ended = done.count;
    const { sessions } = await untilNone(context, { ...policy, waitMs: GRACE_MS });
    return { side, sessions, ended, said: done.refusals.join('; ') };
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    const sessions = await sessionsOn(context, side).catch(() => []);
    return { side, sessions, ended, said: redactText(messageOf(error)) };
  }
};

/** Names are the application's own, and may hold anything. */
const sessionsOn = async (context: RunContext, side: Side): Promise<readonly ClientSessions[]> =>
  redactAll(await portsOf(context, side).clients.list());

/** Waits until there are none any more; those that stay are told, and what ended the wait before its time. */
const untilNone = async (
  context: RunContext,
  { side, signal, waitMs }: LeftPolicy & { readonly waitMs: number },
): Promise<{ readonly sessions: readonly ClientSessions[]; readonly cutBy: string | null }> => {
  const begun = monotonicMs();
  for (;;) {
    const sessions = await sessionsOn(context, side);
    if (sessions.length === 0 || monotonicMs() - begun >= waitMs) return { sessions, cutBy: null };
    if (signal.aborted) return { sessions, cutBy: 'interrupted' };
    if (await isAwaited(context)) return { sessions, cutBy: 'another command waits for the worker' };
    await sleep(LOOK_MS, signal).catch(() => undefined);
  }
};

/** A source that does not answer has nobody waiting who could be served. */
const isAwaited = async ({ source }: RunContext): Promise<boolean> =>
  await isRequestWaiting(source.sql).catch(() => false);

/** So many kinds of sessions are told one by one. */
const KINDS_TOLD = 10;

const kindText = ({ user, address, application, count }: ClientSessions): string =>
  `${count} of "${user}"${application === '' ? '' : ` (${application})`}${address === '' ? '' : ` from ${address}`}`;

/** Sessions as one line, by user, application and address. */
export const sessionsText = (sessions: readonly ClientSessions[]): string => {
  const rest = sessions.slice(KINDS_TOLD).reduce((sum, { count }) => sum + count, 0);
  return [...sessions.slice(0, KINDS_TOLD).map(kindText), ...(rest > 0 ? [`${rest} others`] : [])].join(', ');
};

/** What is told of sessions that are left, or were. Empty when there are none. */
export const leftText = ({ side, sessions, ended, said }: SessionsLeft): string =>
  [
    ...(ended > 0 ? [`${ended} ${ended === 1 ? 'session' : 'sessions'} ended on the ${side}`] : []),
    ...(sessions.length > 0 ? [`sessions left on the ${side}: ${sessionsText(sessions)}`] : []),
    ...(said === '' ? [] : [said]),
  ].join('; ');

/** Sessions on a side that phases have left, now. */
export interface ObservedSessions {
  readonly side: Side;
  readonly sessions: readonly ClientSessions[];
  /** Phases that have their primary there: whoever is there may be theirs. */
  readonly primaryOf: readonly string[];
  /** Phases whose readers are led there, as far as it is recorded. */
  readonly readOf: readonly string[];
}

/** Looks at the sides that phases have been switched away from. One that cannot be asked is left out: status says so itself. */
export const observeSessionsLeft = async (
  context: RunContext,
  phases: readonly PhaseStatus[],
): Promise<readonly ObservedSessions[]> => {
  const switched = phases.filter(({ proof, state }) => proof.length > 0 && state.name !== 'switching');
  const sides = [...new Set(switched.map(({ state }) => otherSide(primarySide(state))))];
  const found = await Promise.all(
    sides.map(async (side) => ({
      side,
      sessions: await sessionsOn(context, side).catch(() => []),
      primaryOf: phases.filter(({ state }) => primarySide(state) === side).map(({ name }) => name),
      readOf: readOn(context, phases, side),
    })),
  );
  return found.filter(({ sessions }) => sessions.length > 0);
};

const readOn = ({ plan }: RunContext, phases: readonly PhaseStatus[], side: Side): readonly string[] => {
  const withReaders = new Set(plan.phases.filter(({ readers }) => readers.length > 0).map(({ name }) => name));
  const led = phases.filter(({ name, readers }) => withReaders.has(name) && (readers?.to ?? 'source') === side);
  return led.map(({ name }) => name);
};
