import { resolve } from 'node:path';
import type { z } from 'zod';
import type { haproxyRouter } from './haproxy-schema.ts';
import { byPhase, withFiles, written } from './instances.ts';
import { listOf } from './values.ts';

/** What the server's line says when it leads to a side, where it is not what the side's URL says. */
export interface ProxiedSidePlan {
  readonly host?: string;
  readonly port?: number;
}

/** A server of a backend, and the frontend by which clients come to it. */
export interface ProxyLeadPlan {
  readonly frontend: string;
  readonly server: { readonly backend: string; readonly server: string };
}

/** Processes of HAProxy that lead the same applications. */
export interface HaproxyRouterPlan {
  readonly kind: 'haproxy';
  /** Files are absolute, and so are sockets that are paths. One file may be that of several processes. */
  readonly instances: readonly { readonly socket: string; readonly config: string }[];
  /** What leads each phase that the router leads. */
  readonly leads: ReadonlyMap<string, ProxyLeadPlan>;
  readonly sessions: 'end' | 'keep';
  readonly source: ProxiedSidePlan;
  readonly target: ProxiedSidePlan;
}

type HaproxyDocument = z.output<typeof haproxyRouter>;

const leadOf = (name: string, frontend: string | undefined): ProxyLeadPlan => {
  const [backend = '', server = ''] = name.split('/');
  return { frontend: frontend ?? backend, server: { backend, server } };
};

/** A HAProxy as the plan sets it up; `phases` are those that it leads. */
export const haproxyOf = (
  router: HaproxyDocument,
  { directory, phases }: { readonly directory: string; readonly phases: readonly string[] },
): HaproxyRouterPlan => {
  const sockets = listOf(router.socket).map((socket) => (socket.includes('/') ? resolve(directory, socket) : socket));
  const servers = byPhase(router.server, router.servers, phases);
  const leads = [...servers].map(
    ([phase, name]) => [phase, leadOf(name, router.frontend ?? router.frontends?.[phase])] as const,
  );
  return {
    kind: 'haproxy',
    instances: withFiles(sockets, router.config, directory).map(([socket, config]) => ({ socket, config })),
    leads: new Map(leads),
    sessions: router.sessions,
    source: written(router.source),
    target: written(router.target),
  };
};
