import { resolve } from 'node:path';
import { formatOfPath, type RouteFormat } from '../domain/route-format.ts';
import { type AwsRouterPlan, awsRouterOf } from './aws-router-plan.ts';
import { type EtcdRouterPlan, etcdOf } from './etcd-router.ts';
import { type HaproxyRouterPlan, haproxyOf } from './haproxy-plan.ts';
import { byPhase, withFiles, written } from './instances.ts';
import { type KubernetesRouterPlan, kubernetesRouterOf } from './kubernetes-router-plan.ts';
import type { PlanDocument } from './schema.ts';
import { type WebhookRouterPlan, webhookOf } from './webhook-router.ts';

/** A small file that names the primary of each phase. */
export interface FileRouterPlan {
  readonly kind: 'file';
  /** Absolute. */
  readonly path: string;
  readonly format: RouteFormat;
}

/** Programs as argument lists with placeholders, run in the plan's directory. */
export interface CommandRouterPlan {
  readonly kind: 'command';
  readonly repoint: readonly string[];
  readonly observe?: readonly string[];
  readonly hold?: readonly string[];
  readonly release?: readonly string[];
  readonly timeoutMs: number;
  /** Absolute: where the programs run, so that their relative paths start at the plan. */
  readonly directory: string;
}

/** What a pooler's entry says when it leads to a side, where it is not what the side's URL says. */
export interface PooledSidePlan {
  readonly host?: string;
  readonly port?: number;
  readonly dbname?: string;
}

/** Poolers that lead the same applications. */
export interface PgbouncerRouterPlan {
  readonly kind: 'pgbouncer';
  /** URLs hold secrets; files are absolute. One file may be that of several poolers. */
  readonly instances: readonly { readonly admin: string; readonly config: string }[];
  /** The pooler's database of each phase that the router leads. */
  readonly databases: ReadonlyMap<string, string>;
  readonly foreignSettings: 'refuse' | 'end';
  readonly source: PooledSidePlan;
  readonly target: PooledSidePlan;
}

/** How one router is set up. */
export type RouterPlan =
  | FileRouterPlan
  | CommandRouterPlan
  | PgbouncerRouterPlan
  | HaproxyRouterPlan
  | AwsRouterPlan
  | KubernetesRouterPlan
  | WebhookRouterPlan
  | EtcdRouterPlan;

type RouterDocument = PlanDocument['routers'][string];

const pgbouncerOf = (
  router: Extract<RouterDocument, { kind: 'pgbouncer' }>,
  { directory, phases }: { readonly directory: string; readonly phases: readonly string[] },
): PgbouncerRouterPlan => ({
  kind: 'pgbouncer',
  instances: withFiles(router.admin, router.config, directory).map(([admin, config]) => ({ admin, config })),
  databases: byPhase(router.database, router.databases, phases),
  foreignSettings: router.foreign_settings,
  source: written(router.source),
  target: written(router.target),
});

/** A router as the plan sets it up; `phases` are those that it leads. */
export const routerOf = (
  router: RouterDocument,
  { directory, phases }: { readonly directory: string; readonly phases: readonly string[] },
): RouterPlan => {
  if (router.kind === 'pgbouncer') return pgbouncerOf(router, { directory, phases });
  if (router.kind === 'haproxy') return haproxyOf(router, { directory, phases });
  if (router.kind === 'kubernetes') return kubernetesRouterOf(router, { directory, phases });
  if (router.kind === 'etcd') return etcdOf(router, directory);
  if (router.kind === 'webhook') return webhookOf(router, directory);
  if (router.kind === 'file') {
    const format = router.format ?? formatOfPath(router.path) ?? 'env';
    return { kind: 'file', path: resolve(directory, router.path), format };
  }
  if (router.kind !== 'command') return awsRouterOf(router, phases);
  const { kind, timeout, repoint, observe, hold, release } = router;
  return {
    kind,
    repoint,
    ...(observe === undefined ? {} : { observe }),
    ...(hold === undefined ? {} : { hold }),
    ...(release === undefined ? {} : { release }),
    timeoutMs: timeout,
    directory,
  };
};
