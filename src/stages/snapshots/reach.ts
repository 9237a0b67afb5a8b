import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import type { RunContext } from '../context.ts';
import { assertPosition } from './restore.ts';

/**
 * Looks before a restore that may take hours whether the archive can be replayed onto a snapshot up to a position on the target, or to
 * its end for null. Throws kind `refused` for a snapshot that no archive follows, and when the archive of a phase ends before the
 * position; `usage` for what is no position. A phase that has nothing in the archive has nothing to replay, and is not asked.
 */
export const assertReached = async (context: RunContext, manifest: Manifest, until: Position | null): Promise<void> => {
  if (manifest.run === '') throw ofNoRun(manifest.id);
  if (until === null) return;
  assertPosition(context, until);
  const { archive, engine, plan, traces } = context;
  if (archive === undefined || engine.archives === undefined) return;
  for (const { name: phase } of plan.phases) {
    const { stretches } = await engine.archives.summary({ objects: archive, run: manifest.run, phase });
    const last = stretches.findLast(({ direction }) => direction === 'reverse');
    if (stretches.length === 0 || (last !== undefined && traces.covers(last.until, until))) continue;
    const end = last === undefined ? 'has nothing of the target yet' : `ends at ${last.until}`;
    throw new SwitchbackError('refused', `--until ${until} is not reached: the archive of phase ${phase} ${end}`, {
      remedy: `give a position that it has, or leave --until out to replay all there is: switchback snapshot restore ${plan.path} ${manifest.id} --replay`,
    });
  }
};

const ofNoRun = (id: string): SwitchbackError =>
  new SwitchbackError('refused', `snapshot ${id} was made before a run was begun, and an archive begins with one`, {
    remedy: `restore it without --replay; what it lacks is read from the target when it is gone back to: switchback snapshot restore PLAN ${id}`,
  });
