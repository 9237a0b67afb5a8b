import type { RunContext } from './context.ts';
import { askRouters, type LedPhase } from './routes.ts';

/**
 * Lets clients go on that are held although no switch is under way; `status` tells of them. All routers are asked at once.
 * Returns what was done.
 */
export const releaseStray = async (context: RunContext, phases: readonly LedPhase[]): Promise<readonly string[]> => {
  const settled = phases.filter(({ state }) => state.name !== 'switching' && state.name !== 'aborted');
  const asked = await Promise.all(
    settled.flatMap(({ name }) =>
      (['writers', 'readers'] as const).map(async (led) => ({ name, answers: await askRouters(context, name, led) })),
    ),
  );
  const said: string[] = [];
  for (const [name, own] of Map.groupBy(asked, (one) => one.name)) {
    const answers = own.flatMap((one) => one.answers);
    for (const { router } of answers.filter(({ held }) => held)) {
      await context.routers.get(router)?.release([name]);
      const which = answers.length === 1 ? 'its router' : `its router ${router}`;
      said.push(`clients of phase ${name} were held by ${which} and go on`);
    }
  }
  return said;
};
