import { type Choose, type Dice, type Fault, type Moment, STEPS, type World } from './fault.ts';

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
    const choose = this.#leftKinds.pop();
    if (!choose) throw new Error('the deck holds no kind of fault');
    const fault = choose(world, this.#dice);
    return { fault, moment: this.#dealMoment(fault.moments ?? MOMENTS) };
  }

  #dealMoment(allowed: readonly Moment[]): Moment {
    if (this.#leftMoments.length === 0) this.#leftMoments = this.#dice.shuffle(MOMENTS);
    const index = this.#leftMoments.findLastIndex((moment) => allowed.includes(moment));
    const [dealt] = index < 0 ? this.#dice.shuffle(allowed) : this.#leftMoments.splice(index, 1);
    return dealt ?? 'between';
  }
}
