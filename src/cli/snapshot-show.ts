import type { ArchivedPhase } from '../stages/snapshots/archived.ts';
import { type Shown, showSnapshot } from '../stages/snapshots/show.ts';
import { type Arguments, flag, text, withPlan } from './command.ts';
import { bytesText, color, countText, durationText, say, sayJson, table } from './render.ts';
import { shownSnapshot } from './snapshot-text.ts';

/** `snapshot show`: what one holds, how it was tried, and what would be lost if it were restored now. */
export const show = async (args: Arguments): Promise<number> =>
  await withPlan(
    args,
    () => undefined,
    async (context) => {
      const shown = await showSnapshot(context, text(args, 'id') ?? null);
      if (flag(args, 'json')) sayJson({ ok: true, ...shown, snapshot: shownSnapshot(shown.snapshot) });
      else print(shown);
      return 0;
    },
  );

const print = ({ snapshot, drills, loss }: Shown): void => {
  const { id, state, bytes, manifest } = snapshot;
  say(`${color.bold(id)}  ${state}${bytes === null ? '' : `, ${bytesText(bytes)}`}`);
  if (manifest) {
    const { kind, by, reason, createdAt, server, identity, position, lanes, phases, digests } = manifest;
    say(`made by ${by}, ${reason}, with ${kind}`);
    say(`of ${identity}, PostgreSQL ${server}, as of ${createdAt}`);
    const exact = position.atLeast === position.atMost;
    say(`position  ${exact ? position.atLeast : `between ${position.atLeast} and ${position.atMost}`}`);
    for (const [name, lane] of Object.entries(lanes)) say(`lane      ${name} at ${lane.position}`);
    say();
    const rowsOf = (name: string): string => {
      const rows = digests?.[name]?.rows;
      return rows === undefined ? 'no digest' : countText(Number(rows));
    };
    const rows = Object.entries(phases).flatMap(([phase, tables]) => tables.map((name) => [phase, name, rowsOf(name)]));
    say(table([['phase', 'table', 'rows'], ...rows]));
    say();
  }
  for (const { at, by, state: ended, restoreMs } of drills) {
    const took = restoreMs === null ? '' : `, restored in ${durationText(restoreMs)}`;
    say(`drill     ${at} by ${by}: ${ended}${took}`);
  }
  if (drills.length === 0) say('drill     none is recorded');
  say(
    loss.ageMs === null
      ? `lost if it were restored now: cannot be told: ${loss.trouble}`
      : `lost if it were restored now: what was written in the last ${durationText(loss.ageMs)}`,
  );
  for (const archived of loss.archived) say(`  ${archivedText(archived)}`);
};

/** What the archive would bring back of one phase. */
const archivedText = ({ phase, since, end, trouble }: ArchivedPhase): string => {
  if (trouble !== null) return color.red(`the archive of ${phase} cannot be read: ${trouble}`);
  if (since === null || end === null) return `but the archive has nothing of ${phase}`;
  if (since.missing !== null) return color.yellow(`the archive of ${phase} does not follow it: ${since.missing}`);
  const { atLeast, atMost } = since.changes;
  const changes = atLeast === atMost ? countText(atLeast) : `${countText(atLeast)} to ${countText(atMost)}`;
  return `less what the archive of ${phase} has: ${changes} changes, up to ${end.position}`;
};
