import type { PhaseState, PhaseStateName } from './phase.ts';
import type { Direction, Side } from './position.ts';

/**
 * The protocol as data (DESIGN 3 and 6). The stages run from these tables, `npm run generate` draws docs/design.md and writes
 * test/model/protocol.pml from them, so that what is checked, what is told and what is done cannot drift apart.
 */

/** What holds in a state of a phase. */
export interface StateRule {
  readonly name: PhaseStateName;
  /** The direction of the lane that runs, or null where none does. */
  readonly lane: Direction | null;
  /** Where the application may write; within a switch its steps say so, and this is the side that it began from. */
  readonly primary: Side;
}

/** The states of a phase, in the order of its life. */
export const STATES = [
  { name: 'planned', lane: null, primary: 'source' },
  { name: 'prepared', lane: null, primary: 'source' },
  { name: 'copying', lane: 'forward', primary: 'source' },
  { name: 'following', lane: 'forward', primary: 'source' },
  { name: 'ready', lane: 'forward', primary: 'source' },
  { name: 'switching', lane: null, primary: 'source' },
  { name: 'soaking', lane: 'reverse', primary: 'target' },
  { name: 'finalised', lane: null, primary: 'target' },
  { name: 'aborted', lane: null, primary: 'source' },
] as const satisfies readonly StateRule[];

/** One way from a state to another. */
export interface Transition {
  readonly from: PhaseStateName;
  readonly to: PhaseStateName;
  /** The stage or command that does it. */
  readonly by: string;
  /** What has been done, or has happened, when the new state is entered. */
  readonly after: string;
}

/** Everything that leads from one state to another. */
export const PHASE_TRANSITIONS = [
  { from: 'planned', to: 'prepared', by: 'run', after: 'schema, fence on the target, publications, slot' },
  { from: 'prepared', to: 'copying', by: 'run', after: 'the first chunk is begun' },
  { from: 'copying', to: 'following', by: 'run', after: 'rows, catch-up, indexes, statistics' },
  { from: 'following', to: 'ready', by: 'run', after: 'verified' },
  { from: 'ready', to: 'following', by: 'run', after: 'the certificate no longer holds' },
  { from: 'following', to: 'switching', by: 'cutover', after: 'intent recorded' },
  { from: 'ready', to: 'switching', by: 'cutover', after: 'intent recorded' },
  { from: 'soaking', to: 'switching', by: 'failback', after: 'intent recorded' },
  { from: 'switching', to: 'soaking', by: 'cutover', after: 'committed and completed, or a failback undone' },
  { from: 'switching', to: 'following', by: 'failback', after: 'committed and completed, or a cutover undone' },
  { from: 'switching', to: 'ready', by: 'cutover', after: 'undone' },
  { from: 'soaking', to: 'finalised', by: 'finalise', after: 'the way back is given up' },
  { from: 'planned', to: 'aborted', by: 'abort', after: 'undone' },
  { from: 'prepared', to: 'aborted', by: 'abort', after: 'undone' },
  { from: 'copying', to: 'aborted', by: 'abort', after: 'undone' },
  { from: 'following', to: 'aborted', by: 'abort', after: 'undone' },
  { from: 'ready', to: 'aborted', by: 'abort', after: 'undone' },
] as const satisfies readonly Transition[];

/** Which states may follow a state. */
export const nextStates = (from: PhaseStateName): readonly PhaseStateName[] =>
  PHASE_TRANSITIONS.filter((transition) => transition.from === from).map(({ to }) => to);

/** Throws for a state that the table does not have, which the type rules out. */
const ruleOf = (name: PhaseStateName): StateRule => {
  const rule = STATES.find((state) => state.name === name);
  if (!rule) throw new Error(`no rule for state ${name}`);
  return rule;
};

/** The direction of the lane that runs in a state, or null where none does. */
export const laneDirection = (state: PhaseState): Direction | null => ruleOf(state.name).lane;

/** The side on which the application may write in a state, when no switch is under way. */
export const primarySide = (state: PhaseState): Side => ruleOf(state.name).primary;

/** Whether a phase is at its end: nothing follows. */
export const isOver = (state: PhaseState): boolean => nextStates(state.name).length === 0;

/** Where a step acts: A loses the writes, B gets them; the source holds the commit record in both directions. */
export type Place = 'A' | 'B' | 'source' | 'routers';

/**
 * The parts of a switch. `intent` to `commit` come one after another; then `completing`, when the commit record says
 * committed; otherwise `undoing`, whose first act is that the record says aborted.
 */
export type Part = 'intent' | 'window' | 'commit' | 'completing' | 'undoing';

