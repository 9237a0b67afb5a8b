import { openObjects } from '../../src/platform/objects/open.ts';
import { SealKey } from '../../src/platform/objects/seal-key.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { PgBasebackupStore } from '../../src/snapshots/pg-basebackup/store.ts';
import { PgDumpStore } from '../../src/snapshots/pg-dump/store.ts';
import type { Destination, SnapshotStore } from '../../src/snapshots/store.ts';
import { specOf, waiting } from './snapshots.ts';

/** What this program is told by its only argument, as JSON. */
export interface SnapshotOrder {
  readonly kind: 'pg_dump' | 'pg_basebackup';
  readonly sourceUrl: string;
  readonly to: string;
  readonly key: string | null;
  readonly bin: string | null;
  readonly act: 'create' | 'restore' | 'remove';
  readonly id: string;
  readonly into?: Destination;
}

/** The store that an order is for. */
export const storeOf = (
  { kind, sourceUrl, to, key, bin }: Omit<SnapshotOrder, 'act' | 'id'>,
  source: PostgresServer = new PostgresServer({ url: sourceUrl, label: 'source', application: 'switchback:test' }),
): SnapshotStore => {
  const common = {
    plan: 'shop',
    source,
    sourceUrl,
    objects: openObjects(to),
    key: key === null ? null : SealKey.read(key, 'it'),
    bin,
  };
  return kind === 'pg_dump' ? new PgDumpStore({ ...common, jobs: 2 }) : new PgBasebackupStore(common);
};

/** Does what it is told, so that a failpoint can end it in the middle. */
const carryOut = async (order: SnapshotOrder): Promise<void> => {
  const { options } = waiting();
  const store = storeOf(order);
  if (order.act === 'create') await store.create(specOf(order.id, order.kind), options);
  if (order.act === 'remove') await store.remove(order.id, options);
  if (order.act === 'restore' && order.into !== undefined) await store.restore(order.id, order.into, options);
  process.exit(0);
};

const [, , argument] = process.argv;
if (argument?.startsWith('{')) await carryOut(JSON.parse(argument) as SnapshotOrder);
