import { sidesOf } from '../domain/position.ts';
import type { Snapshot } from '../snapshots/store.ts';
import type { ArchivedPhase } from '../stages/snapshots/archived.ts';
import type { SnapshotStatus } from '../stages/snapshots/summary.ts';
import { color, durationText } from './render.ts';

/** A snapshot for `--json`: what its store has to know to restore it is nobody else's, and of no use in a log. */
export const shownSnapshot = <T extends Pick<Snapshot, 'manifest'>>(snapshot: T) => {
  const { store, ...manifest } = snapshot.manifest ?? { store: null };
  return { ...snapshot, manifest: snapshot.manifest === null ? null : manifest };
};

/** What `status` and the report's page say of snapshots, as lines without colour where `isPlain`. */
export const snapshotLines = (snapshots: SnapshotStatus, isPlain = false): readonly string[] => {
  const paint = isPlain ? { red: String, yellow: String } : color;
  const { newest, unfinished, drill, restoreMs } = snapshots;
  const lines = [
    newest === null
      ? paint.yellow('snapshot  none')
      : `snapshot  ${newest.id}, ${durationText(newest.ageMs)} old (${newest.reason})`,
  ];
  if (unfinished !== null) {
    const why = unfinished.detail === null ? '' : `: ${unfinished.detail}`;
    lines.push(
      paint.yellow(
        `snapshot  ${unfinished.id} was begun ${durationText(unfinished.askedMs)} ago and is not finished${why}`,
      ),
    );
  }
  const took = restoreMs === null ? '' : `; restoring took ${durationText(restoreMs)}`;
  if (drill === null) lines.push(paint.yellow('drill     none: nobody has tried whether one can be restored'));
  else if (drill.passed) lines.push(`drill     passed ${durationText(drill.ageMs)} ago, by ${drill.by}${took}`);
  else lines.push(paint.red(`drill     failed ${durationText(drill.ageMs)} ago: ${drill.problems.join('; ')}${took}`));
  return lines;
};

/** Where the archive of a phase ends. */
export const archiveLine = ({ phase, end, newestAt, trouble }: ArchivedPhase): string => {
  if (trouble !== null) return color.red(`archive   ${phase}: cannot be read: ${trouble}`);
  if (end === null) return `archive   ${phase}: nothing yet`;
  const newest = newestAt === null ? '' : `; the newest change is of ${newestAt}`;
  return `archive   ${phase}: up to ${end.position} of the ${sidesOf(end.direction).from}${newest}`;
};
