import { SwitchbackError } from '../domain/errors.ts';
import type { PhaseState } from '../domain/phase.ts';
import { nextStates } from '../domain/protocol.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { writePhase } from '../sidecar/phases.ts';
import type { Ending } from '../sidecar/run.ts';
import type { PhaseScope, RunContext } from './context.ts';
import { untilKnown } from './effect.ts';
import type { LaneRunner } from './lane-runner.ts';
import type { Tenure } from './tenure.ts';

/** What a phase needs next, which its state alone decides. */
export type NextStage = 'prepare' | 'copy' | 'certify' | 'follow' | 'settle' | 'none';

/** Chooses the next stage of a phase. Nothing else in the project does. */
export const nextStage = (state: PhaseState): NextStage => {
  switch (state.name) {
    case 'planned':
      return 'prepare';
    case 'prepared':
    case 'copying':
      return 'copy';
    case 'following':
      return 'certify';
    case 'ready':
    case 'soaking':
      return 'follow';
    case 'switching':
      return 'settle';
    case 'finalised':
    case 'aborted':
      return 'none';
  }
};

/** A phase in the hands of the worker: its durable state, what it is made of, and the lane that runs. */
export class Phase {
  /** The lane of the state's direction, or null where none is open. */
  runner: LaneRunner | null = null;
  /** The end that has begun, of which some may be done: no stage and no lane of the phase runs any more. */
  ending: Ending | null = null;
  readonly #context: RunContext;
  readonly #tenure: Tenure;
  #state: PhaseState;
  #scope: PhaseScope;

  constructor(options: { context: RunContext; tenure: Tenure; scope: PhaseScope; state: PhaseState }) {
    this.#context = options.context;
    this.#tenure = options.tenure;
    this.#scope = options.scope;
    this.#state = options.state;
  }

  /** The phase's name. */
  get name(): string {
    return this.#scope.name;
  }

  /** What it is made of, as the catalogue was when it was last looked at. A lane keeps what it was opened with. */
  get scope(): PhaseScope {
    return this.#scope;
  }

  /** Takes note of what it is made of by now. No lane of it may be open. */
  revise(scope: PhaseScope): void {
    if (this.runner) throw new SwitchbackError('internal', `phase ${this.name} has a lane open`);
    this.#scope = scope;
  }

  /** The durable state. */
  get state(): PhaseState {
    return this.#state;
  }

  /** Enters a state in a transaction of its own. Kind `parked` when it cannot be found out whether it was stored. */
  async enter(state: PhaseState): Promise<void> {
    await untilKnown({
      act: async () => {
        await this.#tenure.act((sql) => this.store(sql, state));
        return undefined;
      },
    });
    this.entered(state);
  }

  /** Stores a state within a transaction of the caller's that has asserted the lease. `entered` follows its commit. */
  async store(sql: SqlExecutor, state: PhaseState): Promise<void> {
    assertTransition(this.#state, state);
    await writePhase(sql, this.name, state);
  }

  /** Takes note of a state whose transaction has committed, and tells of it. */
  entered(state: PhaseState): void {
    const from = this.#state.name;
    this.#state = state;
    if (from !== state.name) this.#context.emit({ type: 'phase', phase: this.name, from, to: state.name });
  }
}

/** Throws kind `internal` for a transition that the table of the domain does not have. */
const assertTransition = (from: PhaseState, to: PhaseState): void => {
  if (from.name === to.name || nextStates(from.name).includes(to.name)) return;
  throw new SwitchbackError('internal', `a phase cannot go from ${from.name} to ${to.name}`);
};
