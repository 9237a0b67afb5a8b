import { SwitchbackError } from '../domain/errors.ts';
import { redactText } from '../platform/redact.ts';
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
        const plan = await planPrune(context);
        const json = plan.verdicts.map(({ id, keeps, why }) => ({ id, keeps, why }));
        const archive = plan.archive.map(({ phase, objects }) => ({ phase, objects: objects.length }));
        if (flag(args, 'json')) sayJson({ ok: true, dryRun: true, snapshots: json, archive });
        else print(plan, `switchback snapshot prune ${path} --confirm ${name}`);
        return 0;
      }
      const { snapshots: removed, left, archive } = await removeOld(context, wait);
      if (flag(args, 'json')) sayJson({ ok: left.length === 0, dryRun: false, removed, left, archive });
      else {
        for (const { id, why } of left) say(color.red(`${id} could not be removed: ${redactText(why)}`));
        sayRemoved(removed, archive);
      }
      return left.length === 0 ? 0 : 3;
    },
  );

const sayRemoved = (removed: readonly string[], archive: Readonly<Record<string, number>>): void => {
  const phases = Object.entries(archive);
  if (removed.length + phases.length === 0) say('there is nothing to remove');
  if (removed.length > 0) say(color.green(`removed: ${removed.join(', ')}`));
  for (const [phase, count] of phases) say(color.green(`removed of the archive of phase ${phase}: ${count} objects`));
};

const print = ({ verdicts, archive }: PrunePlan, command: string): void => {
  const rows = verdicts.map(({ id, keeps, why }) => [id, keeps ? 'stays' : color.yellow('would go'), why]);
  say(verdicts.length === 0 ? 'there are none' : table([['snapshot', '', 'why'], ...rows]));
  for (const { phase, objects } of archive) {
    const bytes = objects.reduce((sum, object) => sum + object.bytes, 0);
    say(
      `of the archive of phase ${phase}, ${objects.length} objects (${bytes} bytes) would go: no snapshot that stays needs them`,
    );
  }
  if (archive.length > 0 || verdicts.some(({ keeps }) => !keeps))
    say(`nothing was removed; to remove them: ${command}`);
};
