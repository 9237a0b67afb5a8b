import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { sleep } from '../../platform/clock.ts';
import type { WaitOptions } from '../store.ts';
import type { RdsApi } from './api.ts';

/** What one look found. */
export type Look<T> =
  | { readonly done: true; readonly value: T }
  /** `percent` is null where RDS does not tell. */
  | { readonly done: false; readonly state: string; readonly percent: number | null };

/** Something that goes on at AWS. */
export interface Wait<T> {
  /** `snapshot shop-20261127`. */
  readonly what: string;
  /** Throws when it cannot come to be any more. */
  readonly look: () => Promise<Look<T>>;
  /** What RDS has told of it lately, in one line; empty for nothing. */
  readonly events: () => Promise<string>;
}

/** So many looks that got no answer, each with all its attempts, are waited over. */
const LOST_LOOKS = 5;

interface Seen {
  readonly text: string;
  readonly looks: number;
}

/** Tells of what does not move, with RDS's events, now and then while it stays so. */
const stuckText = async ({ what, events }: Pick<Wait<unknown>, 'what' | 'events'>, state: string): Promise<string> => {
  const said = await events().catch((error: unknown) => `its events cannot be read: ${messageOf(error)}`);
  return `${what} is still ${state} and has not moved for long; ${said === '' ? 'RDS has no events of it' : `RDS says: ${said}`}`;
};

/**
 * Looks until it is done. What does not move is told and waited for on: only the signal ends that, since RDS alone knows whether
 * it will come. Looks that get no answer are told too, and thrown after {@link LOST_LOOKS} in a row.
 */
export const waitFor = async <T>(api: RdsApi, wait: Wait<T>, { signal, progress }: WaitOptions): Promise<T> => {
  let seen: Seen = { text: '', looks: 0 };
  let lost = 0;
  for (;;) {
    signal.throwIfAborted();
    try {
      const look = await wait.look();
      if (look.done) return look.value;
      lost = 0;
      const text = `${look.state} ${look.percent}`;
      seen = seen.text === text ? { text, looks: seen.looks + 1 } : { text, looks: 1 };
      const isStuck = seen.looks % api.pace.stuckLooks === 0;
      progress({
        text: isStuck ? await stuckText(wait, look.state) : `${wait.what} is ${look.state}`,
        percent: look.percent,
      });
    } catch (error) {
      lost += 1;
      if (!isKind(error, 'unreachable') || lost === LOST_LOOKS) throw error;
      progress({ text: `${wait.what} cannot be looked at: ${messageOf(error)}`, percent: null });
    }
    await sleep(api.pace.pollMs, signal);
  }
};

/**
 * Begins something at AWS that has a name of ours, at most once: where the answer was lost, or the name is taken, it is looked up
 * by that name, and asked for again only when it is not there. Whose it is, the caller sees.
 */
export const beginOnce = async <T>(
  api: RdsApi,
  begin: () => Promise<unknown>,
  { find, isTaken }: { readonly find: () => Promise<T | null>; readonly isTaken: (error: unknown) => boolean },
): Promise<T> => {
  for (let attempt = 1; ; attempt++) {
    const error: unknown = await begin().then(
      () => null,
      (reason: unknown) => reason,
    );
    if (error !== null && !isTaken(error) && !isKind(error, 'unknown')) throw error;
    const found = await find();
    if (found !== null) return found;
    if (attempt === api.pace.attempts) {
      throw new SwitchbackError('unknown', `it was begun, and RDS does not show it: ${messageOf(error)}`, {
        remedy: 'run the command again: it looks for it, and begins it only when it is not there',
        cause: error,
      });
    }
    await api.pause(attempt);
  }
};
