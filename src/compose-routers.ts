import { isKind, messageOf } from './domain/errors.ts';
import type { Finding } from './domain/finding.ts';
import type { Side } from './domain/position.ts';
import type { Plan } from './plan/load.ts';
import type { RouterPlan } from './plan/router-plan.ts';
import type { PostgresServer } from './platform/postgres/server.ts';
import { Route53Router } from './routers/aws/route53.ts';
import { SecretStore } from './routers/aws/secrets-manager.ts';
import { ledValues, recordValues } from './routers/aws/sides.ts';
import { ParameterStore } from './routers/aws/ssm.ts';
import { ValueRouter } from './routers/aws/value-router.ts';
import { CommandRouter } from './routers/command.ts';
import { EtcdRouter } from './routers/etcd/router.ts';
import { FileRouter } from './routers/file.ts';
import { HaproxyRouter } from './routers/haproxy/router.ts';
import { KubernetesRouter } from './routers/kubernetes/router.ts';
import { PgbouncerRouter } from './routers/pgbouncer/router.ts';
import type { Router } from './routers/router.ts';
import { WebhookRouter } from './routers/webhook/router.ts';
import type { RunScope } from './stages/context.ts';

/** What a router's part of the plan says of each side, with the URL for what it leaves out. */
const saidOf = <Said>(router: Readonly<Record<Side, Said>>, { source, target }: Plan) => ({
  source: { url: source.url, said: router.source },
  target: { url: target.url, said: router.target },
});

/** What a proxy's part of the plan says of how each side is reached from there, with the URL for what it leaves out. */
const reachedAt = <Said extends object>(router: Readonly<Record<Side, Said>>, { source, target }: Plan) => ({
  source: { ...router.source, url: source.url },
  target: { ...router.target, url: target.url },
});

/** Makes the router that a part of the plan describes: one case for each kind. Connects to nothing yet. */
export const routerFor = (router: RouterPlan, plan: Plan, servers: Readonly<Record<Side, PostgresServer>>): Router => {
  switch (router.kind) {
    case 'file':
      return new FileRouter(router);
    case 'command':
      return new CommandRouter({ ...router, environment: process.env });
    case 'pgbouncer':
      return new PgbouncerRouter({
        ...router,
        sides: reachedAt(router, plan),
        servers,
        blockers: plan.switch.blockers,
      });
    case 'route53':
      return new Route53Router({ ...router, values: recordValues(router.type, saidOf(router, plan)) });
    case 'secrets-manager':
      return new ValueRouter(new SecretStore(router.region), { ids: router.ids, led: ledValues(saidOf(router, plan)) });
    case 'ssm':
      return new ValueRouter(new ParameterStore(router.region), {
        ids: router.ids,
        led: ledValues(saidOf(router, plan)),
      });
    case 'kubernetes':
      return new KubernetesRouter({ ...router, sides: saidOf(router.said, plan), podRoot: '' });
    case 'etcd':
      return new EtcdRouter(router);
    case 'webhook':
      return new WebhookRouter({ ...router, run: plan.name, tls: router.ca === undefined ? {} : { ca: router.ca } });
    case 'haproxy':
      return new HaproxyRouter({ ...router, sides: reachedAt(router, plan), servers });
  }
};

/**
 * What the routers say of the phases of a scope that they lead. Nothing blocks of one that leads only readers of them: a switch
 * moves writers, and leaves readers where they are.
 */
export const routerChecks = async (
  plan: Pick<Plan, 'phases' | 'switch'>,
  routers: ReadonlyMap<string, Router>,
  scope: Pick<RunScope, 'phases'>,
): Promise<readonly Finding[]> => {
  const phases = plan.phases.filter(({ name }) => scope.phases.has(name));
  const found = [...routers].map(async ([name, router]) => {
    const led = phases.filter((phase) => [...phase.routers, ...phase.readers].includes(name));
    if (led.length === 0) return [];
    const look = async () =>
      (await router.findings?.(
        led.map((phase) => phase.name),
        plan.switch.windowMs,
      )) ?? [];
    return led.some((phase) => phase.routers.includes(name)) ? await look() : await asWarnings(name, look);
  });
  return (await Promise.all(found)).flat();
};

/** What a look at a router of readers found, or why there was none. */
const asWarnings = async (name: string, look: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> => {
  try {
    return (await look()).map((finding) => ({ ...finding, severity: 'warns' }));
  } catch (error) {
    if (!isKind(error, 'unreachable')) throw error;
    const remedy = error.remedy ?? 'mend the router';
    return [
      {
        id: 'router/readers-mute',
        severity: 'warns',
        subject: `router ${name}`,
        fact: `it leads only readers, and could not be looked at: ${messageOf(error)}`,
        remedy: `${remedy}; until then its readers stay where they are, and a switch leaves them there`,
      },
    ];
  }
};
