/** How many connections a copy uses, and what it is trying. */
export interface Climb {
  readonly connections: number;
  /** The number before the one that is being tried, with its bytes per second; null while nothing is tried. */
  readonly from: { readonly connections: number; readonly rate: number } | null;
  /** What to try next: one more or one less. */
  readonly step: 1 | -1;
  /** Measurements to let pass before the next trial. */
  readonly rest: number;
}

/** A few, which any server has to spare. */
export const FIRST_CLIMB: Climb = { connections: 2, from: null, step: 1, rest: 0 };

/** Each takes a session of the application's on either side, whatever it would bring. */
const MOST_CONNECTIONS = 8;
/** One connection more has to bring this; measurements differ by a few per cent by themselves. */
const WORTH_ONE_MORE = 1.07;
/** One connection less may cost this. */
const WORTH_KEEPING = 0.97;
const REST = 5;

/**
 * The next number of connections, from the bytes per second that were measured with the present one: a climber that stays
 * with one more only if that is clearly faster, and with one less if that is about as fast. It never stops trying, because
 * what a server can give changes while a copy takes hours, but rests between trials that brought nothing.
 */
export const nextClimb = (climb: Climb, rate: number): Climb => {
  const { connections, from, step } = climb;
  if (from === null) {
    if (climb.rest > 0) return { ...climb, rest: climb.rest - 1 };
    return trial(connections, rate, step);
  }
  const isWorth = rate >= from.rate * (step === 1 ? WORTH_ONE_MORE : WORTH_KEEPING);
  if (isWorth) return trial(connections, rate, step);
  return { connections: from.connections, from: null, step: step === 1 ? -1 : 1, rest: REST };
};

const trial = (connections: number, rate: number, step: 1 | -1): Climb => {
  const next = connections + step;
  if (next < 1 || next > MOST_CONNECTIONS) return { connections, from: null, step: step === 1 ? -1 : 1, rest: REST };
  return { connections: next, from: { connections, rate }, step, rest: 0 };
};
