import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Side } from '../../domain/position.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { inTurn } from '../in-turn.ts';
import type { Repoint, Route, Router } from '../router.ts';
import { inspect } from './checks.ts';
import { Cluster } from './cluster.ts';
import type { Access } from './kubeconfig.ts';
import { heldPatch, type PatchBody, type Place, type PlaceName } from './places.ts';
import { type Objects, refText } from './resources.ts';
import { restart, untilRestarted, type WorkloadRef } from './rollout.ts';
import {
  annotation,
  changeOf,
  type Destinations,
  type Led,
  repointPatch,
  type StoredRoute,
  storedRoute,
} from './route.ts';
import { destinationsOf, type LedSide } from './sides.ts';

/** Which objects of which cluster, and what they lead where. */
export interface KubernetesOptions extends Access {
  readonly namespace: string;
  /** What leads each phase; no two phases share a key, or an object that has none. */
  readonly places: ReadonlyMap<string, Place>;
  readonly sides: Readonly<Record<Side, LedSide>>;
  /** What reads the objects only when it starts. */
  readonly workloads: readonly WorkloadRef[];
  /** For each wait until they are restarted. */
  readonly restartWithinMs: number;
}

/** How often a change is begun anew because somebody else wrote in between, before an object counts as contended. */
const MAX_ATTEMPTS = 20;

/** A merge patch of one phase: a part of its object, and annotations. Null when nothing is to change. */
type PatchOf = (led: Led, object: Objects[PlaceName]) => PartialPatch | null;

interface PartialPatch {
  readonly body: PatchBody;
  readonly annotations?: Readonly<Record<string, string>>;
}

const groupOf = (led: Led): string => refText(led.place.ref);

/** Phases by the object that leads them. */
const byObject = (leds: readonly Led[]): readonly (readonly [Led, ...Led[]])[] => {
  const groups = new Map<string, [Led, ...Led[]]>();
  for (const led of leds) {
    const group = groups.get(groupOf(led));
    if (group === undefined) groups.set(groupOf(led), [led]);
    else group.push(led);
  }
  return [...groups.values()];
};

/** One patch for several phases of an object: they have different keys. */
const merged = (patches: readonly PartialPatch[], resourceVersion: string | undefined): object => {
  const { data, ...rest }: PatchBody = Object.assign({}, ...patches.map(({ body }) => body));
  const all: Readonly<Record<string, string>> = Object.assign({}, ...patches.map(({ body }) => body.data));
  const annotations: object = Object.assign({}, ...patches.map((patch) => patch.annotations));
  return { ...rest, ...(data === undefined ? {} : { data: all }), metadata: { resourceVersion, annotations } };
};

const tooLate = (what: string): SwitchbackError =>
  new SwitchbackError('unreachable', `no time was left to hold ${what}`, { remedy: 'raise switch.window' });

/**
 * Leads clients by objects of a Kubernetes cluster. Each is changed by one conditional write, together with what we keep of
 * the phase in its annotations; several phases of one object by the same. A conflict makes it look again, so that what
 * others change in the object does not matter until it is our phase. Several objects have no transaction over them: all are
 * looked at before the first is written, and what is refused between them is left to a person.
 *
 * Clients cannot be kept waiting; only an application that reads a key for it can keep itself. Workloads that read the object
 * at their start are restarted after it has changed. A phase's primary is neither side until that is done and recorded at
 * the object, so a repoint that was broken off is completed by the repeated one.
 */
export class KubernetesRouter implements Router {
  readonly #options: KubernetesOptions;
  readonly #cluster: Cluster;
  readonly #destinations: ReadonlyMap<string, Destinations>;

  constructor(options: KubernetesOptions) {
    this.#options = options;
    this.#cluster = new Cluster(options);
    const { places, sides } = options;
    this.#destinations = new Map([...places].map(([phase, place]) => [phase, destinationsOf(place, sides)]));
  }

