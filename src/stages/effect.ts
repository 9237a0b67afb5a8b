import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';

/** How long the truth is looked for after an act whose outcome is not known, in milliseconds. */
const PROBE_BUDGET_MS = 10_000;
const PROBE_PAUSE_MS = 250;

/**
 * Something that a step makes true on a database or a router. Every act may be repeated, as the ports promise: a COMMIT whose
 * answer was lost may take effect after a probe has looked, so the condition that the act checks under its own row locks is
 * what keeps it single.
 */
export interface Effect {
  /**
   * Looks whether it is true already. Returns what the journal says of it, which may be empty, or null when it is not.
   * Left out where only the act can look, because it has to hold the locks of what it looks at.
   */
  readonly probe?: () => Promise<string | null>;
  /**
   * The act is done also where it is true already, because it finishes what a look does not show, such as sessions that an
   * earlier process had not ended yet. Then the probe is only asked while an act's outcome is not known.
   */
  readonly actsAnyway?: true;
  /**
   * The act reads, waits and writes rows of our own sidecar, no more. Its intent precedes no effect, so nobody waits until it is
   * durable: it is written with the next intent, or a moment later.
   */
  readonly changesNothing?: true;
  /** Makes it true, and returns what the journal says of it, if anything. */
  readonly act: () => Promise<string | undefined>;
}

/** Looks, if it can be looked at; see {@link Effect.probe}. */
export const look = async (effect: Effect): Promise<string | null> => (effect.probe ? await effect.probe() : null);

/**
 * Acts; while the outcome is not known, probes, and acts again if it did not take effect. A refusal after that is not believed
 * before it was looked once more: a COMMIT that was under way when the probe looked may have taken effect since, and then the
 * act is refused because of itself.
 */
export const untilKnown = async (effect: Effect): Promise<string | undefined> => {
  let unknown: unknown = null;
  let unknownSince = 0;
  let refusal: unknown = null;
  for (;;) {
    try {
      const stood = unknown === null ? null : await look(effect);
      if (stood !== null) return stood;
      if (refusal !== null) throw refusal;
      return await effect.act();
    } catch (error) {
      const isUnknown = isKind(error, 'unknown');
      // What fails for certain has failed, unless it was the looking: then nothing is known yet.
      if (unknown === null && !isUnknown) throw error;
      unknownSince = unknown === null ? monotonicMs() : unknownSince;
      if (isUnknown) unknown = error;
      else if (!(error instanceof SwitchbackError) || error.policy !== 'retry') {
        if (refusal !== null) throw error;
        refusal = error;
        continue;
      }
      if (monotonicMs() - unknownSince > PROBE_BUDGET_MS) throw parked(unknown, error);
      await sleep(PROBE_PAUSE_MS);
    }
  }
};

const parked = (unknown: unknown, last: unknown): SwitchbackError =>
  new SwitchbackError('parked', `${messageOf(unknown)}, and it could not be looked up: ${messageOf(last)}`, {
    remedy: 'when both databases answer again: switchback resume PLAN',
    cause: last,
  });
