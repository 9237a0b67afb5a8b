import { SwitchbackError } from '../../domain/errors.ts';
import type { Snapshot } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';
import { isOurs, listOwned, restorable } from './ours.ts';

/** The snapshot of an id, or without one the newest, that can be restored. Throws kind `refused` with what is in the way. */
export const pickSnapshot = async (context: RunContext, id: string | null): Promise<Snapshot> => {
  const { plan } = context;
  const { snapshots: all, owner } = await listOwned(context);
  const [newest] = restorable(owner, all);
  if (id === null) {
    if (newest) return newest;
    throw new SwitchbackError('refused', 'there is no snapshot of this plan that could be restored', {
      remedy: `make one: switchback snapshot create ${plan.path}`,
    });
  }
  const found = all.find((snapshot) => snapshot.id === id);
  const list = `see which there are: switchback snapshot list ${plan.path}`;
  if (!found) throw new SwitchbackError('usage', `there is no snapshot ${id}`, { remedy: list });
  if (found.state !== 'available') {
    const why = found.detail === null ? '' : ` (${found.detail})`;
    throw new SwitchbackError('refused', `snapshot ${id} is ${found.state}, not available${why}`, { remedy: list });
  }
  if (!isOurs(owner, found)) {
    const whose =
      found.owner?.plan === plan.name ? `of database ${found.owner.identity}` : `not one of plan ${plan.name}`;
    throw new SwitchbackError('refused', `snapshot ${id} is ${whose}, which is not the source of this plan's run`, {
      remedy: `${list}; one of another database is taken by a plan whose source is that one, or does not answer any more`,
    });
  }
  return found;
};
