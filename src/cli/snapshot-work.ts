import { isKind, SwitchbackError } from '../domain/errors.ts';
import { monotonicMs } from '../platform/clock.ts';
import type { WaitOptions } from '../snapshots/store.ts';
import type { RunContext } from '../stages/context.ts';
import { type Arguments, flag, interruption, withPlan } from './command.ts';
import { eventText, say } from './render.ts';

/** Long waits are told about this often, and whenever something else is done. */
const SAY_EVERY_MS = 5_000;

/** A command on snapshots that may take long and may be broken off. */
export interface LongCommand {
  /** As it is typed: `snapshot create`. */
  readonly name: string;
  /** What is left when it is broken off, and what the same command then does. */
  readonly whenInterrupted: string;
}

/** Digits say how far it is; the words say what is done. */
const kindOf = (text: string): string => text.replaceAll(/\d+/g, '#');

const progressLines = (isQuiet: boolean): WaitOptions['progress'] => {
  let last = { kind: '', atMs: Number.NEGATIVE_INFINITY };
  return ({ text, percent }) => {
    const now = monotonicMs();
    if (isQuiet || (kindOf(text) === last.kind && now - last.atMs < SAY_EVERY_MS)) return;
    last = { kind: kindOf(text), atMs: now };
    say(`  ${text}${percent === null ? '' : ` (${percent}%)`}`);
  };
};

/**
 * Runs a command that Ctrl-C may break off: what stays then is told with the command that goes on with it. Whatever it meets
 * after that is because it was broken off.
 */
export const workLong = async (
  args: Arguments,
  command: LongCommand,
  work: (context: RunContext, wait: WaitOptions) => Promise<number>,
): Promise<number> => {
  const json = flag(args, 'json');
  const stopping = interruption(() => {
    if (!json) say('stopping …');
  });
  const emit = (line: string | null) => {
    if (!json && line !== null) say(line);
  };
  try {
    return await withPlan(
      args,
      (event) => emit(eventText(event)),
      async (context) => {
        try {
          return await work(context, { signal: stopping.signal, progress: progressLines(json) });
        } catch (error) {
          if (!stopping.signal.aborted || isKind(error, 'usage')) throw error;
          throw new SwitchbackError('refused', `${command.name} was interrupted; ${command.whenInterrupted}`, {
            remedy: `to go on with it: switchback ${command.name} PLAN`,
            cause: error,
          });
        }
      },
    );
  } finally {
    stopping.release();
  }
};
