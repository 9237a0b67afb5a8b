import { FileRouter } from '../../src/routers/file.ts';

// Holds and releases a phase without end, until it is killed: node route-writer.ts PATH.
const router = new FileRouter({ path: process.argv[2] ?? '', format: 'json' });
process.send?.('begun');
for (;;) {
  await router.hold(['orders'], 20_000);
  await router.release(['orders']);
}
