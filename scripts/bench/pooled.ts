import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ledger } from '../../src/demo/ledger.ts';
import { type Pooler, startPooler } from '../../src/demo/poolers.ts';
import type { Event } from '../../src/domain/event.ts';
import type { Side } from '../../src/domain/position.ts';
import type { Pair } from './part.ts';

/** How the clients of a benchmark are led from one side to the other. */
export interface Way {
  /** YAML of the plan's router `app`; undefined for a route file. */
  readonly router: string | undefined;
  /** What the clients' own route file leads to; the sides' URLs for clients that follow the router's. */
  readonly urls: Readonly<Record<Side, string>>;
  /** The file that clients follow. */
  readonly routeFile: string;
  /** Variables that the plan refers to. */
  readonly environment: Readonly<Record<string, string>>;
  /** Tells the ledger of a hold and a release that its clients do not see. */
  onEvent(event: Event, ledger: Ledger): void;
  close(): Promise<void>;
}

const PHASES = ['catalog', 'orders'] as const;

/** Clients that follow the file of the router `file`. */
export const byFile = (directory: string, urls: Way['urls']): Way => ({
  router: undefined,
  urls,
  routeFile: join(directory, 'route.json'),
  environment: {},
  onEvent: () => undefined,
  close: async () => undefined,
});

/**
 * Clients behind one PgBouncer in transaction pooling, with an entry for each phase. Each phase's clients have one URL for
 * good, which their own file, that nobody changes, calls a side.
 */
export const byPooler = async (directory: string, pair: Pair): Promise<Way> => {
  const entries = PHASES.map((phase) => `shop_${phase} = host=127.0.0.1 port=${pair.source.port} dbname=shop\n`);
  const pooler: Pooler = await startPooler({ mode: 'transaction', entries: entries.join('') });
  const routeFile = join(directory, 'clients.json');
  const led = (primary: Side) => ({ primary, held: false });
  writeFileSync(routeFile, JSON.stringify({ catalog: led('source'), orders: led('target') }));
  const databases = PHASES.map((phase) => `${phase}: shop_${phase}`).join(', ');
  return {
    router: `{ kind: pgbouncer, admin: "\${PGBOUNCER_ADMIN_URL}", config: ${pooler.config}, databases: { ${databases} } }`,
    urls: { source: pooler.urlFor('shop_catalog'), target: pooler.urlFor('shop_orders') },
    routeFile,
    environment: { PGBOUNCER_ADMIN_URL: pooler.admin },
    onEvent: noteHolds,
    close: () => pooler.stopAndRemove(),
  };
};

/** From when the worker begins to hold until it has let go, as far as this process is told of it in time. */
const noteHolds = (event: Event, ledger: Ledger): void => {
  if (event.type !== 'step') return;
  const held = event.step === 'hold' && event.status === 'begun';
  if (!held && !(event.step === 'release' && event.status === 'done')) return;
  const primary = event.scope.startsWith('cutover') === held ? 'source' : 'target';
  for (const phase of event.phases) ledger.noteRoute({ phase, primary, held });
};
