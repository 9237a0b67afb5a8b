import { isOurs, listOwned, takenAt } from '../stages/snapshots/ours.ts';
import { type Arguments, flag, withPlan } from './command.ts';
import { bytesText, color, say, sayJson, table } from './render.ts';
import { shownSnapshot } from './snapshot-text.ts';

/** `snapshot list`: what the store has, also while source and target are down. */
export const list = async (args: Arguments): Promise<number> =>
  await withPlan(
    args,
    () => undefined,
    async (context) => {
      const { plan } = context;
      const { snapshots: all, owner } = await listOwned(context);
      const snapshots = all.map((one) => ({ ...one, isOurs: isOurs(owner, one) }));
      if (flag(args, 'json')) sayJson({ ok: true, snapshots: snapshots.map(shownSnapshot) });
      else if (snapshots.length === 0) say(`there are none; make one: switchback snapshot create ${plan.path}`);
      else {
        const rows = snapshots.map(({ id, state, detail, manifest, bytes, isOurs: ours, ...rest }) => [
          id,
          state === 'available' ? color.green(state) : color.yellow(state),
          takenAt({ manifest, ...rest }),
          bytes === null ? '–' : bytesText(bytes),
          ours
            ? (manifest?.reason ?? '')
            : (detail ?? (state === 'creating' ? 'not finished' : 'not of this plan and its database')),
          manifest?.by ?? '',
        ]);
        say(table([['snapshot', 'state', 'as of', 'size', 'why', 'by'], ...rows]));
      }
      return 0;
    },
  );
