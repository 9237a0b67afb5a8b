import { type Part, PHASE_TRANSITIONS, STATES, type SwitchStep } from '../src/domain/protocol.ts';

const PARTS: readonly Part[] = ['intent', 'window', 'commit', 'completing', 'undoing'];

const upper = (name: string): string => name.toUpperCase();

/** The inline of cutover.pml that does the step. `states` is the one name that two parts have. */
const inlineOf = (step: SwitchStep): string =>
  step.part === 'undoing' && step.name === 'states' ? 'do_undo_states' : `do_${step.name.replaceAll(' ', '_')}`;

const sequence = (part: Part, steps: readonly SwitchStep[]): string => {
  const own = steps.filter((step) => step.part === part);
  const calls = own.map((step) => `  before_${part}(); ${inlineOf(step)}();`);
  return [`inline steps_of_${part}() {`, ...calls, '}'].join('\n');
};

const choice = (states: readonly string[], otherwise: string): string =>
  states.length === 0 ? otherwise : `(${states.map((name) => `(s) == ${upper(name)}`).join(' || ')})`;

/**
 * The part of the model that is made from the protocol's table: which state may follow which, which lane runs in it, and the
 * order of a switch's steps. `steps` is the table, or one that a mutant has changed.
 */
export const promelaOf = (steps: readonly SwitchStep[]): string => {
  const inState = (wanted: (state: (typeof STATES)[number]) => boolean) =>
    choice(
      STATES.filter(wanted).map(({ name }) => name),
      'false',
    );
  const pairs = PHASE_TRANSITIONS.map(({ from, to }) => `  ((from) == ${upper(from)} && (to) == ${upper(to)})`);
  return [
    '/* Made by `npm run generate` from src/domain/protocol.ts. Do not edit. */',
    '',
    ...STATES.map(({ name }, at) => `#define ${upper(name).padEnd(9)} ${at}`),
    '',
    `#define MAY_FOLLOW(from, to) ( \\\n${pairs.join(' || \\\n')})`,
    `#define LANE_FORWARD(s) ${inState(({ lane }) => lane === 'forward')}`,
    `#define LANE_REVERSE(s) ${inState(({ lane }) => lane === 'reverse')}`,
    `#define PRIMARY_TARGET(s) ${inState(({ primary }) => primary === 'target')}`,
    '',
    ...PARTS.map((part) => `${sequence(part, steps)}\n`),
  ].join('\n');
};