  async observe(phase: string): Promise<Route> {
    const led = this.#led(phase);
    const route = storedRoute(led.place, await this.#cluster.read(led.place.ref), led);
    return { primary: this.#isPending(route) ? null : route.side, held: route.held, version: route.version };
  }

  /** An application that is not told to wait by a key cannot be kept waiting. */
  async hold(phases: readonly string[], budgetMs: number): Promise<void> {
    const deadline = monotonicMs() + budgetMs;
    const telling = this.#telling(phases);
    const wait: PatchOf = ({ phase, place, destinations }, object) =>
      storedRoute(place, object, { phase, destinations }).held ? null : { body: heldPatch(place, true) };
    for (const leds of byObject(telling)) await this.#change(leds, wait, deadline);
  }

  /**
   * Always writes, where an application is told to wait: a hold that was given up may be on its way to the server still,
   * and an object that has changed in between refuses it. One that fails keeps no other from being told.
   */
  async release(phases: readonly string[]): Promise<void> {
    const goOn: PatchOf = ({ phase, place }, object) => ({
      body: heldPatch(place, false),
      annotations: { [annotation(phase, 'released')]: object.metadata?.resourceVersion ?? '' },
    });
    const failures: unknown[] = [];
    for (const leds of byObject(this.#telling(phases))) {
      await this.#change(leds, goOn).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  async repoint(repoint: Repoint): Promise<void> {
    const objects = byObject(repoint.phases.map((phase) => this.#led(phase)));
    // The conditions of all are looked at before the first is written.
    for (const leds of objects) {
      const object = await this.#cluster.read(leds[0].place.ref);
      for (const led of leds) changeOf(repoint, led.phase, storedRoute(led.place, object, led));
    }
    const lead: PatchOf = ({ phase, place, destinations }, object) =>
      repointPatch(place, object, { phase, destinations, repoint });
    for (const leds of objects) await this.#change(leds, lead);
    failpoint('kubernetes:written');
    await this.#restartAll(objects);
  }

  /** What would keep it from leading clients of the phases. */
  async findings(phases: readonly string[]): Promise<readonly Finding[]> {
    const leds = phases.map((phase) => this.#led(phase));
    return await inspect({ cluster: this.#cluster, leds, workloads: this.#options.workloads });
  }

  #led(phase: string): Led {
    const place = this.#options.places.get(phase);
    const destinations = this.#destinations.get(phase);
    if (place === undefined || destinations === undefined) {
      throw new SwitchbackError('internal', `the router has no object for phase ${phase}`);
    }
    return { phase, place, destinations };
  }

  #telling(phases: readonly string[]): readonly Led[] {
    return phases.map((phase) => this.#led(phase)).filter(({ place }) => place.held !== null);
  }

  /** Whether something still runs that read the object before its last change. */
  #isPending({ change, restarted }: StoredRoute): boolean {
    return this.#options.workloads.length > 0 && change !== null && restarted !== change;
  }

  /** Changes one object by one write, and looks again as long as others write in between. */
  async #change(leds: readonly [Led, ...Led[]], patchOf: PatchOf, deadline = Number.POSITIVE_INFINITY): Promise<void> {
    const { ref } = leds[0].place;
    const left = (): number => {
      const leftMs = deadline - monotonicMs();
      if (leftMs <= 0) throw tooLate(refText(ref));
      return leftMs;
    };
    await inTurn(`${this.#cluster.namespace} ${refText(ref)}`, async () => {
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
        const object = await this.#cluster.read(ref, left());
        const patches = leds.flatMap((led) => patchOf(led, object) ?? []);
        if (patches.length === 0) return;
        const body = merged(patches, object.metadata?.resourceVersion);
        if (await this.#cluster.patch(ref, body, { withinMs: left() })) return;
      }
      throw new SwitchbackError(
        'unreachable',
        `${refText(ref)} was changed by others ${MAX_ATTEMPTS} times while we did`,
        {
          remedy: 'see who writes there all the time; it is tried again',
        },
      );
    });
  }

  /** Restarts what reads the objects at its start, once for all phases, and records at the objects that it was. */
  async #restartAll(objects: readonly (readonly [Led, ...Led[]])[]): Promise<void> {
    const { workloads, restartWithinMs } = this.#options;
    if (workloads.length === 0) return;
    const changes = new Map<string, string>();
    for (const leds of objects) {
      const object = await this.#cluster.read(leds[0].place.ref);
      for (const led of leds) {
        const route = storedRoute(led.place, object, led);
        if (this.#isPending(route) && route.change !== null) changes.set(led.phase, route.change);
      }
    }
    if (changes.size === 0) return;
    for (const ref of workloads) await restart(this.#cluster, ref, changes);
    failpoint('kubernetes:restarted');
    const deadline = monotonicMs() + restartWithinMs;
    for (const ref of workloads) await untilRestarted(this.#cluster, ref, { deadline, withinMs: restartWithinMs });
    const record: PatchOf = ({ phase, place, destinations }, object) => {
      const change = changes.get(phase);
      // Whoever has repointed it meanwhile restarts for that.
      if (change === undefined || storedRoute(place, object, { phase, destinations }).change !== change) return null;
      return { body: {}, annotations: { [annotation(phase, 'restarted')]: change } };
    };
    for (const leds of objects) await this.#change(leds, record);
  }
}
