import type { Choose, Dice, Fault, World } from './fault.ts';

/** Steps of a switch at whose beginning a fault can be injected, in order. */
export const STEPS = [
  'checks',
  'hold',
  'fence',
  'position',
  'drain',
  'prove',
  'sequences',
  'way back',
  'commit',
  'repoint',
  'lift',
  'release',
  'retire',
  'states',
] as const;

/** When a fault is injected: while no switch is under way, right before one is asked for, at a step, or right after. */
export type Moment = 'between' | 'before' | 'after' | (typeof STEPS)[number];

const MOMENTS: readonly Moment[] = ['between', 'before', 'after', ...STEPS];

/** A fault and its moment. */
export interface Card {
  readonly fault: Fault;
  readonly moment: Moment;
}

/**
 * Deals kinds and moments, each from a deck of its own that is shuffled by the seed and dealt to its end, so that a run
 * meets all kinds and all moments before it meets one of them twice.
 */
export class Deck {
  readonly #kinds: readonly Choose[];
  readonly #dice: Dice;
  #leftKinds: Choose[] = [];
  #leftMoments: Moment[] = [];

  constructor(kinds: readonly Choose[], dice: Dice) {
    this.#kinds = kinds;
    this.#dice = dice;
  }

  deal(world: World): Card {
    if (this.#leftKinds.length === 0) this.#leftKinds = this.#dice.shuffle(this.#kinds);
    if (this.#leftMoments.length === 0) this.#leftMoments = this.#dice.shuffle(MOMENTS);
    const choose = this.#leftKinds.pop();
    const moment = this.#leftMoments.pop();
    if (!choose || !moment) throw new Error('the deck holds no kind of fault');
    return { fault: choose(world, this.#dice), moment };
  }
}
