import { startServer } from '../src/demo/servers.ts';
import { streamEngine } from '../src/engines/stream/engine.ts';
import { LaneWorld } from './support/lanes.ts';
import { runSql } from './support/servers.ts';

const a = await startServer({ version: 13 });
const b = await startServer({ version: 18 });
try {
  const world = await LaneWorld.create(
    { from: a, to: b },
    streamEngine,
    'CREATE TABLE t (id int PRIMARY KEY, v text, n int)',
  );
  const { lane, following } = await world.begin();
  await world.drain(lane);
  const N = Number(process.argv[2] ?? 200000);
  const base = process.memoryUsage();
  let most = 0;
  let at: NodeJS.MemoryUsage = base;
  let ext = 0;
  setInterval(() => {
    const m = process.memoryUsage();
    ext = Math.max(ext, m.external + m.arrayBuffers);
    if (m.rss > most) {
      most = m.rss;
      at = m;
    }
  }, 20).unref();
  const t0 = performance.now();
  const stop = process.argv[3] === 'backlog';
  if (stop) await following.stop();
  await runSql(
    world.fromUrl,
    `INSERT INTO t SELECT i, repeat(md5(i::text), 10), i FROM generate_series(1, ${N}) i; UPDATE t SET n = -n WHERE id <= ${N / 2}`,
  );
  const t1 = performance.now();
  if (stop) world.follow(lane);
  await world.drain(lane, 600000);
  const mb = (n: number) => Math.round(n / 2 ** 20);
  console.log({
    base: mb(base.rss),
    most: mb(most),
    heap: mb(at.heapTotal),
    external: mb(at.external),
    ab: mb(at.arrayBuffers),
    insert: Math.round(t1 - t0),
    drain: Math.round(performance.now() - t1),
  });
  await world.close();
} finally {
  await a.stopAndRemove();
  await b.stopAndRemove();
}
