/**
 * Repoints a phase by a key of a ConfigMap, with a restart, in a process of its own, so that a test can kill it. Arguments:
 * kubeconfig, ConfigMap, Deployment, epoch. Leads `orders` from `old.internal` to `new.internal`.
 */
import { KubernetesRouter } from '../../../src/routers/kubernetes/router.ts';

const [kubeconfig = '', configMap = '', deployment = '', epoch = '1'] = process.argv.slice(2);
const router = new KubernetesRouter({
  kubeconfig,
  context: null,
  podRoot: '',
  namespace: 'shop',
  places: new Map([['orders', { ref: { of: 'configmap', name: configMap }, key: 'orders.host', held: null }]]),
  sides: {
    source: { url: 'postgresql://me@old.example/shop', said: 'old.internal' },
    target: { url: 'postgresql://me@new.example/shop', said: 'new.internal' },
  },
  workloads: [{ of: 'deployment', name: deployment }],
  restartWithinMs: 10_000,
});
const { version } = await router.observe('orders');
await router.repoint({ phases: ['orders'], to: 'target', epoch: BigInt(epoch), expect: { orders: version } });
