import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Self } from './program.ts';
import { SHOP_PHASES, shopSchemaSql } from './shop-schema.ts';

/** A server that the demo uses: where an empty database of it is, and its version for the verdict. */
export interface DemoServer {
  readonly url: string;
  readonly version: string;
}

/** The plan's engine. */
export type Engine = 'stream' | 'native';

/** Two servers, and the plan and the route file that the demo's worker and clients go by. */
export interface Stage {
  readonly directory: string;
  readonly plan: string;
  readonly source: DemoServer;
  readonly target: DemoServer;
  readonly urls: { readonly source: string; readonly target: string };
  readonly self: Self;
}

const planText = (
  engine: Engine,
  router: string,
): string => `# The demo's plan: a shop moves from PostgreSQL 13 to 18 in two phases.
version: 1
name: shop-13-to-18
source: { url: "\${OLD_DATABASE_URL}" }
target: { url: "\${NEW_DATABASE_URL}" }
schema: { files: [shop.sql] }
engine: ${engine}

phases:
  - name: catalog
    tables: ${JSON.stringify(SHOP_PHASES.catalog)}
    router: app
  - name: orders
    after: [catalog]
    tables: ${JSON.stringify(SHOP_PHASES.orders)}
    router: app

routers:
  app: ${router}

switch: { max_lag: 2s, window: 5s, blockers: { wait: 1s, then: terminate } }
`;

/** Writes the files of the demo into a folder. */
export const setStage = (made: {
  directory: string;
  source: DemoServer;
  target: DemoServer;
  script: string;
  engine: Engine;
  /** YAML of the router `app`; the route file without it. */
  router?: string | undefined;
  /** Variables that the router refers to. */
  environment?: Readonly<Record<string, string>>;
}): Stage => {
  const { directory, source, target } = made;
  const plan = join(directory, 'plan.yaml');
  writeFileSync(plan, planText(made.engine, made.router ?? '{ kind: file, path: route.json }'));
  writeFileSync(join(directory, 'shop.sql'), shopSchemaSql);
  const route = { primary: 'source', held: false };
  writeFileSync(join(directory, 'route.json'), `${JSON.stringify({ catalog: route, orders: route }, null, 2)}\n`);
  const urls = { source: source.url, target: target.url };
  const environment = {
    ...process.env,
    ...made.environment,
    OLD_DATABASE_URL: urls.source,
    NEW_DATABASE_URL: urls.target,
  };
  return { directory, plan, source, target, urls, self: { script: made.script, environment } };
};

/** How to look at what `--keep` has left. */
export const keptText = (stage: Stage): string =>
  [
    'Kept for a look around; end the two servers by their process ids when done:',
    `  export OLD_DATABASE_URL=${stage.urls.source}`,
    `  export NEW_DATABASE_URL=${stage.urls.target}`,
    `  switchback status ${stage.plan}`,
  ].join('\n');
