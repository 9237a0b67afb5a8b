import { SwitchbackError } from '../../domain/errors.ts';
import type { Snapshot } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';
import { isOurs, restorable } from './ours.ts';
import { storeOf } from './records.ts';

/** The snapshot of an id, or without one the newest, that can be restored. Throws kind `refused` with what is in the way. */
export const pickSnapshot = async (context: RunContext, id: string | null): Promise<Snapshot> => {
  const { plan } = context;
  const all = await storeOf(context).list();
  const [newest] = restorable(plan, all);
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
  if (!isOurs(plan, found)) {
    throw new SwitchbackError('refused', `snapshot ${id} is not one of plan ${plan.name}`, { remedy: list });
  }
  return found;
};
