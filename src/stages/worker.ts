import { isKind, SwitchbackError } from '../domain/errors.ts';
import type { Direction } from '../domain/position.ts';
import { sleep } from '../platform/clock.ts';
import { readPhases } from '../sidecar/phases.ts';
import type { NewRequest, RequestResult } from '../sidecar/requests.ts';
import { readRun } from '../sidecar/run.ts';
import { certify } from './certify.ts';
import type { PhaseScope, RunContext } from './context.ts';
import { Driver } from './driver.ts';
import { endingError, isEnding } from './end.ts';
import { type Executor, execute } from './execute.ts';
import { ensureLane } from './keep-lane.ts';
import { keepLease } from './keep-lease.ts';
import { LagSamples } from './lag-samples.ts';
import { LaneRunner } from './lane-runner.ts';
import { Phase } from './machine.ts';
import { Mutex } from './mutex.ts';
import { publicationName } from './names.ts';
import { openRun, pinPlan } from './open.ts';
import { tellOpenMoves } from './reads/watch.ts';
import { reviseScope } from './revise.ts';
import { readScope } from './scope.ts';
import { serveRequests } from './serve.ts';
import { retireSlotsOfOtherDirections, sweepSlots } from './slots.ts';
import { keepSnapshots } from './snapshots/schedule.ts';
import { settleHalfDone, settleWhatCanBe } from './switch/half-done.ts';
import type { SwitchTools } from './switch/types.ts';
import { Tenure } from './tenure.ts';

const IDLE_MS = 250;

/** When `run` is content. */
export type Until = 'ended' | 'ready';

/** A stage that could not go on, and why; `resume` clears it. */
export interface Stuck {
  readonly phase: string;
  readonly error: SwitchbackError;
}

/**
 * The process that acts on a run: holds the lease, keeps every phase's stage or lane going, executes what commands ask for.
 * `machine.ts` says what a phase needs; this only does it, one thing per phase at a time.
 */
export class Worker implements Executor {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly phases: readonly Phase[];
  readonly #stop = new AbortController();
  readonly #turns = new Map<string, Mutex>();
  readonly #driver: Driver;
  readonly #lag: LagSamples;
  readonly #settled = new Set<Phase>();
  #fatal: unknown = null;
  #heart: Promise<void> = Promise.resolve();

