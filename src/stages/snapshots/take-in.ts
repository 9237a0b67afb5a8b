import { SwitchbackError } from '../../domain/errors.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import type { Plan } from '../../plan/load.ts';
import { installSidecar } from '../../sidecar/install.ts';
import { ownershipGuard } from '../../sidecar/ownership.ts';
import { isMarked, markRestored } from '../../sidecar/restored.ts';
import { type RestoredFrom, readRun } from '../../sidecar/run.ts';
import { salvage } from '../../sidecar/salvage.ts';
import { isWhole, readShape } from '../../sidecar/shape.ts';
import { SIDECAR_VERSION } from '../../sidecar/tables.ts';
import type { SidePorts } from '../context.ts';
import { scopeOf } from '../scope.ts';

/** Nobody knows of the place yet, so whoever holds a lock on its tables is a stray. */
const FENCE_BUDGET_MS = 60_000;

/** What is known of a place that was just restored. */
export interface Restored {
  readonly plan: Plan;
  readonly manifest: Pick<Manifest, 'id' | 'run' | 'identity'>;
  readonly replay: Pick<RestoredFrom, 'isReplayed' | 'until'>;
  readonly signal: AbortSignal;
}

/**
 * Makes a restored place refuse the application's writes, and its sidecar say what it is, before anybody is told of it: a copy of
 * the source that could be written would be a second primary (S1). May be repeated, until the place is somebody's: throws kind
 * `refused` for one that has become the run's source, which may be the primary by now, and for one that was restored otherwise.
 */
export const takeIn = async (
  place: Pick<SidePorts, 'sql' | 'database' | 'sessions'>,
  restored: Restored,
): Promise<void> => {
  const { plan, manifest, replay, signal } = restored;
  await assertUntaken(place, restored);
  const scope = scopeOf(plan, await place.database.inventory());
  const phases = [...scope.phases.values()];
  await place.sql.transaction(async (sql) => {
    // A snapshot that was made before the run began has no sidecar.
    await installSidecar(sql);
    const run = { planName: plan.name, planHash: plan.hash, plan: plan.canonical, version: SIDECAR_VERSION };
    const identities = { identity: manifest.identity, peer: '' };
    const marked = { snapshot: manifest.id, ...replay };
    await markRestored(sql, { id: manifest.run, side: 'source', ...run, ...identities }, marked);
  });
  const { epoch } = await salvage(place.sql);
  const names = phases.map(({ name }) => name);
  await place.database.fence({
    tables: phases.flatMap(({ tables }) => tables),
    reason: `this database was restored from snapshot ${manifest.id}; the application writes elsewhere`,
    guard: ownershipGuard({ phases: names, epoch, role: 'replica', fenced: true, by: 'snapshot restore' }),
    blockers: { waitMs: 0, action: 'terminate' },
    budgetMs: FENCE_BUDGET_MS,
    onBlocked: () => undefined,
    signal,
  });
};

const assertUntaken = async (
  { sql, sessions }: Pick<SidePorts, 'sql' | 'sessions'>,
  { manifest, replay }: Restored,
): Promise<void> => {
  const row = isWhole(await readShape(sql), 'run') ? await readRun(sql) : null;
  const before = row?.facts.restored;
  // What the snapshot's own source was restored from, earlier, says nothing of this place.
  if (!row || before?.snapshot !== manifest.id) return;
  if (!isMarked(row) && row.identity === (await sessions.describe()).identity) {
    throw new SwitchbackError(
      'refused',
      `what snapshot ${manifest.id} was restored to is the source of run ${row.id} by now`,
      {
        remedy: 'restore into another database: switchback snapshot restore PLAN ID --into URL',
      },
    );
  }
  if (!before.isReplayed || before.until === replay.until) return;
  throw new SwitchbackError('refused', `it was restored with a replay up to ${before.until ?? 'the end'} before`, {
    remedy: 'restore into another database: switchback snapshot restore PLAN ID --into URL',
  });
};
