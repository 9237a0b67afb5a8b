// Repoints phase `orders` of a HAProxy once, and says how it ended: node proxy-sleeper.ts SOURCE_URL TARGET_URL REPOINT.
import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Side } from '../../src/domain/position.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { HaproxyRouter } from '../../src/routers/haproxy/router.ts';

const [, , source = '', target = '', words = ''] = process.argv;
const { instances, ...repoint } = JSON.parse(words);
const serverOf = (url: string, label: Side) => new PostgresServer({ url, label, application: 'sleeper' });
const router = new HaproxyRouter({
  instances,
  leads: new Map([['orders', { frontend: 'in.orders', server: { backend: 'db.orders', server: 'primary' } }]]),
  sides: { source: { url: source }, target: { url: target } },
  servers: { source: serverOf(source, 'source'), target: serverOf(target, 'target') },
  sessions: 'end',
});
await router.repoint({ ...repoint, epoch: 1n }).then(
  () => process.stdout.write('done\n'),
  (error: unknown) => process.stdout.write(`${error instanceof SwitchbackError ? error.kind : error}\n`),
);
process.exit();