  private constructor(options: { context: RunContext; tenure: Tenure; phases: readonly Phase[] }) {
    this.context = options.context;
    this.tenure = options.tenure;
    this.phases = options.phases;
    this.#lag = new LagSamples(options.context);
    this.#driver = new Driver({
      context: this.context,
      tenure: this.tenure,
      phases: this.phases,
      exclusively: (phases, work) => this.exclusively(phases, work),
      ensureLane: (phase) => this.ensureLane(phase),
      runnerFor: (phase, slot) => this.#runnerFor(phase.scope, 'forward', slot),
      onDeposed: (error) => this.#die(error),
    });
  }

  /**
   * Begins or takes over the run: makes the sidecars, takes the lease, and settles a switch that an earlier process left
   * half done. Kinds: `refused` when somebody holds the lease or the databases are not this run's; `parked` when a switch
   * can neither be completed nor undone now.
   */
  static async open(context: RunContext, options: { readonly acceptPlan?: string } = {}): Promise<Worker> {
    const run = await openRun(context, options.acceptPlan);
    const tenure = await Tenure.take(context, run);
    const worker = await Worker.#begin(context, tenure, options.acceptPlan).catch(async (error: unknown) => {
      await tenure.release().catch(() => undefined);
      throw error;
    });
    const { signal } = worker;
    worker.#heart = keepLease({ context, tenure, signal, onDeposed: (error) => worker.#die(error) });
    try {
      await worker.#driver.revive(worker.phases);
      await worker.#findEndings();
      worker.#willSettle();
      await settleWhatCanBe(worker.switchTools(worker.signal), worker.phases);
      await tellOpenMoves(context, worker.phases);
      await retireSlotsOfOtherDirections(worker, worker.phases);
      await sweepSlots(worker, worker.phases);
    } catch (error) {
      await worker.close();
      throw error;
    }
    return worker;
  }

  /** What the worker is made of, under the lease. */
  static async #begin(context: RunContext, tenure: Tenure, acceptPlan: string | undefined): Promise<Worker> {
    await pinPlan(context, tenure, acceptPlan);
    const scope = await readScope(context);
    const phases: Phase[] = [];
    for (const { name, state } of await readPhases(context.source.sql)) {
      const own = scope.phases.get(name);
      if (own) phases.push(new Phase({ context, tenure, scope: own, state }));
    }
    return new Worker({ context, tenure, phases });
  }

  /** Aborted when the worker has to stop: it was closed, or deposed. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Phases that cannot go on by themselves. */
  get stuck(): readonly Stuck[] {
    return this.phases.flatMap((phase) => {
      const error = this.#driver.problem(phase);
      return error ? [{ phase: phase.name, error }] : [];
    });
  }

  /** Finds phases by name; all of them for an empty list. Throws kind `usage` for a name that the plan does not have. */
  find(names: readonly string[]): readonly Phase[] {
    if (names.length === 0) return this.phases;
    return names.map((name) => {
      const phase = this.phases.find((p) => p.name === name);
      if (phase) return phase;
      throw new SwitchbackError('usage', `the plan has no phase "${name}"`, {
        remedy: `its phases are: ${this.phases.map((p) => p.name).join(', ')}`,
      });
    });
  }

  /** Drives all phases and executes requests until the signal, or until every phase has come as far as asked. */
  async run(options: { readonly signal: AbortSignal; readonly until: Until }): Promise<void> {
    const signal = AbortSignal.any([options.signal, this.signal]);
    const driving = this.phases.map((phase) => this.#driver.drive(phase, signal));
    const serving = serveRequests({
      context: this.context,
      tenure: this.tenure,
      execute: (request) => this.execute(request),
      onDeposed: (error) => this.#die(error),
      // An answer is recorded even when the command was the one that ends the worker.
      stopped: this.signal,
      signal,
    });
    const keeping = keepSnapshots({ context: this.context, phases: this.phases, signal });
    while (!signal.aborted && !this.#content(options.until)) await sleep(IDLE_MS, signal).catch(() => undefined);
    this.#stop.abort();
    await Promise.allSettled([...driving, serving, keeping]);
    this.throwIfFatal();
  }

  /** Executes a command in this process; see {@link execute}. */
  async execute(request: NewRequest): Promise<RequestResult> {
    return await execute(this, request);
  }

  /** Runs work on phases while nothing else is done to them. */
  async exclusively<T>(phases: readonly Phase[], work: () => Promise<T>): Promise<T> {
    const [first, ...rest] = phases;
    if (!first) return await work();
    return await this.#turn(first).run(() => this.exclusively(rest, work));
  }

  /** Runs work on phases whose stages are ended for it, and begin nothing meanwhile. */
  async interrupting<T>(phases: readonly Phase[], work: () => Promise<T>): Promise<T> {
    for (const phase of phases) this.#driver.hold(phase);
    try {
      return await work();
    } finally {
      for (const phase of phases) this.#driver.release(phase);
    }
  }

  /** Phases whose end an earlier process has begun are told of and left alone. */
  async #findEndings(): Promise<void> {
    const endings = (await readRun(this.context.source.sql))?.facts.ending ?? {};
    for (const phase of this.phases) {
      phase.ending = endings[phase.name] ?? null;
      if (isEnding(phase)) await this.block(phase, endingError(this.context, phase));
    }
  }

  /** Tells why a phase cannot go on by itself. */
  async block(phase: Phase, error: SwitchbackError): Promise<void> {
    await this.#driver.block(phase, error);
  }

  /** Forgets why a phase could not go on. */
  async clear(phase: Phase): Promise<void> {
    await this.#driver.revive([phase]);
  }

  /** What a switch borrows from the worker. */
  switchTools(signal: AbortSignal): SwitchTools {
    return {
      context: this.context,
      tenure: this.tenure,
      signal: AbortSignal.any([signal, this.signal]),
      runnerFor: (scope, direction, slot) => this.#runnerFor(scope, direction, slot),
      certify: async (phase, stop) => {
        await certify(this.context, { tenure: this.tenure, phase, signal: stop });
      },
    };
  }

  /** Completes or undoes whatever switch an earlier process left half done; see {@link settleHalfDone}. */
  async settle(): Promise<readonly string[]> {
    this.#willSettle();
    return await settleHalfDone(this.switchTools(this.signal), this.phases);
  }

  /** Phases whose switch this worker has settled, or has tried to. */
  get settled(): ReadonlySet<Phase> {
    return this.#settled;
  }

  #willSettle(): void {
    for (const phase of this.phases) if (phase.state.name === 'switching') this.#settled.add(phase);
  }

  /** Lets a phase go on after somebody mended what stopped it. Its tables may have other columns by now. */
  async revive(phase: Phase): Promise<void> {
    await this.#driver.revive([phase]);
    await phase.runner?.close();
    phase.runner = null;
    await reviseScope({ context: this.context, tenure: this.tenure, phase, signal: this.signal });
  }

  /** Opens and starts the lane of the phase's state, unless it runs or is halted. */
  async ensureLane(phase: Phase): Promise<void> {
    await ensureLane(this.context, phase, (direction, slot) => this.#runnerFor(phase.scope, direction, slot));
  }

  /** Stops everything after the batches in hand and gives the lease back. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.phases.map((phase) => phase.runner?.close()));
    this.#lag.close();
    await this.#heart;
    if (!isKind(this.#fatal, 'deposed')) await this.tenure.release().catch(() => undefined);
  }

  /** Stops after what cannot be interrupted: asked to, or because there is no run any more. */
  stop(): void {
    this.#stop.abort();
  }

  /** Throws what made the worker stop, if anything did. */
  throwIfFatal(): void {
    if (this.#fatal !== null) throw this.#fatal;
  }

  #turn(phase: Phase): Mutex {
    const turn = this.#turns.get(phase.name) ?? new Mutex();
    this.#turns.set(phase.name, turn);
    return turn;
  }

  #runnerFor(scope: PhaseScope, direction: Direction, slot: string): LaneRunner {
    return new LaneRunner({
      context: this.context,
      tenure: this.tenure,
      scope,
      direction,
      slot,
      publication: publicationName(this.context, scope.name),
      lag: this.#lag,
      onDeposed: (error) => this.#die(error),
    });
  }

  #die(error: unknown): void {
    this.#fatal ??= error;
    this.#stop.abort();
  }

  #content(until: Until): boolean {
    return this.phases.every((phase) => {
      const { name } = phase.state;
      if (name === 'finalised' || name === 'aborted') return true;
      // It would not change by itself any more. A worker that is to run on keeps waiting for `resume`.
      if (this.#driver.problem(phase)) return until === 'ready' || this.#isHopeless();
      return until === 'ready' && (name === 'ready' || name === 'soaking');
    });
  }

  /** Before anything has been copied there is nothing to keep alive: what is stuck is told, and the process ends. */
  #isHopeless(): boolean {
    return this.phases.every((phase) => phase.state.name === 'planned' && this.#driver.problem(phase) !== undefined);
  }
}
