import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ledger } from '../../src/demo/ledger.ts';
import { type Pooler, startPooler } from '../../src/demo/poolers.ts';
import { startProxy } from '../../src/demo/proxies.ts';
import type { Event } from '../../src/domain/event.ts';
import type { Side } from '../../src/domain/position.ts';
import { proxyOfTree } from '../services/haproxy.ts';
import type { BenchOptions, Pair } from './part.ts';

/**
 * Sessions on the server for each phase's entry: three times the machine's two cores for both together, which is what keeps
 * them busy. What larger pools do to a switch is in docs/benchmarks.md.
 */
export const POOL_SIZE = 3;

/** How the clients of a benchmark are led from one side to the other. */
export interface Way {
  /** What they are behind, for the name of the case; empty for nothing. */
  readonly behind: string;
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
const byFile = (directory: string, urls: Way['urls']): Way => ({
  behind: '',
  router: undefined,
  urls,
  routeFile: join(directory, 'route.json'),
  environment: {},
  onEvent: () => undefined,
  close: async () => undefined,
});

/** A file for clients that have one URL for each phase, for good: it calls that of each a side, and nobody changes it. */
const clientsFile = (directory: string): string => {
  const routeFile = join(directory, 'clients.json');
  const led = (primary: Side) => ({ primary, held: false });
  writeFileSync(routeFile, JSON.stringify({ catalog: led('source'), orders: led('target') }));
  return routeFile;
};

/** Clients behind one PgBouncer in transaction pooling, with an entry for each phase. */
const byPooler = async (directory: string, pair: Pair): Promise<Way> => {
  const entries = PHASES.map((phase) => `shop_${phase} = host=127.0.0.1 port=${pair.source.port} dbname=shop\n`);
  const pooler: Pooler = await startPooler({ mode: 'transaction', poolSize: POOL_SIZE, entries: entries.join('') });
  const databases = PHASES.map((phase) => `${phase}: shop_${phase}`).join(', ');
  return {
    behind: ' behind PgBouncer',
    router: `{ kind: pgbouncer, admin: "\${PGBOUNCER_ADMIN_URL}", config: ${pooler.config}, databases: { ${databases} } }`,
    urls: { source: pooler.urlFor('shop_catalog'), target: pooler.urlFor('shop_orders') },
    routeFile: clientsFile(directory),
    environment: { PGBOUNCER_ADMIN_URL: pooler.admin },
    onEvent: noteHolds,
    close: () => pooler.stopAndRemove(),
  };
};

/** Clients behind one HAProxy with a `listen` section for each phase: that of the tree of services, which can hold, else this system's. */
const byProxy = async (
  directory: string,
  { pair, url }: { readonly pair: Pair; readonly url: string },
): Promise<Way> => {
  const program = proxyOfTree();
  const proxy = await startProxy({
    ...(program === undefined ? {} : { program }),
    frontends: PHASES,
    sections: (portOf) =>
      PHASES.map(
        (phase) =>
          `listen ${phase}\n  bind 127.0.0.1:${portOf(phase)}\n  server db 127.0.0.1:${pair.source.port} check inter 1s\n`,
      ).join(''),
  });
  const version = /^Version: (\d+\.\d+)/m.exec(await proxy.ask('show info'))?.[1];
  const servers = PHASES.map((phase) => `${phase}: ${phase}/db`).join(', ');
  return {
    behind: ` behind HAProxy ${version}`,
    router: `{ kind: haproxy, socket: ${proxy.socket}, config: ${proxy.config}, servers: { ${servers} } }`,
    urls: { source: proxy.urlThrough('catalog', url), target: proxy.urlThrough('orders', url) },
    routeFile: clientsFile(directory),
    environment: {},
    onEvent: noteHolds,
    close: () => proxy.stopAndRemove(),
  };
};

/** The way that a run was asked for. */
export const wayOf = async (
  router: BenchOptions['router'],
  { directory, pair, urls }: { readonly directory: string; readonly pair: Pair; readonly urls: Way['urls'] },
): Promise<Way> => {
  switch (router) {
    case 'file':
      return byFile(directory, urls);
    case 'pgbouncer':
      return await byPooler(directory, pair);
    case 'haproxy':
      return await byProxy(directory, { pair, url: urls.source });
  }
};

/** From when the worker begins to hold until it has let go, as far as this process is told of it in time. */
const noteHolds = (event: Event, ledger: Ledger): void => {
  if (event.type !== 'step') return;
  const held = event.step === 'hold' && event.status === 'begun';
  if (!held && !(event.step === 'release' && event.status === 'done')) return;
  const primary = event.scope.startsWith('cutover') === held ? 'source' : 'target';
  for (const phase of event.phases) ledger.noteRoute({ phase, primary, held });
};
