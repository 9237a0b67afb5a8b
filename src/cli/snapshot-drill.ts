import { resolve } from 'node:path';
import { drillSnapshot } from '../stages/snapshots/drill.ts';
import { type Arguments, flag, text } from './command.ts';
import { color, countText, durationText, findingText, say, sayJson } from './render.ts';
import { placeOf } from './snapshot-place.ts';
import { workLong } from './snapshot-work.ts';

/** `snapshot drill`: restores one into a scratch place, looks at it, and removes the place. */
export const drill = async (args: Arguments): Promise<number> => {
  const id = text(args, 'id') ?? null;
  const said = placeOf(args, 'at');
  // A directory is recorded, and has to be the same for whoever comes after this command, wherever that is given.
  const at = said === null || said.includes('://') ? said : resolve(said);
  return await workLong(
    args,
    {
      name: 'snapshot drill',
      whenInterrupted: 'a scratch place that it has left is found by the next drill, which removes it',
    },
    async (context, wait) => {
      const done = await drillSnapshot(context, { ...wait, id, at });
      const { snapshot, restoreMs, outcome } = done.drill;
      const passed = done.drill.state === 'passed';
      if (flag(args, 'json')) sayJson({ ok: passed, ...done });
      else {
        for (const finding of done.differences) say(findingText(finding));
        for (const problem of outcome?.problems ?? []) say(color.red(problem));
        const took =
          restoreMs === null ? 'what restoring takes was not measured' : `restored in ${durationText(restoreMs)}`;
        const { tables = 0, compared = 0, probes = 0 } = outcome ?? {};
        say(
          `${snapshot}: ${took}; ${countText(tables)} tables, ${countText(compared)} of them compared, ${probes} probes`,
        );
        say(passed ? color.green('the drill has passed') : color.red('the drill has failed'));
        if (!done.isRecorded) say('it is recorded nowhere, since no run is begun on these databases');
      }
      return passed ? 0 : 3;
    },
  );
};
