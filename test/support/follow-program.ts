/**
 * Follows a lane that a test has opened, in a process of its own, so that the test can kill it or see what memory it takes.
 * Arguments: the origin's URL, the written side's URL, publication and slot. Prints its first line when it follows, and one
 * for each batch. Ends when its input does.
 */
import { readInventory } from '../../src/databases/postgres/inventory.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';

const [fromUrl = '', toUrl = '', publication = '', slot = ''] = process.argv.slice(2);
const source = new PostgresServer({ url: fromUrl, label: 'source', application: 'switchback/child' });
const target = new PostgresServer({ url: toUrl, label: 'target', application: 'switchback/child' });
const store = laneStore('all/forward', () => 1n);
const spec = { lane: 'all/forward', direction: 'forward', publication, slot, store } as const;
const { tables, roots } = await readInventory(source);
const lane = await streamEngine({ source, target }).openLane({ ...spec, tables, roots }, { kind: 'resume' });
const stop = new AbortController();
process.stdin.on('end', () => stop.abort()).resume();
let follows = false;
await lane.follow({
  signal: stop.signal,
  observer: {
    copied: () => undefined,
    applied: ({ changes, position }) => void process.stdout.write(`applied ${changes} ${position}\n`),
    lag: () => {
      if (!follows) process.stdout.write('follows\n');
      follows = true;
    },
  },
});
await lane.close({ drop: false });
await Promise.all([source.close(), target.close()]);
