import { SwitchbackError } from '../domain/errors.ts';
import { type PrunePlan, planPrune, prune as removeOld } from '../stages/snapshots/prune.ts';
import { type Arguments, flag, text } from './command.ts';
import { color, say, sayJson, table } from './render.ts';
import { workLong } from './snapshot-work.ts';

/** `snapshot prune`: shows which would go; with the plan's name confirmed, removes them. */
export const prune = async (args: Arguments): Promise<number> =>
  await workLong(
    args,
    { name: 'snapshot prune', whenInterrupted: 'what was removed is gone, and nothing else was touched' },
    async (context, wait) => {
      const { name, path } = context.plan;
      const confirmed = text(args, 'confirm');
      if (confirmed !== undefined && confirmed !== name) {
        throw new SwitchbackError('usage', `--confirm ${confirmed} does not match`, { remedy: `--confirm ${name}` });
      }
      if (confirmed === undefined) {
        const { verdicts } = await planPrune(context);
        const json = verdicts.map(({ id, keeps, why }) => ({ id, keeps, why }));
        if (flag(args, 'json')) sayJson({ ok: true, dryRun: true, snapshots: json });
        else print(verdicts, `switchback snapshot prune ${path} --confirm ${name}`);
        return 0;
      }
      const removed = await removeOld(context, wait);
      if (flag(args, 'json')) sayJson({ ok: true, dryRun: false, removed });
      else say(removed.length === 0 ? 'there is nothing to remove' : color.green(`removed: ${removed.join(', ')}`));
      return 0;
    },
  );

const print = (verdicts: PrunePlan['verdicts'], command: string): void => {
  const rows = verdicts.map(({ id, keeps, why }) => [id, keeps ? 'stays' : color.yellow('would go'), why]);
  say(verdicts.length === 0 ? 'there are none' : table([['snapshot', '', 'why'], ...rows]));
  if (verdicts.some(({ keeps }) => !keeps)) say(`nothing was removed; to remove them: ${command}`);
};
