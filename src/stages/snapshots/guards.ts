import { SwitchbackError } from '../../domain/errors.ts';
import { readPhases } from '../../sidecar/phases.ts';
import { readDrills } from '../../sidecar/snapshots.ts';
import type { Snapshot, WaitOptions } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';
import { type Created, createSnapshot } from './create.ts';
import { listOwned, restorable, takenAt } from './ours.ts';

/** The reason of the snapshot that is made before anything is changed. */
const BEFORE_PREPARE = 'before prepare';

/** A duration of a plan as somebody would say it. */
const spoken = (ms: number): string => {
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${(ms / 3_600_000).toFixed(1)} h` : `${(ms / 86_400_000).toFixed(1)} d`;
};

/** The newest snapshot that can be restored, as the store has it, with its age by the source's clock in milliseconds; or null. */
export const newestSnapshot = async (
  context: RunContext,
): Promise<{ readonly snapshot: Snapshot; readonly ageMs: number } | null> => {
  const { snapshots, owner } = await listOwned(context);
  const [snapshot] = restorable(owner, snapshots);
  if (!snapshot) return null;
  const { rows } = await context.source.sql.query('SELECT extract(epoch from now() - $1::timestamptz) * 1000 AS age', [
    takenAt(snapshot),
  ]);
  return { snapshot, ageMs: Number(rows[0]?.age ?? Number.NaN) };
};

/**
 * Refuses a cutover without the snapshot and the drill that the plan demands. The store is asked which snapshots there are: one that
 * somebody has removed by hand protects from nothing. Throws kind `refused`, or what the store throws.
 */
export const assertProtected = async (context: RunContext): Promise<void> => {
  const { plan, source } = context;
  if (plan.snapshots === null) return;
  const { freshForMs, drillWithinMs, before } = plan.snapshots;
  if (freshForMs !== null) {
    const newest = await newestSnapshot(context);
    if (newest === null || !(newest.ageMs <= freshForMs)) {
      const have =
        newest === null ? 'there is none' : `the newest, ${newest.snapshot.id}, is ${spoken(newest.ageMs)} old`;
      const itself = before.includes('cutover') ? '; or give the command again, which makes one first' : '';
      throw new SwitchbackError('refused', `a cutover needs a snapshot younger than ${spoken(freshForMs)}: ${have}`, {
        remedy: `switchback snapshot create ${plan.path}${itself}`,
      });
    }
  }
  if (drillWithinMs === null) return;
  const passed = (await readDrills(source.sql)).find(({ state }) => state === 'passed');
  if (passed !== undefined && passed.ageMs <= drillWithinMs) return;
  const have = passed === undefined ? 'there was none' : `the last was ${spoken(passed.ageMs)} ago`;
  throw new SwitchbackError(
    'refused',
    `a cutover needs a drill that succeeded within ${spoken(drillWithinMs)}: ${have}`,
    { remedy: `switchback snapshot drill ${plan.path}` },
  );
};

/**
 * Makes the snapshot that the plan wants before a cutover, where there is none that is fresh: in the process of whoever asks for
 * the cutover, because the worker has to be free for a failback meanwhile. Phases that cannot be cut over get none: the worker
 * will refuse them. Returns what was made, or null.
 */
export const snapshotBeforeCutover = async (
  context: RunContext,
  phases: readonly string[],
  options: WaitOptions,
): Promise<Created | null> => {
  const { plan, source } = context;
  if (!plan.snapshots?.before.includes('cutover')) return null;
  const states = new Map((await readPhases(source.sql)).map(({ name, state }) => [name, state.name]));
  const named = phases.length > 0 ? phases : [...states.keys()];
  if (!named.every((name) => states.get(name) === 'ready' || states.get(name) === 'following')) return null;
  const { freshForMs } = plan.snapshots;
  const newest = freshForMs === null ? null : await newestSnapshot(context);
  if (newest !== null && newest.ageMs <= (freshForMs ?? 0)) return null;
  const reason = `before cutover of ${named.join(', ')}`;
  try {
    return await createSnapshot(context, { ...options, reason, isPatient: true });
  } catch (error) {
    if (!options.signal.aborted) throw error;
    throw new SwitchbackError('refused', 'interrupted before the cutover was begun; nothing was done', {
      remedy: `the snapshot is gone on with by the same command, or by: switchback snapshot create ${plan.path}`,
      cause: error,
    });
  }
};

/** Makes the snapshot that the plan wants before anything is changed, unless it is there. Returns what the journal says of it. */
export const snapshotBeforePrepare = async (context: RunContext, options: WaitOptions): Promise<string> => {
  const { snapshots, owner } = await listOwned(context);
  const all = restorable(owner, snapshots);
  const there = all.find(({ manifest }) => manifest?.reason === BEFORE_PREPARE);
  if (there) return `${there.id} is there`;
  const made = await createSnapshot(context, { ...options, reason: BEFORE_PREPARE, isPatient: true });
  return made?.snapshot.id ?? '';
};
