import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Side } from '../../src/domain/position.ts';
import type { Repoint, Router } from '../../src/routers/router.ts';
import type { Network } from './network.ts';
import type { Process } from './world.ts';

/** What is wrong with a router for a while: it does not answer; it acts and does not say so; it says so and does not act. */
export type RouterFault = 'fails' | 'times out after success' | 'lies';

interface Entry {
  primary: Side;
  isHeld: boolean;
  version: number;
}

/** What clients follow: one entry per phase, durable, shared by all machines. */
export class Routes {
  readonly #entries = new Map<string, Entry>();
  fault: RouterFault | null = null;
  /** Some routers can only lead elsewhere: clients write until the fence refuses them. */
  canHold = true;
  #epoch = 0n;

  constructor(phases: readonly string[], earlier?: Routes) {
    for (const phase of phases)
      this.#entries.set(phase, { ...(earlier?.entry(phase) ?? { primary: 'source', isHeld: false, version: 1 }) });
    this.#epoch = earlier?.epoch ?? 0n;
  }

  /** The newest epoch that repointed anything. */
  get epoch(): bigint {
    return this.#epoch;
  }

  /** Where a phase's clients are led. */
  entry(phase: string): Entry {
    const found = this.#entries.get(phase);
    if (!found) throw new Error(`no route for phase ${phase}`);
    return found;
  }

  /** As a person at the router would: leads a phase to a side whatever anybody expected. */
  correct(phase: string, primary: Side): void {
    const entry = this.entry(phase);
    entry.isHeld = false;
    if (entry.primary === primary) return;
    entry.primary = primary;
    entry.version += 1;
  }

  /** Whether a repoint may be done: the condition that the port documents. */
  repoint({ phases, to, expect, epoch }: Repoint): void {
    const moving = phases.filter((phase) => this.entry(phase).primary !== to);
    const changed = moving.filter((phase) => String(this.entry(phase).version) !== expect[phase]);
    if (epoch < this.#epoch) throw new SwitchbackError('refused', `the router knows epoch ${this.#epoch}`);
    if (changed.length > 0)
      throw new SwitchbackError('refused', `somebody has changed the route of ${changed.join(', ')}`);
    this.#epoch = epoch;
    for (const phase of moving) {
      const entry = this.entry(phase);
      entry.primary = to;
      entry.version += 1;
    }
  }
}

/** The router's port for one process. */
export const simulatedRouter = (network: Network, process: Process, routes: Routes): Router => {
  const { world } = network;
  const unreachable = (): SwitchbackError => new SwitchbackError('unreachable', 'the router does not answer');
  const act = <T>(label: string, work: () => T): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    if (process.state === 'dead') return promise;
    const effect = { process, label: `router ${label}` };
    if (process.state === 'paused')
      return new Promise<void>((wake) => void world.schedule(process, 0, `${process.holder} goes on`, wake)).then(() =>
        act(label, work),
      );
    const answer = (then: () => void): void =>
      void world.schedule(process, world.between(0.1, 1), `${process.holder} router answered`, then);
    world.schedule(null, world.between(0.1, 1), `${process.holder} router: ${label}`, () => {
      if (routes.fault === 'fails') return answer(() => reject(unreachable()));
      const happen = (): void => {
        let value: T;
        try {
          value = routes.fault === 'lies' && label === 'repoint' ? (undefined as T) : work();
        } catch (error) {
          answer(() => reject(error));
          return;
        }
        if (label !== 'observe' && network.hooks.onEffect(effect, 'after') === 'die') return;
        const isLost = routes.fault === 'times out after success' && label !== 'observe';
        const unknown = (): SwitchbackError => new SwitchbackError('unknown', 'the router did not answer in time');
        answer(() => (isLost ? reject(unknown()) : resolve(value)));
      };
      if (label === 'observe') happen();
      else network.strike(effect, happen);
    });
    return label === 'observe' ? promise : network.replied(effect, promise);
  };
  const mark = (phases: readonly string[], isHeld: boolean): void => {
    for (const phase of phases) routes.entry(phase).isHeld = isHeld;
  };
  return {
    observe: (phase) =>
      act('observe', () => {
        const { primary, isHeld, version } = routes.entry(phase);
        return { primary, held: isHeld, version: String(version) };
      }),
    hold: (phases) => act('hold', () => mark(phases, routes.canHold)),
    repoint: (repoint) => act('repoint', () => routes.repoint(repoint)),
    release: (phases) => act('release', () => mark(phases, false)),
  };
};
