import { SwitchbackError } from '../domain/errors.ts';
import type { Position } from '../domain/position.ts';
import type { Manifest } from '../domain/snapshot.ts';
import { redactText } from '../platform/redact.ts';
import type { RunContext } from '../stages/context.ts';
import { lossText } from '../stages/snapshots/loss.ts';
import { pickSnapshot } from '../stages/snapshots/pick.ts';
import { assertReached } from '../stages/snapshots/reach.ts';
import { type RestoredSnapshot, restoreSnapshot } from '../stages/snapshots/restore.ts';
import { type StatedLoss, stateLoss } from '../stages/snapshots/stated-loss.ts';
import { type Arguments, flag, text } from './command.ts';
import { confirm } from './confirm.ts';
import { color, countText, durationText, findingText, say, sayJson } from './render.ts';
import { placeOf } from './snapshot-place.ts';
import { workLong } from './snapshot-work.ts';

/** `snapshot restore`: states the loss, asks, restores beside, replays the archive if asked, and says how to go back to it. */
export const restore = async (args: Arguments): Promise<number> =>
  await workLong(
    args,
    {
      name: 'snapshot restore',
      whenInterrupted: 'what is restored by now is fenced or known to nobody, and the same command goes on with it',
    },
    async (context, wait) => {
      const replay = replayOf(args);
      const { manifest } = await pickSnapshot(context, text(args, 'id') ?? null);
      if (manifest === null) throw new SwitchbackError('internal', 'a snapshot that can be restored has no manifest');
      if (replay !== null) await assertReached(context, manifest, replay.until);
      const loss = await stateLoss(context, manifest, wait);
      const until = replay?.until ?? null;
      if (flag(args, 'json'))
        sayJson({ type: 'loss', snapshot: manifest.id, isReplayed: replay !== null, until, ...loss });
      else showLoss(manifest, loss, replay);
      await confirm(args, 'snapshot restore', context.plan.name);
      const done = await restoreSnapshot(context, { ...wait, manifest, into: placeOf(args, 'into'), replay });
      if (flag(args, 'json')) sayJson({ ok: done.problems.length === 0, ...done, url: redactText(done.url) });
      else show(context, done);
      return done.problems.length === 0 ? 0 : 3;
    },
  );

/** How the archive is replayed; null where it is not. */
type Replay = { readonly until: Position | null } | null;

const replayOf = (args: Arguments): Replay => {
  const until = text(args, 'until');
  if (flag(args, 'replay')) return { until: (until ?? null) as Position | null };
  if (until === undefined) return null;
  throw new SwitchbackError('usage', '--until belongs to --replay', {
    remedy: 'switchback snapshot restore PLAN ID --replay --until POSITION',
  });
};

const countOf = ({ atLeast, atMost }: { readonly atLeast: number; readonly atMost: number }): string =>
  atLeast === atMost ? countText(atMost) : `${countText(atLeast)} to ${countText(atMost)}`;

const showLoss = ({ id }: Manifest, { from, to, archived, tables, untold }: StatedLoss, replay: Replay): void => {
  const ms = to === null ? null : Date.parse(to) - Date.parse(from);
  say(color.bold(`${id} holds the source as of ${from}${ms === null ? '' : `, ${durationText(ms)} ago`}`));
  if (archived === null) say('  there is no archive of changes');
  else {
    const has = `the archive has ${countOf(archived.transactions)} transactions with ${countOf(archived.changes)} changes after it`;
    say(`  ${has}${archived.newestAt === null ? '' : `, the newest of ${archived.newestAt}`}`);
    if (archived.missing !== null) say(color.yellow(`  it cannot be replayed: ${archived.missing}`));
    say(`  ${lackText(replay)}`);
  }
  for (const { table, rowsThen, rowsNow } of tables ?? [])
    say(`  ${table} has changed since: ${countText(Number(rowsThen))} rows then, ${countText(Number(rowsNow))} now`);
  if (tables?.length === 0) say('  no table has changed since');
  for (const sentence of untold) say(color.yellow(`  ${sentence}`));
  say(
    '  nothing is lost by restoring it beside; what going back to it loses is stated again, row by row, when it stands',
  );
};

/** What it lacks of what is in the archive, and of what is not yet. */
const lackText = (replay: Replay): string => {
  if (replay === null) return color.yellow('without --replay it lacks these as well');
  if (replay.until === null) return 'it lacks what is not archived yet';
  return color.yellow(`it lacks all that the target has committed from ${replay.until} on, archived or not`);
};

const show = ({ plan }: RunContext, done: RestoredSnapshot): void => {
  for (const finding of done.differences) say(findingText(finding));
  for (const problem of done.problems) say(color.red(problem));
  for (const [phase, { transactions, changes }] of Object.entries(done.replayed))
    say(`phase ${phase}: ${countText(transactions)} transactions with ${countText(changes)} changes replayed`);
  say(color.green(`${done.snapshot} is restored at ${redactText(done.url)}, and refuses the application's writes`));
  say(
    done.losses === null
      ? 'what it lacks of the target is not known'
      : `compared with the target: ${lossText(done.losses)}`,
  );
  say("to go back to it: lead the plan's source URL there, then:");
  say(`  switchback failback ${plan.path} PHASE --from-snapshot --confirm PHASE`);
};
