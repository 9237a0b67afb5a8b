import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { otherSide, type Side } from '../../domain/position.ts';
import { isUnproven, proofText, type RouteProof } from '../../domain/proof.ts';
import { type LedReaders, type RunFacts, readReaders, writeReaders } from '../../sidecar/run.ts';
import type { RecordedRoutes } from '../../sidecar/switches.ts';
import type { RunContext } from '../context.ts';
import type { Effect } from '../effect.ts';
import { proveRoutes } from '../prove-routes.ts';
import { type RouterOfPhases, routersOf } from '../routes.ts';
import { carryOutEffect } from '../saga.ts';
import { isInDoubt, recordRoutes, repointing } from '../switch/routing.ts';
import type { Tenure } from '../tenure.ts';
import { phasesReadOn, phasesUnproven } from './where.ts';

/** What moving readers works with. */
export interface ReadersTools {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly signal: AbortSignal;
}

/** A move of readers whose intent is recorded. */
interface Move {
  readonly id: string;
  readonly to: Side;
  readonly phases: readonly string[];
  readonly routes: RecordedRoutes;
}

/**
 * Leads the readers of phases to a side. No ownership changes and nothing is fenced: a reader loses nothing on a side that
 * is consistent, which `check` makes sure of. The intent, with what the routers said before, is durable before any of them is
 * repointed on that condition; then all of them lead there, or none does and the intent is forgotten, or it is parked and
 * `resume` goes on with those that are missing.
 *
 * Then it is asked by the path that they take whether they arrive there; what is returned says it, and so does `status`.
 *
 * Throws kind `refused` and `unreachable` when nothing was changed, `parked` when something may have been.
 */
export const moveReaders = async (
  tools: ReadersTools,
  move: Pick<Move, 'to' | 'phases'>,
  check: () => Promise<void> = async () => undefined,
): Promise<readonly RouteProof[]> => {
  const { context, tenure, signal } = tools;
  const where = { scope: `reads-${tenure.epoch + 1n}`, phases: move.phases };
  const routes = await tenure.step(where, 'checks', async () => {
    await check();
    return await recordRoutes(routersOf(context, move.phases, 'readers'));
  });
  if (signal.aborted) throw new SwitchbackError('refused', 'interrupted before readers were moved; nothing was done');
  await tenure.raise();
  const begun: Move = { ...move, id: `reads-${tenure.epoch}`, routes };
  const before = await readReaders(context.source.sql);
  await store(tools, begun, 'intent', (phase) => ledBy(begun, phase, null));
  return await carryOn(tools, begun, before);
};

/** `proof` is null before the end. */
const ledBy = ({ id, to, routes }: Move, phase: string, proof: readonly RouteProof[] | null): LedReaders => ({
  move: id,
  to,
  routes: routes[phase] ?? {},
  isDone: proof !== null,
  proof: (proof ?? []).filter((one) => one.phase === phase),
});

const whereOf = ({ id, phases }: Move) => ({ scope: id, phases });

/** Records where readers of the move's phases are led, as a step. */
const store = async (
  { tenure }: ReadersTools,
  move: Move,
  step: string,
  led: (phase: string) => LedReaders | null,
): Promise<void> => {
  const act = async (): Promise<undefined> => {
    const changed = Object.fromEntries(move.phases.map((phase) => [phase, led(phase)]));
    await tenure.act((sql) => writeReaders(sql, changed));
  };
  await carryOutEffect(tenure, { where: whereOf(move), step }, { act });
};

/** Repoints what does not lead there yet. `before` is what is recorded again when nothing has been changed. */
const carryOn = async (
  tools: ReadersTools,
  move: Move,
  before: NonNullable<RunFacts['readers']>,
): Promise<readonly RouteProof[]> => {
  const { context, tenure } = tools;
  const routers = routersOf(context, move.phases, 'readers');
  const routing = { tenure, id: move.id, routers, areHeld: false, routes: move.routes };
  const attempt = watched(repointing(routing, move.to));
  try {
    await carryOutEffect(tenure, { where: whereOf(move), step: 'repoint' }, attempt.effect);
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    const isFirst = move.phases.every((phase) => before[phase]?.isDone !== false);
    // Of several phases a router may have led some before it refused the next.
    const isOne = routers.length === 1 && move.phases.length === 1;
    const hasFailed = isFirst && isOne && isKind(error, 'refused') && !attempt.wasInDoubt();
    if (isInDoubt(error) || !(await isUntouched(tools, move, hasFailed))) throw halfWay(context, move, error);
    await store(tools, move, 'undo intent', (phase) => before[phase] ?? null);
    throw error;
  }
  const proof = await prove(tools, move, routers);
  await store(tools, move, 'readers', (phase) => ledBy(move, phase, proof));
  return proof;
};

/** A refusal of a router that does not say where it leads is believed only when nothing before it was in doubt. */
const watched = (effect: Effect): { readonly effect: Effect; wasInDoubt(): boolean } => {
  let inDoubt = false;
  const act = async (): Promise<string | undefined> => {
    try {
      return await effect.act();
    } catch (error) {
      inDoubt ||= isInDoubt(error);
      throw error;
    }
  };
  return { effect: { ...effect, act }, wasInDoubt: () => inDoubt };
};

