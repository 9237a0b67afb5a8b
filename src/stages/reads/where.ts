import { SwitchbackError } from '../../domain/errors.ts';
import { otherSide, type Side } from '../../domain/position.ts';
import { readReaders } from '../../sidecar/run.ts';
import type { RunContext } from '../context.ts';
import { askRouters, routersOf } from '../routes.ts';

/** Phases any of whose readers are led to a side, as their routers say, or else as it is recorded, or else from the start. */
export const phasesReadOn = async (
  context: RunContext,
  phases: readonly string[],
  side: Side,
): Promise<readonly string[]> => {
  const led = phases.filter((phase) => routersOf(context, [phase], 'readers').length > 0);
  if (led.length === 0) return [];
  const recorded = await readReaders(context.source.sql);
  const found = await Promise.all(
    led.map(async (phase) => {
      const answers = await askRouters(context, phase, 'readers');
      const known = recorded[phase];
      // A move that has not ended may have led them to either side.
      const isUnder = known !== undefined && !known.isDone;
      return answers.some(({ primary }) => isUnder || (primary ?? known?.to ?? 'source') === side) ? [phase] : [];
    }),
  );
  return found.flat();
};

/** Throws kind `refused` while readers are led to the source, which is not kept current after the end of the soak. */
export const assertReadersMoved = async (context: RunContext, phases: readonly string[]): Promise<void> => {
  const [phase] = await phasesReadOn(context, phases, 'source');
  if (phase === undefined) return;
  throw new SwitchbackError(
    'refused',
    `readers of phase ${phase} are led to the source, which does not follow the ${otherSide('source')} any more after this`,
    { remedy: `lead them to the target first: switchback cutover ${context.plan.path} ${phase} --reads` },
  );
};
