import { SwitchbackError } from '../domain/errors.ts';
import type { RequestResult } from '../sidecar/requests.ts';
import { AS_RESTORED } from '../stages/change.ts';
import type { RunContext } from '../stages/context.ts';
import type { Traces } from '../stages/rebuild/evidence.ts';
import { statementOf } from '../stages/rebuild/rebuild.ts';
import { scopeOf } from '../stages/scope.ts';
import { adopt, type RestoredSource, readRestored } from '../stages/snapshots/adopt.ts';
import { findLoss, lossText, type TableLoss } from '../stages/snapshots/loss.ts';
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
  [AS_RESTORED]: {
    type: 'boolean',
    default: false,
    describe: 'With --from-snapshot: go back to exactly what was restored, and lose what the target has beyond it',
  },
  primary: {
    type: 'string',
    array: true,
    describe:
      'With --from-snapshot: PHASE=target, where a failback was under way when the source was lost, or the run had ended',
  },
};

/** Throws kind `usage` for options that mean nothing together, or without `--from-snapshot`. */
export const assertSnapshotOptions = (args: Arguments): void => {
  const remedy = 'switchback failback PLAN PHASE --from-snapshot';
  if (flag(args, 'from-snapshot')) {
    if (!flag(args, 'reads')) return;
    throw new SwitchbackError(
      'usage',
      '--reads moves readers back to a source that is there, --from-snapshot to one that is lost',
      {
        remedy,
      },
    );
  }
  const given = args.primary === undefined ? (flag(args, AS_RESTORED) ? AS_RESTORED : null) : 'primary';
  if (given !== null) throw new SwitchbackError('usage', `--${given} belongs to --from-snapshot`, { remedy });
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
 * Shows what the restored source is and what is lost, asks, makes it the run's source. Then either its rows are made those of the
 * target, and null is returned: the failback that follows is the ordinary one. Or, with `--as-restored`, the phases go back to it
 * as it is, and how that ended is returned.
 */
export const adoptFirst = async (args: Arguments, command: SnapshotCommand): Promise<RequestResult | null> => {
  const { context, traces, phases, signal } = command;
  const stated = new Map(list(args, 'primary').map(statementOf));
  // An adoption never empties tables that readers could be led to.
  const options = { context, traces, stated, awayFromTarget: new Set<string>(), signal };
  const looked = await readRestored(options);
  const isAsRestored = flag(args, AS_RESTORED);
  if (!isAsRestored) assertWanted(looked, context.plan.path);
  const losses = isAsRestored ? await lossOf(command) : [];
  if (flag(args, 'json')) sayJson({ type: 'restored', ...looked, losses });
  else show(looked, isAsRestored ? losses : null);
  await command.confirm();
  await adopt(options, looked);
  return await withWorker(command, async (worker) => {
    if (isAsRestored) {
      const asked = { command: 'failback', phases, options: { [AS_RESTORED]: true }, by: context.by } as const;
      return await worker.execute(asked);
    }
    const reread = await rereadLanes(worker, worker.find(phases));
    if (flag(args, 'json')) sayJson({ type: 'reread', phases: reread });
    else for (const one of reread) say(color.green(`phase ${one.phase}: ${one.rows} rows read again from the target`));
    return null;
  });
};

/** What was left out on purpose would be read again from the target. */
const assertWanted = ({ restored }: RestoredSource, plan: string): void => {
  if (restored.until === null) return;
  throw new SwitchbackError(
    'refused',
    `the source was restored up to ${restored.until}, and what came later would be read again from the target`,
    {
      remedy: `to go back to it as it is, and lose what came later: switchback failback ${plan} PHASE --from-snapshot --as-restored; to lose nothing, restore without --until`,
    },
  );
};

const lossOf = async ({ context, phases, signal }: SnapshotCommand): Promise<readonly TableLoss[]> => {
  const scope = scopeOf(context.plan, await context.source.database.inventory());
  const asked = [...scope.phases.values()].filter(({ name }) => phases.length === 0 || phases.includes(name));
  const tables = asked.flatMap((phase) => phase.tables);
  const { target, source } = context;
  return await findLoss({ tables, primary: target.digests, restored: source.digests, signal });
};

const withWorker = async <T>(
  { context, signal }: SnapshotCommand,
  work: (worker: Worker) => Promise<T>,
): Promise<T> => {
  const worker = await Worker.open(context);
  const stop = () => worker.stop();
  signal.addEventListener('abort', stop);
  try {
    return await work(worker);
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

const show = ({ restored, run, stands }: RestoredSource, losses: readonly TableLoss[] | null): void => {
  say(color.bold(`source of run ${run}: restored from snapshot ${restored.snapshot} at ${restored.at}`));
  say(`  ${STANDS[stands]}`);
  if (losses === null) {
    say('  lost: nothing. The target is the primary and can be read, so whatever the source lacks is read from there');
    return;
  }
  say(color.red(`  as of now ${lossText(losses)}; and what is written until the target is fenced`));
  for (const { table, missing, differing, extra } of losses)
    say(`    ${table}: ${missing} rows on the target only, ${differing} newer there, ${extra} deleted there`);
};
