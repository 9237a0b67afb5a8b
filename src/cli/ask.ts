import { sidecarExists } from '../sidecar/install.ts';
import type { JournalEntry } from '../sidecar/journal.ts';
import { READERS_COMMANDS, type RequestCommand, type RequestResult } from '../sidecar/requests.ts';
import { carryOut } from '../stages/command.ts';
import { COMMAND_SCOPE } from '../stages/execute.ts';
import { type Arguments, type CommandModule, flag, interruption, list, withPlan } from './command.ts';
import { confirm } from './confirm.ts';
import { adoptFirst, assertSnapshotOptions, SNAPSHOT_OPTIONS } from './failback-snapshot.ts';
import { assertNoRebuildOptions, REBUILD_OPTIONS, rebuildFirst } from './rebuild.ts';
import { color, eventText, say, sayJson } from './render.ts';

/** Commands that move writes or give something up; they want the phase's name. */
const SEVERE: ReadonlySet<RequestCommand> = new Set(['cutover', 'failback', 'finalise', 'abort']);

const OPTIONS: Partial<Record<RequestCommand, CommandModule['options']>> = {
  cutover: {
    reads: { type: 'boolean', default: false, describe: 'Move only the readers, led by `reads` of the phase' },
  },
  failback: {
    reads: { type: 'boolean', default: false, describe: 'Move only the readers back' },
    ...SNAPSHOT_OPTIONS,
  },
  verify: {
    repair: { type: 'boolean', default: false, describe: 'Copy rows that differ again, then verify once more' },
  },
  finalise: {
    unfence: {
      type: 'boolean',
      default: false,
      describe: 'Also remove the fence on the source, with the last of our objects',
    },
    early: { type: 'boolean', default: false, describe: "Before the plan's soak is over" },
  },
  abort: {
    unfence: {
      type: 'boolean',
      default: false,
      describe: 'Also of a phase that has been on the target: no client writes there any more',
    },
  },
  resume: REBUILD_OPTIONS,
};

/** A command that the worker executes: here, or wherever the lease is held. */
export const ask = (command: RequestCommand, describe: string): CommandModule => ({
  usage: command === 'resume' || command === 'abort' ? `${command} <plan> [phases..]` : `${command} <plan> <phases..>`,
  describe,
  options: {
    ...(SEVERE.has(command)
      ? {
          confirm: {
            type: 'string',
            describe: 'The name of the phase (several: joined by commas; none: the plan), instead of typing it',
          },
        }
      : {}),
    ...OPTIONS[command],
  },
  run: async (args) => {
    const json = flag(args, 'json');
    const stopping = interruption(() => {
      if (!json) say('stopping: undoing what can be undone, completing what cannot …');
    });
    const emit = (line: string | null) => {
      if (!json && line !== null) say(line);
    };
    try {
      return await withPlan(
        args,
        (event) => emit(eventText(event)),
        async (context, traces) => {
          const phases = list(args, 'phases');
          if (command === 'resume' && flag(args, 'rebuild')) {
            const asking = () => confirm(args, 'rebuild', context.plan.name);
            await rebuildFirst(args, { context, traces, phases, signal: stopping.signal, confirm: asking });
          } else if (command === 'resume') assertNoRebuildOptions(args);
          const asked = requestOf(command, args);
          const confirmed = () => confirm(args, command, phases.length > 0 ? phases.join(',') : context.plan.name);
          const isFromSnapshot = command === 'failback' && flag(args, 'from-snapshot');
          const signal = stopping.signal;
          if (command === 'failback') assertSnapshotOptions(args);
          const restored = isFromSnapshot
            ? await adoptFirst(args, { context, traces, phases, signal, confirm: confirmed })
            : null;
          if (SEVERE.has(asked) && !isFromSnapshot) await confirmed();
          const options = { unfence: flag(args, 'unfence'), early: flag(args, 'early'), repair: flag(args, 'repair') };
          const request = { command: asked, phases, options, by: context.by };
          const onJournal = (entry: JournalEntry) => emit(entryText(entry));
          const result = restored
            ? { ...restored, here: true }
            : await carryOut(context, request, { signal, onJournal });
          if (json) sayJson({ ok: result.exitCode === 0, ...result });
          else {
            print(result);
            // The last abort or finalise leaves no run behind that could be followed.
            if (result.exitCode === 0 && result.here && (await sidecarExists(context.source.sql))) {
              say(`no worker is running, so nothing is followed now: switchback run ${context.plan.path}`);
            }
          }
          return result.exitCode;
        },
      );
    } finally {
      stopping.release();
    }
  },
});

/** What is asked for: readers are moved by a command of their own, which gives nothing up. */
const requestOf = (command: RequestCommand, args: Arguments): RequestCommand => {
  if (!flag(args, 'reads')) return command;
  return command === 'cutover' ? READERS_COMMANDS.target : READERS_COMMANDS.source;
};

/** A line of the worker's journal; those that say what was asked for would only repeat the command and its answer. */
const entryText = ({ scope, phases, step, status, ms, detail }: JournalEntry): string | null =>
  scope === COMMAND_SCOPE || scope === 'lease'
    ? null
    : eventText({
        type: 'step',
        scope,
        phases,
        step,
        status,
        ...(ms === null ? {} : { ms }),
        ...(detail === null ? {} : { detail }),
      });

const print = (result: RequestResult): void => {
  if (result.exitCode !== 0) {
    process.stderr.write(`switchback: ${result.message}\n`);
    if (result.remedy) process.stderr.write(`  what to do: ${result.remedy}\n`);
    return;
  }
  say(color.green(result.message));
};
