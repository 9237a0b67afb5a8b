import { type Part, SWITCH_STEPS, type SwitchStep } from '../../src/domain/protocol.ts';

const STEPS: readonly SwitchStep[] = SWITCH_STEPS;

const stepOf = (part: Part, name: string): SwitchStep => {
  const step = STEPS.find((one) => one.part === part && one.name === name);
  if (!step) throw new Error(`the protocol has no step "${name}" in ${part}`);
  return step;
};

/** The table with one step done right before another, in that one's part. */
const before = (step: SwitchStep, other: SwitchStep): readonly SwitchStep[] =>
  STEPS.filter((one) => one !== step).flatMap((one) => (one === other ? [{ ...step, part: other.part }, one] : [one]));

const without = (step: SwitchStep): readonly SwitchStep[] => STEPS.filter((one) => one !== step);

/** The protocol with one mistake in it. */
export interface Mutant {
  readonly name: string;
  /** The mistake, as a definition of cutover.pml. */
  readonly define?: string;
  /** The mistake, as another table of steps. */
  readonly steps?: readonly SwitchStep[];
  /** What must find it: an invariant, by a piece of its assertion; or a liveness claim. */
  readonly breaks: Invariant | Claim;
}

/** Pieces of the assertions as Spin prints them. */
export const INVARIANTS = {
  'S1 one writable side': '!((writable[0]&&writable[1]))',
  'S2 nothing lost': 'acked&',
  'S3 S9 nothing twice': '(rows[(1-d)]&(1<<row))==0',
  'S6 acknowledged is durable': 'confirmed[0]<=progress_durable',
  'S8 way back from the first commit': 'start[1]<=head[1]',
  'S10 equal at the commit record': 'rows[0]==rows[1]',
  'S11 one outcome': ']==0)||(outcome[',
  'S14 no lane without its slot': 'slots[',
} as const;
export type Invariant = keyof typeof INVARIANTS;

/** Claims of cutover.pml, with the sizes that they are checked with. */
export const CLAIMS = {
  one_side: ['WRITES=1', 'SWITCHES=1', 'TAKES=2', 'TARGET_CRASHES=0', 'HALTS'],
  switch_ends: ['WRITES=1', 'SWITCHES=1', 'TAKES=2', 'TARGET_CRASHES=0', 'HALTS'],
  'one_side, router edited': ['WRITES=0', 'SWITCHES=1', 'TAKES=2', 'TARGET_CRASHES=0', 'ROUTER', 'EDITS=1'],
  hold_ends: ['WRITES=0', 'SWITCHES=2', 'TAKES=2', 'TARGET_CRASHES=0', 'ROUTER'],
  led: ['WRITES=0', 'SWITCHES=2', 'TAKES=2', 'TARGET_CRASHES=0', 'ROUTER'],
} as const;
export type Claim = keyof typeof CLAIMS;

const [fence, position, drain, prove, wayBack] = (['fence', 'position', 'drain', 'prove', 'way back'] as const).map(
  (name) => stepOf('window', name),
) as [SwitchStep, SwitchStep, SwitchStep, SwitchStep, SwitchStep];
const lift = stepOf('completing', 'lift');

/** Every one must be found. A mutant that is not would mean that the model does not look where it says it does. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'the fence does not wait for writers in flight',
    define: 'NO_WAIT',
    breaks: 'S10 equal at the commit record',
  },
  { name: 'the position is read before the fence', steps: before(position, fence), breaks: 'S2 nothing lost' },
  { name: 'no fence: holding the router is trusted', steps: without(fence), breaks: 'S1 one writable side' },
  { name: 'no drain', steps: without(drain), breaks: 'S2 nothing lost' },
  { name: 'the drain trusts what is not durable', define: 'NO_FLUSH', breaks: 'S2 nothing lost' },
  { name: 'a slot is told what is not durable', define: 'ACK_EARLY', breaks: 'S6 acknowledged is durable' },
  {
    name: 'the way back starts after lifting',
    steps: before(wayBack, stepOf('completing', 'release')),
    breaks: 'S8 way back from the first commit',
  },
  { name: 'the way back starts before the drain', steps: before(wayBack, drain), breaks: 'S3 S9 nothing twice' },
  { name: 'B is lifted before the commit record', steps: before(lift, wayBack), breaks: 'S1 one writable side' },
  {
    name: 'the old lane is retired before the commit record',
    steps: before(stepOf('completing', 'retire'), prove),
    breaks: 'S14 no lane without its slot',
  },
  { name: 'the abort is not recorded', define: 'NO_RECORD', breaks: 'S1 one writable side' },
  { name: 'an undo that does not read the outcome', define: 'UNDO_WITHOUT_READING', breaks: 'S1 one writable side' },
  { name: 'a rescue that lifts A after the commit record', define: 'RESCUE', breaks: 'S1 one writable side' },
  { name: 'a timer that lifts A', define: 'TIMER', breaks: 'S1 one writable side' },
  { name: 'the outcome is not unique', define: 'NOT_UNIQUE', breaks: 'S11 one outcome' },
  { name: 'the commit asks neither lease nor outcome', define: 'BLIND_COMMIT', breaks: 'S11 one outcome' },
  { name: 'no epoch check on A', define: 'NO_EPOCH_ON_A', breaks: 'S1 one writable side' },
  { name: 'no epoch check on B', define: 'NO_EPOCH_ON_B', breaks: 'S1 one writable side' },
  { name: 'no epoch check by lanes', define: 'NO_EPOCH_ON_LANE', breaks: 'S3 S9 nothing twice' },
  {
    name: 'a take-over does not raise the sides',
    define: 'TAKE_WITHOUT_RAISE',
    breaks: 'S14 no lane without its slot',
  },
  {
    name: 'a deposed worker may drop a slot that it has just read of',
    define: 'SWEEP_UNCHECKED',
    breaks: 'S14 no lane without its slot',
  },
  {
    name: 'the states are entered before B is lifted',
    steps: before(stepOf('completing', 'states'), lift),
    breaks: 'one_side',
  },
  {
    name: 'the states are entered before A is lifted again',
    steps: before(stepOf('undoing', 'states'), stepOf('undoing', 'undo fence')),
    breaks: 'one_side',
  },
  { name: 'nobody resumes', define: 'NOBODY_RESUMES', breaks: 'one_side' },
  { name: 'a drain that never gives up', define: 'NO_BUDGET', breaks: 'one_side' },
  { name: 'a deposed worker leaves its hold', define: 'SLEEPER_HOLDS', breaks: 'hold_ends' },
  {
    name: 'B waits for a router that somebody edited',
    steps: before(stepOf('completing', 'repoint'), lift),
    breaks: 'one_side, router edited',
  },
];
