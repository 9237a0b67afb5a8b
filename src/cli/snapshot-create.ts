import { createSnapshot } from '../stages/snapshots/create.ts';
import { takenAt } from '../stages/snapshots/ours.ts';
import { type Arguments, flag } from './command.ts';
import { bytesText, color, say, sayJson } from './render.ts';
import { shownSnapshot } from './snapshot-text.ts';
import { workLong } from './snapshot-work.ts';

const HOW = {
  made: 'made',
  'gone on with': 'gone on with, and done',
  'waited for': 'made by another process',
} as const;

/** `snapshot create`: makes one, or goes on with the one that was begun. */
export const create = async (args: Arguments): Promise<number> =>
  await workLong(
    args,
    {
      name: 'snapshot create',
      whenInterrupted: 'what has been begun is found again and not begun a second time',
    },
    async (context, wait) => {
      const created = await createSnapshot(context, { ...wait, reason: 'by hand', isPatient: true });
      if (created === null) return 1;
      const { snapshot, how } = created;
      const isThere = snapshot.state === 'available';
      if (flag(args, 'json')) sayJson({ ok: isThere, how, snapshot: shownSnapshot(snapshot) });
      else if (isThere) {
        const size = snapshot.bytes === null ? '' : `, ${bytesText(snapshot.bytes)}`;
        say(`${color.green(snapshot.id)}: ${HOW[how]}, as of ${takenAt(snapshot)}${size}`);
        say(`next: switchback snapshot drill ${context.plan.path}`);
      } else say(color.red(`${snapshot.id} is ${snapshot.state}: ${snapshot.detail ?? 'no reason is told'}`));
      return isThere ? 0 : 3;
    },
  );
