import { messageOf } from '../domain/errors.ts';
import type { Finding } from '../domain/finding.ts';
import type { RunContext } from './context.ts';

/**
 * What would keep a switch from proving that its clients have arrived: a router without a probe, or one whose path cannot be asked
 * now. Nothing here blocks: a switch is safe without it, and an application may well be down before it is moved.
 */
export const probeFindings = async (context: RunContext, phases: Iterable<string>): Promise<readonly Finding[]> => {
  const names = new Set(phases);
  const led = context.plan.phases.filter(({ name }) => names.has(name));
  const pairs = led.flatMap(({ name, routers, readers }) =>
    [...routers, ...readers].map((router) => ({ router, phase: name })),
  );
  const unasked = [...Map.groupBy(pairs, ({ router }) => router)].flatMap(([router, own]) => {
    const without = own.filter(({ phase }) => context.probes(router, phase).paths.length === 0);
    return without.length === 0 ? [] : [noProbe(router, without.map(({ phase }) => phase).join(', '))];
  });
  const paths = pairs.flatMap((pair) =>
    context.probes(pair.router, pair.phase).paths.map((path) => ({ path, ...pair })),
  );
  const failing = await Promise.all(
    paths.map(async ({ path, router, phase }): Promise<Finding | null> => {
      try {
        await path.ask();
        return null;
      } catch (error) {
        return {
          id: 'proof/fails',
          severity: 'warns',
          subject: `router ${router}`,
          fact: `the path of phase ${phase}'s clients, ${path.name}, could not be asked: ${messageOf(error)}`,
          remedy: `mend the path, or correct routers.${router}.probe; a switch would end with exit code 6`,
        };
      }
    }),
  );
  return [...unasked, ...failing.flatMap((finding) => finding ?? [])];
};

const noProbe = (router: string, phases: string): Finding => ({
  id: 'proof/none',
  severity: 'warns',
  subject: `router ${router}`,
  fact: `nothing proves that it leads clients of phase ${phases} where a switch has led them`,
  remedy: `where clients have a path of one URL (a pooler, a name, a proxy), write it as routers.${router}.probe.url; elsewhere look at the sessions left, which every switch and status tell`,
});