/** One step of a switch, by the name that the journal has for it. */
export interface SwitchStep {
  readonly part: Part;
  readonly name: string;
  /** `{A}`, `{B}` and `{tables}` stand for the sides and tables of the switch at hand. */
  readonly does: string;
  readonly at: readonly Place[];
  /** The step that undoes it, or null when there is nothing to undo. Only the window has any. */
  readonly undoneBy: string | null;
  /** What `show` says of going back; `undoneBy` is the step that does it. */
  readonly undo: string;
}

const COMMITTED = 'failback';

/** The steps of a switch, cutover and failback alike. The order of each part is the order in which they are done. */
export const SWITCH_STEPS = [
  {
    part: 'intent',
    name: 'intent',
    does: 'raise the epoch and record the intent',
    at: ['source'],
    undoneBy: 'states',
    undo: '–',
  },
  {
    part: 'window',
    name: 'hold',
    does: 'routers keep clients waiting',
    at: ['routers'],
    undoneBy: 'undo hold',
    undo: 'release',
  },
  {
    part: 'window',
    name: 'fence',
    does: 'the {A} refuses writes to {tables}: locks, triggers and ownership in one transaction',
    at: ['A'],
    undoneBy: 'undo fence',
    undo: 'lift the {A}',
  },
  {
    part: 'window',
    name: 'position',
    does: 'read the head of the {A} after the fence has committed',
    at: ['A', 'source'],
    undoneBy: null,
    undo: '–',
  },
  {
    part: 'window',
    name: 'drain',
    does: 'wait until that position and a marker are durable on the {B}',
    at: ['A', 'B'],
    undoneBy: null,
    undo: '–',
  },
  {
    part: 'window',
    name: 'prove',
    does: 'compare every key that changed since the certificate; stop the lane {A}→{B}',
    at: ['A', 'B'],
    undoneBy: 'states',
    undo: 'the lane goes on',
  },
  {
    part: 'window',
    name: 'sequences',
    does: "move the {B}'s sequences past the {A}'s",
    at: ['A', 'B'],
    undoneBy: null,
    undo: '–',
  },
  {
    part: 'window',
    name: 'way back',
    does: 'start the lane {B}→{A} at the head of the {B}, still fenced, and see a marker travel it',
    at: ['A', 'B', 'source'],
    undoneBy: 'undo way back',
    undo: 'drop its slot',
  },
  {
    part: 'commit',
    name: 'commit',
    does: 'write the commit record on the source',
    at: ['source'],
    undoneBy: null,
    undo: 'none: from here only forward, or a failback',
  },
  {
    part: 'completing',
    name: 'lift',
    does: 'the {B} accepts writes',
    at: ['B'],
    undoneBy: null,
    undo: COMMITTED,
  },
  {
    part: 'completing',
    name: 'repoint',
    does: 'routers lead to the {B}, if nobody changed them since they were observed',
    at: ['routers'],
    undoneBy: null,
    undo: COMMITTED,
  },
  {
    part: 'completing',
    name: 'release',
    does: 'routers let clients go on',
    at: ['routers'],
    undoneBy: null,
    undo: COMMITTED,
  },
  {
    part: 'completing',
    name: 'retire',
    does: 'the {A} says that it is a replica, and the lane {A}→{B} gives up its slot',
    at: ['A', 'source'],
    undoneBy: null,
    undo: COMMITTED,
  },
  {
    part: 'completing',
    name: 'probe',
    does: "ask by the clients' own paths whether they lead to the {B}; sessions left on the {A} are told of, or ended",
    at: ['routers', 'A'],
    undoneBy: null,
    undo: COMMITTED,
  },
  {
    part: 'completing',
    name: 'states',
    does: 'the phases enter the state after the switch, all in one transaction',
    at: ['source'],
    undoneBy: null,
    undo: COMMITTED,
  },
  {
    part: 'undoing',
    name: 'undo fence',
    does: 'the {A} accepts writes again',
    at: ['A'],
    undoneBy: null,
    undo: '–',
  },
  {
    part: 'undoing',
    name: 'undo hold',
    does: 'routers let clients go on',
    at: ['routers'],
    undoneBy: null,
    undo: '–',
  },
  {
    part: 'undoing',
    name: 'undo way back',
    does: 'the slot of the lane {B}→{A} is dropped',
    at: ['B'],
    undoneBy: null,
    undo: '–',
  },
  {
    part: 'undoing',
    name: 'states',
    does: 'the phases enter the state that they had; the lane {A}→{B} goes on',
    at: ['source'],
    undoneBy: null,
    undo: '–',
  },
] as const satisfies readonly SwitchStep[];

/** The names of the steps of one part. */
export type StepName<P extends Part> = Extract<(typeof SWITCH_STEPS)[number], { readonly part: P }>['name'];

/** The names of the steps of one part, in the order in which they are done. */
export const stepsOf = <P extends Part>(part: P): readonly StepName<P>[] =>
  SWITCH_STEPS.filter((step) => step.part === part).map(({ name }) => name as StepName<P>);
