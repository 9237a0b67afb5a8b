/**
 * Follows a lane that a test has opened, with its archive, in a process of its own that a failpoint can kill. Arguments: both
 * databases' URLs, publication, slot, directory of the archive. Ends when its input does.
 */
import { readInventory } from '../../src/databases/postgres/inventory.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';
import { objectsIn } from './archives.ts';

const [sourceUrl = '', targetUrl = '', publication = '', slot = '', directory = ''] = process.argv.slice(2);
const source = new PostgresServer({ url: sourceUrl, label: 'source', application: 'switchback/child' });
const target = new PostgresServer({ url: targetUrl, label: 'target', application: 'switchback/child' });
const epoch = (): bigint => 1n;
const store = laneStore('all/forward', epoch);
const { tables, roots } = await readInventory(source);
const archive = { objects: objectsIn(directory), run: 'run-1', phase: 'all', epoch };
const limits = { bytes: 8 * 1024, ageMs: 50, idleMs: 500 };
const engine = streamEngine({ source, target }, { archiveLimits: limits });
const names = { lane: 'all/forward', direction: 'forward', publication, slot } as const;
const lane = await engine.openLane({ ...names, store, tables, roots, archive }, { kind: 'resume' });
const stop = new AbortController();
process.stdin.on('end', () => stop.abort()).resume();
const observer = { copied: () => undefined, applied: () => undefined, lag: () => undefined };
await lane.follow({ signal: stop.signal, observer });
await lane.close({ drop: false });
await Promise.all([source.close(), target.close()]);
