import { type ErrorKind, isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import type { RecordedRoute, RecordedRoutes, SwitchDocument } from '../../sidecar/switches.ts';
import type { RunContext } from '../context.ts';
import { type Effect, untilKnown } from '../effect.ts';
import { type RouterOfPhases, routersOf } from '../routes.ts';
import { carryOutEffect } from '../saga.ts';
import type { Tenure } from '../tenure.ts';

/**
 * What is done to routers of phases, one after the other in the plan's order. In a switch: before the commit record the
 * first that fails ends it. After it, and when it is undone, each is tried whatever became of those before it, because
 * clients of a router that works must not wait for one that does not.
 */

/** Routers that are led to a side. */
export interface Routing {
  readonly tenure: Tenure;
  /** The scope of the steps in the journal: the id of the switch, or of the readers' move. */
  readonly id: string;
  /** In the order in which they act. */
  readonly routers: readonly RouterOfPhases[];
  /** Whether their clients have been held, so that they are released when another router keeps them waiting. */
  readonly areHeld: boolean;
  /** As recorded before anything was done to them. */
  readonly routes: SwitchDocument['routes'];
}

/** Where routers lead their phases, as it is recorded before they are held. */
export const recordRoutes = async (routers: readonly RouterOfPhases[]): Promise<RecordedRoutes> => {
  const routes: Record<string, Record<string, RecordedRoute>> = {};
  for (const { name, router, phases: led } of routers) {
    for (const phase of led) {
      const { primary, version } = await router.observe(phase);
      routes[phase] = { ...routes[phase], [name]: { primary, version } };
    }
  }
  return routes;
};

/** Has all routers keep clients waiting. `left` gives the milliseconds that are left for it. */
export const holdRouters = async (
  context: RunContext,
  phases: readonly string[],
  left: () => number,
): Promise<void> => {
  const routers = routersOf(context, phases);
  for (const { name, router, phases: led } of routers) {
    try {
      await router.hold(led, left());
    } catch (error) {
      throw routers.length === 1 ? error : ofRouter(name, error);
    }
  }
};

const ofRouter = (name: string, error: unknown): unknown => {
  if (!(error instanceof SwitchbackError)) return error;
  const { kind, message, remedy, findings } = error;
  const details = { findings, cause: error, ...(remedy === undefined ? {} : { remedy }) };
  return new SwitchbackError(kind, `router ${name}: ${message}`, details);
};

/** Lets clients of all routers go on. Not probed: a router need not know whether it holds. */
export const releasing = (routers: readonly RouterOfPhases[]): Effect => ({
  act: async () => {
    const release = (one: RouterOfPhases) => one.router.release(one.phases);
    const [only] = routers;
    if (routers.length === 1 && only) await release(only);
    else await tryEach(routers, (one) => untilKnown({ act: async () => void (await release(one)) }));
    return undefined;
  },
});

/**
 * Leads all routers to a side. Of several each is a step of its own, so that the journal says which of them have come there;
 * those that have let their clients go on before the others are tried again.
 */
export const repointing = (s: Routing, to: Side): Effect => {
  const { routers } = s;
  const [only] = routers;
  if (routers.length === 1 && only) return repointingOne(s, only, to);
  const done = new Map<RouterOfPhases, 'led' | 'released'>();
  const act = async (): Promise<undefined> => {
    const missing = await farFirst(
      routers.filter((one) => !done.has(one)),
      to,
    );
    const ledBefore = routers.filter((one) => done.has(one)).map(({ name }) => name);
    const lead = async (one: RouterOfPhases): Promise<void> => {
      await carryOutEffect(s.tenure, placeOf(s, one, 'repoint'), repointingOne(s, one, to));
      done.set(one, 'led');
    };
    try {
      await tryEach(missing, lead, ledBefore);
    } catch (error) {
      if (isKind(error, 'deposed')) throw error;
      for (const [one, stands] of done) {
        if (s.areHeld && stands === 'led' && (await releaseEarly(s, one))) done.set(one, 'released');
      }
      throw error;
    }
  };
  return { act };
};

/**
 * Those that lead there already come last: finishing what is left of one may take a minute (Route 53), and clients of the
 * others may be held. In the order of the plan otherwise.
 */
const farFirst = async (routers: readonly RouterOfPhases[], to: Side): Promise<readonly RouterOfPhases[]> => {
  const looked = await Promise.all(
    routers.map(async (one) => ({ one, isThere: await leads(one, to).catch(() => false) })),
  );
  return [...looked.filter(({ isThere }) => !isThere), ...looked.filter(({ isThere }) => isThere)].map(
    ({ one }) => one,
  );
};

const leads = async ({ router, phases }: RouterOfPhases, to: Side): Promise<boolean> => {
  const routes = await Promise.all(phases.map((phase) => router.observe(phase)));
  return routes.every(({ primary }) => primary === to);
};

const placeOf = ({ id }: Routing, { name, phases }: RouterOfPhases, step: string) => ({
  where: { scope: id, phases },
  step: `${step} ${name}`,
});

/** Whether it was released. If not, the step that releases all of them comes to it. */
const releaseEarly = async (s: Routing, one: RouterOfPhases): Promise<boolean> => {
  const act = async (): Promise<undefined> => void (await one.router.release(one.phases));
  try {
    await carryOutEffect(s.tenure, placeOf(s, one, 'release'), { act });
    return true;
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    return false;
  }
};

/**
 * A router that leads there may not be done: an earlier process died before it ended the sessions that are left, a person led
 * it there and restarted nobody, or a server is drained. Its own repoint, which may be repeated, knows what is left to do.
 */
const repointingOne = (s: Routing, one: RouterOfPhases, to: Side): Effect => ({
  actsAnyway: true,
  // One of several poolers that is gone is no reason to keep clients of the others waiting: the act lets them go on.
  probe: async () => ((await leads(one, to).catch(unlessUnreachable)) ? '' : null),
  act: async () => {
    const { name, router, phases } = one;
    await router.repoint({ phases, to, expect: expectedOf(s, name, phases), epoch: s.tenure.epoch });
    return undefined;
  },
});

const unlessUnreachable = (error: unknown): false => {
  if (isKind(error, 'unreachable')) return false;
  throw error;
};

/** The versions that a router had of its phases. One that is not recorded is no condition that a router can meet. */
const expectedOf = (s: Routing, name: string, phases: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    phases.flatMap((phase) => {
      const recorded = s.routes[phase];
      const isFirst = s.routers.find((one) => one.phases.includes(phase))?.name === name;
      const version = typeof recorded === 'string' ? (isFirst ? recorded : undefined) : recorded?.[name]?.version;
      return version === undefined ? [] : [[phase, version]];
    }),
  );

/**
 * Does something with each router, then fails if any of them has: with what each said, and which are done. Throws kind
 * `refused` when all that failed did so for certain, `parked` when it is not known of one of them, else `unreachable`.
 */
const tryEach = async (
  routers: readonly RouterOfPhases[],
  work: (one: RouterOfPhases) => Promise<unknown>,
  doneBefore: readonly string[] = [],
): Promise<void> => {
  const done = [...doneBefore];
  const failed: { readonly name: string; readonly error: unknown }[] = [];
  for (const one of routers) {
    try {
      await work(one);
      done.push(one.name);
    } catch (error) {
      if (isKind(error, 'deposed')) throw error;
      failed.push({ name: one.name, error });
    }
  }
  if (failed.length === 0) return;
  const said = failed.map(({ name, error }) => `router ${name}: ${messageOf(error)}`).join('; ');
  const text = `${said}; done: ${done.length === 0 ? 'none' : done.join(', ')}`;
  const kind = kindOfAll(failed.map(({ error }) => error));
  throw new SwitchbackError(kind, text, { cause: failed[0]?.error });
};

/** What was refused is refused again; for what could not be reached it is worth to try once more. */
const kindOfAll = (errors: readonly unknown[]): ErrorKind => {
  // Each was looked up for as long as that makes sense, so the whole is not looked up once more.
  if (errors.some(isInDoubt)) return 'parked';
  return errors.every((error) => isKind(error, 'refused')) ? 'refused' : 'unreachable';
};

/** Whether it is not known what became of an act, and cannot be looked up now. */
export const isInDoubt = (error: unknown): boolean => isKind(error, 'unknown') || isKind(error, 'parked');
