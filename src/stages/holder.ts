import { monotonicMs, sleep } from '../platform/clock.ts';
import { HEARTBEAT_MS, LEASE_EXPIRES_AFTER_SECONDS, type Lease, readLease } from '../sidecar/lease.ts';
import type { RunContext } from './context.ts';

/** A little longer than the time between two heartbeats: a worker that lives is seen to, in milliseconds. */
const OBSERVED_MS = HEARTBEAT_MS + 1_000;
const LOOK_MS = 250;

/**
 * Whether somebody who may be alive holds a lease. Whoever's session has gone does not, at once. Of a session that still
 * seems to be there (half-open TCP) the heartbeat decides. Its age is measured by the source's clock, which may have been set
 * since: an age that would let the lease be taken, or that nothing can have, is not believed but observed, on our own clock.
 */
export const isHeld = async (context: RunContext, lease: Lease | null): Promise<boolean> => {
  if (!lease || lease.holder === '') return false;
  if (!(await context.source.sessions.isPresent(lease.session))) return false;
  return isAgeOfLiving(lease) || (await isBeating(context, lease));
};

/** Whether the age of a heartbeat is one that a worker that lives may have. */
export const isAgeOfLiving = ({ ageSeconds }: Pick<Lease, 'ageSeconds'>): boolean =>
  ageSeconds >= 0 && ageSeconds < LEASE_EXPIRES_AFTER_SECONDS;

/** The heartbeat that was observed to have no other after it: seen again, it is older still and need not be observed. */
const lastOnes = new WeakMap<RunContext, Lease>();

/** Whether a lease is written to while we look. */
const isBeating = async (context: RunContext, seen: Lease): Promise<boolean> => {
  const last = lastOnes.get(context);
  if (last && isSame(last, seen)) return false;
  const { sql, sessions } = context.source;
  const begun = monotonicMs();
  while (monotonicMs() - begun < OBSERVED_MS) {
    await sleep(LOOK_MS);
    const now = await readLease(sql);
    if (!now || now.holder === '') return false;
    if (!isSame(now, seen)) return true;
    if (!(await sessions.isPresent(seen.session))) return false;
  }
  lastOnes.set(context, seen);
  return false;
};

const isSame = (a: Lease, b: Lease): boolean => a.epoch === b.epoch && a.heartbeatAt === b.heartbeatAt;
