import type { Side } from '../../../src/domain/position.ts';
import { stepsOf } from '../../../src/domain/protocol.ts';
import type { RunRecord } from '../record.ts';
import type { Stage } from '../stage.ts';
import type { Supervisor } from '../supervisor.ts';

/** Steps of a switch at whose beginning a fault can be injected, in order. */
export const STEPS = ['checks', ...stepsOf('window'), ...stepsOf('commit'), ...stepsOf('completing')] as const;

/** When a fault is injected: while no switch is under way, right before one is asked for, at a step, or right after. */
export type Moment = 'between' | 'before' | 'after' | (typeof STEPS)[number];

/** What faults act on. */
export interface World {
  readonly stage: Stage;
  readonly supervisor: Supervisor;
  readonly record: RunRecord;
  /** Aborted when the run is to end at once. */
  readonly signal: AbortSignal;
}

/** One fault, chosen and not yet injected. */
export interface Fault {
  /** For the counts: what, and at which side. */
  readonly kind: string;
  /** The rest of what was chosen, for people. */
  readonly detail: string;
  /** How long it lasts before it is healed. */
  readonly lastsMs: number;
  /** The only moments at which it makes a difference; any when absent. */
  readonly moments?: readonly Moment[];
  inject(): Promise<void>;
  /** Takes it back, as far as there is something to take back; also when it was never injected. */
  heal(): Promise<void>;
}

/** Choices from the run's seed. */
export class Dice {
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** A number of milliseconds between the two. */
  between(least: number, most: number): number {
    return Math.round(least + this.#random() * (most - least));
  }

  side(): Side {
    return this.#random() < 0.5 ? 'source' : 'target';
  }

  chance(probability: number): boolean {
    return this.#random() < probability;
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[Math.floor(this.#random() * choices.length)] ?? choices[0];
  }

  /** A copy in another order (Fisher and Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1));
      const [a, b] = [shuffled[i] as T, shuffled[j] as T];
      shuffled[i] = b;
      shuffled[j] = a;
    }
    return shuffled;
  }
}

/** Chooses the rest of a fault of one kind. */
export type Choose = (world: World, dice: Dice) => Fault;
