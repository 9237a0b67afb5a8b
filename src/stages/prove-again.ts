import { isUnproven } from '../domain/proof.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { type EndedSwitch, lastProof, readSwitches, SWITCHES_ASKED_OF, writeSwitch } from '../sidecar/switches.ts';
import type { RunContext } from './context.ts';
import type { Phase } from './machine.ts';
import { type Arrival, arrivalText, assertArrived, seeArrival } from './switch/arrival.ts';
import type { Tenure } from './tenure.ts';

/** What asking again needs of the worker. */
export interface ProveTools {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly signal: AbortSignal;
}

/**
 * Asks again of phases whose clients were not seen to arrive after their last switch, and sees to the sessions that are left. What
 * is found takes the place of what was known. Throws kind `unproven` when some are still not seen there.
 */
export const proveAgain = async (tools: ProveTools, phases: readonly Phase[]): Promise<readonly string[]> => {
  const { sql } = tools.context.source;
  // A finalised phase has its fence yet, which stays until clients are seen to have arrived.
  const asked = phases.filter(({ state }) => state.name !== 'aborted' && state.name !== 'switching');
  // The end of the last phase may have taken the records with it.
  if (asked.length === 0 || !(await sidecarExists(sql))) return [];
  const switches = await readSwitches(sql, SWITCHES_ASKED_OF);
  const unproven = asked.filter(({ name }) => isUnproven(lastProof(switches, name)));
  const arrivals: Arrival[] = [];
  for (const one of switches) {
    const names = unproven.map(({ name }) => name).filter((name) => isLastOf(switches, one, name));
    if (names.length > 0) arrivals.push(await proveSwitch(tools, one, names));
  }
  for (const arrival of arrivals) assertArrived(arrival);
  return arrivals.map(arrivalText);
};

const isLastOf = (switches: readonly EndedSwitch[], one: EndedSwitch, phase: string): boolean =>
  one === switches.findLast(({ outcome, phases }) => outcome === 'committed' && phases.includes(phase));

const proveSwitch = async (
  { context, tenure, signal }: ProveTools,
  one: EndedSwitch,
  phases: readonly string[],
): Promise<Arrival> => {
  const { promise, resolve } = Promise.withResolvers<Arrival>();
  await tenure.step({ scope: one.id, phases }, 'probe', async () => {
    const arrival = await seeArrival({ context, tenure, direction: one.direction, phases, signal });
    const others = (one.document.proof ?? []).filter(({ phase }) => !phases.includes(phase));
    const document = { ...one.document, proof: [...others, ...arrival.proof] };
    await tenure.act((sql) => writeSwitch(sql, { ...one, document }));
    resolve(arrival);
    return arrivalText(arrival);
  });
  return await promise;
};
