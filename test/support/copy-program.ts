/**
 * Copies all tables of one database to another in a process of its own, so that a test can kill it. Arguments: the source's
 * URL, the target's URL. Tables are taken for large, so that there are many chunks. Prints a line per chunk.
 */
import { readInventory } from '../../src/databases/postgres/inventory.ts';
import { copyTables } from '../../src/engines/stream/copy.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';

const [sourceUrl = '', targetUrl = ''] = process.argv.slice(2);
const from = new PostgresServer({ url: sourceUrl, label: 'source', application: 'switchback/child' });
const to = new PostgresServer({ url: targetUrl, label: 'target', application: 'switchback/child' });
const { tables } = await readInventory(from);
const spec = {
  lane: 'all/forward',
  direction: 'forward',
  tables: tables.map((table) => ({ ...table, bytes: 1e9, estimatedRows: 1e9 / (2 ** 20 / 8) })),
  roots: [],
  publication: 'p',
  slot: 's',
  store: laneStore('all/forward', () => 1n),
} as const;
const observer = {
  copied: ({ table, rows }: { table: string; rows: number }) => void process.stdout.write(`${table} ${rows}\n`),
  applied: () => undefined,
  lag: () => undefined,
};
await copyTables({ spec, from, to }, { signal: new AbortController().signal, observer });
await Promise.all([from.close(), to.close()]);
