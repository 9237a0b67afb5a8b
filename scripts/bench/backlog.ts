import { readInventory } from '../../src/databases/postgres/inventory.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import type { Load } from './loads.ts';
import type { Pair } from './part.ts';
import { checkpoint, freshDatabase, runSql } from './servers.ts';

/** A slot of a backlog, and where it starts. */
export interface Slot {
  readonly name: string;
  readonly position: string;
}

/** What a load has left to be applied, once for every slot. All of it is in the source's log. */
export interface Backlog {
  readonly sourceUrl: string;
  /** Database on the target with the tables as they were before the load; copied for each round, never written. */
  readonly template: string;
  readonly publication: string;
  /** All made before the first write of the load: each brings exactly the same. */
  readonly slots: readonly Slot[];
  /** Position on the source behind the last commit. */
  readonly end: string;
}

/** The last transaction of a backlog writes its row here; whoever has it on the target has applied everything. */
export const END_TABLE = 'backlog_end';
const PUBLICATION = 'backlog';

/**
 * Makes databases of the load's name on both servers, then `slots` slots, then the backlog. The publication is the stream
 * engine's own, with its marker table, and is everybody's.
 */
export const makeBacklog = async (
  pair: Pair,
  load: Load,
  options: { readonly slots: number; readonly seed: number },
): Promise<Backlog> => {
  const [sourceUrl, targetUrl] = await Promise.all([
    makeSide(await freshDatabase(pair.source, load.name), load),
    makeSide(await freshDatabase(pair.target, load.name), load),
  ]);
  const template = load.name;
  await publish({ source: sourceUrl, target: targetUrl });
  const slots: Slot[] = [];
  for (let i = 1; i <= options.slots; i++) slots.push(await makeSlot(sourceUrl, `${load.name}_${i}`));
  await load.write(sourceUrl, options.seed);
  await runSql(sourceUrl, `INSERT INTO ${END_TABLE} VALUES (1)`);
  const [row] = await runSql(sourceUrl, 'SELECT pg_current_wal_insert_lsn()::text AS head');
  await checkpoint(pair);
  return { sourceUrl, template, publication: PUBLICATION, slots, end: String(row?.head) };
};

const makeSide = async (url: string, load: Load): Promise<string> => {
  await load.make(url);
  await runSql(url, `CREATE TABLE ${END_TABLE} (id int PRIMARY KEY)`);
  const server = new PostgresServer({ url, label: 'server', application: 'bench' });
  try {
    await server.transaction(installSidecar);
  } finally {
    await server.close();
  }
  return url;
};

const publish = async (urls: { readonly source: string; readonly target: string }): Promise<void> => {
  const source = new PostgresServer({ url: urls.source, label: 'source', application: 'bench' });
  const target = new PostgresServer({ url: urls.target, label: 'target', application: 'bench' });
  try {
    const { tables, roots } = await readInventory(source);
    const spec = { direction: 'forward', tables, roots, publication: PUBLICATION } as const;
    await streamEngine({ source, target }).publish({ ...spec, guard: async () => undefined });
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
};

const makeSlot = async (url: string, name: string): Promise<Slot> => {
  const sql = `SELECT lsn::text FROM pg_create_logical_replication_slot('${name}', 'pgoutput')`;
  const [row] = await runSql(url, sql);
  return { name, position: String(row?.lsn) };
};
