import type { PlanDocument } from './schema.ts';
import { listOf } from './values.ts';

/** How it is proven that a router leads its clients where it was told to. */
export interface ProbePlan {
  /** Connection URLs, secrets, of the paths that clients of each phase take. */
  readonly urls: ReadonlyMap<string, readonly string[]>;
  /** How long after a repoint a path may still lead elsewhere. */
  readonly withinMs: number;
}

/** The probes of a plan's routers, by the router's name. */
export const probesOf = ({ routers, phases }: PlanDocument): ReadonlyMap<string, ProbePlan> =>
  new Map(
    Object.entries(routers).flatMap(([name, { probe }]) => {
      if (probe === undefined) return [];
      const led = phases
        .filter(({ router, reads }) => [router, reads ?? []].flat().includes(name))
        .map((phase) => phase.name);
      const urls = probe.urls ?? Object.fromEntries(led.map((phase) => [phase, probe.url ?? []]));
      const lists = Object.entries(urls).map(([phase, url]) => [phase, listOf(url)] as const);
      return [[name, { urls: new Map(lists), withinMs: probe.within }] as const];
    }),
  );
