import { SwitchbackError } from '../domain/errors.ts';
import type { RunContext } from '../stages/context.ts';
import type { Traces } from '../stages/rebuild/evidence.ts';
import { statementOf } from '../stages/rebuild/rebuild.ts';
import { adopt, type RestoredSource, readRestored } from '../stages/snapshots/adopt.ts';
import { rereadLanes } from '../stages/snapshots/reread.ts';
import { Worker } from '../stages/worker.ts';
import { type Arguments, type CommandModule, flag, list } from './command.ts';
import { color, say, sayJson } from './render.ts';

/** Options of `failback` for a source that is lost. */
export const SNAPSHOT_OPTIONS: CommandModule['options'] = {
  'from-snapshot': {
    type: 'boolean',
    default: false,
    describe:
      "The source is lost, and the plan's source URL leads to what `snapshot restore` made of it: take that in first",
  },
  primary: {
    type: 'string',
    array: true,
    describe: 'With --from-snapshot: PHASE=target, where a failback was under way when the source was lost',
  },
};

/** Throws kind `usage` for options that mean nothing without `--from-snapshot`. */
export const assertNoSnapshotOptions = (args: Arguments): void => {
  if (args.primary === undefined) return;
  throw new SwitchbackError('usage', '--primary belongs to --from-snapshot', {
    remedy: 'switchback failback PLAN PHASE --from-snapshot',
  });
};

/** What going back from a snapshot works with. */
export interface SnapshotCommand {
  readonly context: RunContext;
  readonly traces: Traces;
  readonly phases: readonly string[];
  readonly signal: AbortSignal;
  /** Asks; throws kind `usage` unless the answer is the name. */
  confirm(): Promise<void>;
}

/**
 * Shows what the restored source is, asks, makes it the run's source and its rows those of the target. The failback that follows
 * is the ordinary one.
 */
export const adoptFirst = async (args: Arguments, command: SnapshotCommand): Promise<void> => {
  const { context, traces, phases, signal } = command;
  const stated = new Map(list(args, 'primary').map(statementOf));
  const options = { context, traces, stated, signal };
  const looked = await readRestored(options);
  if (flag(args, 'json')) sayJson({ type: 'restored', ...looked });
  else show(looked);
  await command.confirm();
  await adopt(options, looked);
  const worker = await Worker.open(context);
  const stop = () => worker.stop();
  signal.addEventListener('abort', stop);
  try {
    const reread = await rereadLanes(worker, worker.find(phases));
    if (flag(args, 'json')) sayJson({ type: 'reread', phases: reread });
    else
      for (const { phase, rows } of reread) say(color.green(`phase ${phase}: ${rows} rows read again from the target`));
  } finally {
    signal.removeEventListener('abort', stop);
    await worker.close();
  }
};

const STANDS: Readonly<Record<RestoredSource['stands'], string>> = {
  foreign: 'it will take the place of the source that is lost; nothing of the application changes by that',
  begun: 'it has begun to take the place of the source that is lost; that is gone on with',
  adopted: "it is the run's source by now",
};

const show = ({ restored, run, stands }: RestoredSource): void => {
  say(color.bold(`source of run ${run}: restored from snapshot ${restored.snapshot} at ${restored.at}`));
  say(`  ${STANDS[stands]}`);
  say('  lost: nothing. The target is the primary and can be read, so whatever the snapshot lacks is read from there');
};
