import { SwitchbackError } from '../../domain/errors.ts';
import { otherSide, type Side } from '../../domain/position.ts';
import { isUnproven } from '../../domain/proof.ts';
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

/** Phases whose readers were not seen to arrive where a move led them, by routers that the plan still names. */
export const phasesUnproven = async (context: RunContext, phases: readonly string[]): Promise<readonly string[]> => {
  const led = phases.filter((phase) => routersOf(context, [phase], 'readers').length > 0);
  if (led.length === 0) return [];
  const recorded = await readReaders(context.source.sql);
  return led.filter((phase) => {
    const named = routersOf(context, [phase], 'readers').map(({ name }) => name);
    return isUnproven((recorded[phase]?.proof ?? []).filter(({ router }) => named.includes(router)));
  });
};

/**
 * Throws kind `refused` while readers are led to the source, which is not kept current after the end of the soak, or were not
 * seen to have left it.
 */
export const assertReadersMoved = async (context: RunContext, phases: readonly string[]): Promise<void> => {
  const move = (phase: string): string => `switchback cutover ${context.plan.path} ${phase} --reads`;
  const [phase] = await phasesReadOn(context, phases, 'source');
  if (phase !== undefined) {
    throw new SwitchbackError(
      'refused',
      `readers of phase ${phase} are led to the source, which does not follow the ${otherSide('source')} any more after this`,
      { remedy: `lead them to the target first: ${move(phase)}` },
    );
  }
  const [unseen] = await phasesUnproven(context, phases);
  if (unseen === undefined) return;
  throw new SwitchbackError(
    'refused',
    `readers of phase ${unseen} were not seen to arrive where they were led; the source does not follow the target any more after this`,
    { remedy: `mend their path, then ask again: ${move(unseen)}` },
  );
};