/** Both sides may be read meanwhile, so nobody waits for it. */
const prove = async (
  { context, tenure, signal }: ReadersTools,
  move: Move,
  routers: readonly RouterOfPhases[],
): Promise<readonly RouteProof[]> => {
  let proof: readonly RouteProof[] = [];
  const act = async (): Promise<string> => {
    proof = await proveRoutes(context, { routers, to: move.to, areReaders: true, signal });
    return proofText(proof);
  };
  await carryOutEffect(tenure, { where: whereOf(move), step: 'probe' }, { act });
  return proof;
};

/**
 * Whether every router is seen to be as it was. One that does not say where it leads may have been changed, unless its repoint
 * has failed for certain.
 */
const isUntouched = async (
  { context }: ReadersTools,
  { phases, routes }: Move,
  hasFailed: boolean,
): Promise<boolean> => {
  const now = await recordRoutes(routersOf(context, phases, 'readers')).catch(() => null);
  return (
    now !== null &&
    phases.every((phase) =>
      Object.entries(now[phase] ?? {}).every(([router, route]) => {
        const was = routes[phase]?.[router];
        const isKnown = route.primary !== null || hasFailed;
        return isKnown && route.primary === was?.primary && route.version === was.version;
      }),
    )
  );
};

const halfWay = (context: RunContext, { to, phases }: Move, cause: unknown): SwitchbackError => {
  const { plan } = context;
  const names = phases.join(' ');
  return new SwitchbackError(
    'parked',
    `readers of ${phases.join(', ')} are on their way to the ${to} and not all there: ${messageOf(cause)}`,
    {
      remedy: `mend the cause, then: switchback resume ${plan.path} ${names}; or lead them back: ${commandOf(context, phases, otherSide(to))}; ${goneText(plan)}`,
      cause,
    },
  );
};

/** The way out where a router will not answer any more: every move asks all of them. */
const goneText = ({ path }: RunContext['plan']): string =>
  `if a router is gone for good: lead those that answer by hand, take it out of \`reads\` in ${path}, accept that once (run --accept-plan), and give the command again`;

/**
 * Goes on with moves that an earlier process has begun, of the phases among `phases`; `check` is asked before readers are led
 * on to a side. Returns what became of them. Throws kind `unproven`, with what became of all of them, when any were not seen
 * to arrive.
 */
export const resumeReaders = async (
  tools: ReadersTools,
  phases: readonly string[],
  check: (phases: readonly string[], to: Side) => Promise<void>,
): Promise<readonly string[]> => {
  const recorded = await readReaders(tools.context.source.sql);
  const open = Object.entries(recorded).filter(([phase, led]) => !led.isDone && phases.includes(phase));
  const said: string[] = [];
  const unseen: Move[] = [];
  for (const [id, own] of Map.groupBy(open, ([, led]) => led.move)) {
    const [, first] = own[0] ?? [];
    if (!first) continue;
    const names = own.map(([phase]) => phase);
    const routes = Object.fromEntries(own.map(([phase, led]) => [phase, led.routes]));
    await check(names, first.to);
    // Nothing older is known any more: one that turns out to be untouched stays to be resumed.
    const move: Move = { id, to: first.to, phases: names, routes };
    const proof = await carryOn(tools, move, recorded);
    if (isUnproven(proof)) unseen.push(move);
    said.push(`${readersSaid(names, first.to)}; ${proofText(proof)}`);
  }
  if (unseen.length === 0) return said;
  const again = unseen.map(({ to, phases: names }) => commandOf(tools.context, names, to)).join('; ');
  throw new SwitchbackError('unproven', said.join('; '), { remedy: `mend their path, then ask again: ${again}` });
};

/** What leads readers of phases to a side, and asks again whether they have arrived there. */
const commandOf = ({ plan }: RunContext, phases: readonly string[], to: Side): string =>
  `switchback ${to === 'target' ? 'cutover' : 'failback'} ${plan.path} ${phases.join(' ')} --reads`;

/** What is said of readers that have been moved. */
export const readersSaid = (phases: readonly string[], to: Side): string =>
  `readers of ${phases.join(', ')} are led to the ${to} now`;

/**
 * Leads readers back to the source before the target becomes useless to them. Throws kind `refused` when they cannot be;
 * `what` is then not begun.
 */
export const leadReadersBack = async (
  tools: ReadersTools,
  { phases, what }: { readonly phases: readonly string[]; readonly what: string },
): Promise<void> => {
  const { context } = tools;
  const found = [await phasesReadOn(context, phases, 'target'), await phasesUnproven(context, phases)].flat();
  // Whoever was not seen to come back may read there still, whatever their router says; to lead them once more asks again.
  const astray = phases.filter((phase) => found.includes(phase));
  if (astray.length === 0) return;
  try {
    const proof = await moveReaders(tools, { phases: astray, to: 'source' });
    if (isUnproven(proof)) throw new SwitchbackError('unproven', proofText(proof));
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    const names = astray.join(', ');
    throw new SwitchbackError(
      'refused',
      `readers of ${names} could not be led back to the source, so the ${what} was not begun: ${messageOf(error)}`,
      { remedy: `mend their router, then give the command again; ${goneText(context.plan)}`, cause: error },
    );
  }
  context.emit({ type: 'note', phase: null, text: readersSaid(astray, 'source') });
};
