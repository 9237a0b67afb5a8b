import { describeOnFake } from '../support/kubernetes/describe.ts';
import { hasKeys, type SceneOptions, SORTS, type Sort, sceneOf } from '../support/kubernetes/scene.ts';
import type { FakeKubernetes } from '../support/kubernetes/server.ts';
import { routerContract } from './router.ts';

/**
 * On a fake of an API server (test/support/kubernetes), since no real one can be had here: what is shown is how the router
 * behaves towards what the documentation and the client library's models say of the API, no more.
 */

const PHASES = ['orders', 'catalog', 'a', 'b', 'c', 'd'];

const madeOf = (fake: FakeKubernetes, sort: Sort, options: SceneOptions): Parameters<typeof routerContract>[1] => {
  return async () => {
    const { open, edit } = sceneOf(fake, sort, { phases: PHASES, leads: 'nowhere', ...options });
    return { open, edit: async (phase, primary) => edit(phase, primary), remove: async () => undefined };
  };
};

await describeOnFake('kubernetes', (fake) => {
  for (const sort of Object.values(SORTS)) {
    routerContract(sort.of, madeOf(fake, sort, {}), { holds: false });
    if (hasKeys(sort.of)) routerContract(`${sort.of}, which tells to wait`, madeOf(fake, sort, { held: true }));
  }
});
