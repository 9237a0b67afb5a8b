import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import { laneDirection } from '../domain/phase.ts';
import type { Direction } from '../domain/position.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { failpoint } from '../platform/failpoint.ts';
import { laneName, readLanes } from '../sidecar/lanes.ts';
import { readPhases, serverTime } from '../sidecar/phases.ts';
import { readCertificate } from '../sidecar/records.ts';
import { finishRequest, type NewRequest, type RequestResult, takeRequest } from '../sidecar/requests.ts';
import { certify, proveWhileFollowing } from './certify.ts';
import type { PhaseScope, RunContext } from './context.ts';
import { copy } from './copy.ts';
import { type Executor, execute } from './execute.ts';
import { LaneRunner } from './lane-runner.ts';
import { nextStage, Phase } from './machine.ts';
import { Mutex } from './mutex.ts';
import { publicationName } from './names.ts';
import { openRun } from './open.ts';
import { prepare } from './prepare.ts';
import { reviseScope } from './revise.ts';
import { readScope } from './scope.ts';
import { resumeSwitch } from './switch/switch.ts';
import type { SwitchTools } from './switch/types.ts';
import { Tenure } from './tenure.ts';
import { TOUCHED_KEYS_KEPT } from './touched.ts';

const HEARTBEAT_MS = 2_000;
const REQUEST_POLL_MS = 200;
const IDLE_MS = 250;
const RETRY_MS = 2_000;

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
  /** Ends the piece of a stage that a phase is in the middle of. */
  readonly #interrupts = new Map<string, AbortController>();
  readonly #turns = new Map<string, Mutex>();
  readonly #stuck = new Map<string, SwitchbackError>();
  readonly #preparing = new Mutex();
  #fatal: unknown = null;
  #heart: Promise<void> = Promise.resolve();

  private constructor(options: { context: RunContext; tenure: Tenure; phases: readonly Phase[] }) {
    this.context = options.context;
    this.tenure = options.tenure;
    this.phases = options.phases;
  }

  /**
   * Begins or takes over the run: makes the sidecars, takes the lease, and settles a switch that an earlier process left
   * half done. Kinds: `refused` when somebody holds the lease or the databases are not this run's; `parked` when a switch
   * can neither be completed nor undone now.
   */
  static async open(context: RunContext, options: { readonly acceptPlan?: string } = {}): Promise<Worker> {
    const run = await openRun(context, options.acceptPlan);
    const tenure = await Tenure.take(context, run);
    const scope = await readScope(context);
    const stored = await readPhases(context.source.sql);
    const phases: Phase[] = [];
    for (const { name, state } of stored) {
      const own = scope.phases.get(name);
      if (own) phases.push(new Phase({ context, tenure, scope: own, state }));
    }
    const worker = new Worker({ context, tenure, phases });
    worker.#heart = worker.#beat();
    try {
      await worker.settle();
    } catch (error) {
      await worker.close();
      throw error;
    }
    return worker;
  }

  /** Aborted when the worker has to stop: it was closed, or deposed. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Phases that cannot go on by themselves. */
  get stuck(): readonly Stuck[] {
    return [...this.#stuck].map(([phase, error]) => ({ phase, error }));
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
    const driving = this.phases.map((phase) => this.#drive(phase, signal));
    const serving = this.#serve(signal);
    while (!signal.aborted && !this.#content(options.until)) await sleep(IDLE_MS, signal).catch(() => undefined);
    this.#stop.abort();
    await Promise.allSettled([...driving, serving]);
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

  /** Ends what the phases' stages are doing, so that whoever waits for its turn has it soon. */
  interrupt(phases: readonly Phase[]): void {
    for (const phase of phases) this.#interrupts.get(phase.name)?.abort();
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

  /** Completes or undoes whatever switch an earlier process left half done. */
  async settle(): Promise<readonly string[]> {
    const ids = new Set(this.phases.flatMap(({ state }) => (state.name === 'switching' ? [state.switchId] : [])));
    const said: string[] = [];
    for (const id of ids) {
      said.push(await resumeSwitch(this.switchTools(this.signal), this.phases, id));
      this.context.emit({ type: 'note', phase: null, text: said.at(-1) ?? '' });
    }
    return said;
  }

  /** Lets a phase go on after somebody mended what stopped it. Its tables may have other columns by now. */
  async revive(phase: Phase): Promise<void> {
    this.#stuck.delete(phase.name);
    await phase.runner?.close();
    phase.runner = null;
    await reviseScope({ context: this.context, tenure: this.tenure, phase, signal: this.signal });
  }

  /** Opens and starts the lane of the phase's state, unless it runs or is halted. */
  async ensureLane(phase: Phase): Promise<void> {
    const direction = laneDirection(phase.state);
    if (direction === null) return;
    // While a phase copies, the copy stage decides when its lane may begin to follow.
    const follows = phase.state.name !== 'copying';
    if (phase.runner?.direction === direction) {
      if (follows) phase.runner.start();
      return;
    }
    await phase.runner?.close();
    const name = laneName(phase.name, direction);
    const stored = (await readLanes(this.context.source.sql)).find((lane) => lane.name === name);
    if (!stored) throw new SwitchbackError('internal', `lane ${name} is not in the sidecar`);
    const runner = this.#runnerFor(phase.scope, direction, stored.slot);
    phase.runner = runner;
    try {
      await runner.open({ kind: 'resume' });
      // Open all the same: what halted it may be a row that `verify --repair` mends.
      if (stored.halt) return await runner.haltWith(stored.halt.finding);
    } catch (error) {
      if (error instanceof SwitchbackError && error.kind === 'halted' && error.findings[0]) {
        return await runner.haltWith(error.findings[0]);
      }
      phase.runner = null;
      throw error;
    }
    if (follows) runner.start();
  }

  /** Stops everything after the batches in hand and gives the lease back. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.phases.map((phase) => phase.runner?.close()));
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
      // Nothing would change by itself any more, and nobody can ask for it through us when all are stuck.
      if (this.#stuck.has(phase.name)) return until === 'ready' || this.#stuck.size === this.phases.length;
      return until === 'ready' && (name === 'ready' || name === 'soaking');
    });
  }

  async #beat(): Promise<void> {
    while (!this.signal.aborted) {
      try {
        await this.tenure.heartbeat();
      } catch (error) {
        // Without a heartbeat somebody may take over; until they do, the epochs in the databases keep us honest.
        if (isKind(error, 'deposed')) return this.#die(error);
        this.context.emit({ type: 'note', phase: null, text: `heartbeat: ${messageOf(error)}` });
      }
      await sleep(HEARTBEAT_MS, this.signal).catch(() => undefined);
    }
  }

  async #drive(phase: Phase, signal: AbortSignal): Promise<void> {
    let piece = this.#interruptible(phase, signal);
    while (!signal.aborted) {
      if (this.#stuck.has(phase.name)) {
        await sleep(IDLE_MS, signal).catch(() => undefined);
        continue;
      }
      if (piece.aborted) piece = this.#interruptible(phase, signal);
      try {
        const idle = await this.#turn(phase).run(() => this.#advance(phase, piece));
        if (idle) await sleep(IDLE_MS, piece).catch(() => undefined);
      } catch (error) {
        if (!piece.aborted) await this.#onFailure(phase, error, signal);
      }
    }
  }

  #interruptible(phase: Phase, signal: AbortSignal): AbortSignal {
    const interrupt = new AbortController();
    this.#interrupts.set(phase.name, interrupt);
    return AbortSignal.any([signal, interrupt.signal]);
  }

  async #onFailure(phase: Phase, error: unknown, signal: AbortSignal): Promise<void> {
    if (isKind(error, 'deposed')) return this.#die(error);
    if (error instanceof SwitchbackError && error.policy === 'retry') {
      this.context.emit({ type: 'note', phase: phase.name, text: `${messageOf(error)}; trying again` });
      await sleep(RETRY_MS, signal).catch(() => undefined);
      return;
    }
    const known =
      error instanceof SwitchbackError ? error : new SwitchbackError('internal', messageOf(error), { cause: error });
    this.#stuck.set(phase.name, known);
    this.context.emit({
      type: 'finding',
      phase: phase.name,
      finding: {
        id: `stage/${known.kind}`,
        severity: 'blocks',
        subject: `phase ${phase.name}`,
        fact: known.message,
        remedy: known.remedy ?? `mend the cause, then: switchback resume ${this.context.plan.path} ${phase.name}`,
      },
    });
  }

  /** Does the next piece of a phase's work. Returns whether there is nothing to do for now. */
  async #advance(phase: Phase, signal: AbortSignal): Promise<boolean> {
    const stage = nextStage(phase.state);
    const runnerFor = (slot: string) => this.#runnerFor(phase.scope, 'forward', slot);
    const tools = { context: this.context, tenure: this.tenure, phase, signal, runnerFor };
    if (signal.aborted || stage === 'none' || stage === 'settle') return true;
    if (stage === 'prepare') {
      // The schema is one for all phases, so one of them makes it.
      await this.#preparing.run(() => prepare(tools));
      return false;
    }
    if (stage === 'copy') {
      failpoint('stage:prepared');
      if (phase.state.name === 'prepared') await phase.enter({ name: 'copying' });
      await this.ensureLane(phase);
      if (phase.runner?.halt) return true;
      await copy(tools);
      return false;
    }
    await this.ensureLane(phase);
    if (!phase.runner || phase.runner.halt) return true;
    if (stage === 'certify') return await this.#certify(phase, signal);
    return await this.#keepProven(phase, signal);
  }

  async #certify(phase: Phase, signal: AbortSignal): Promise<boolean> {
    const certificate = await certify(this.context, { tenure: this.tenure, phase, signal });
    await phase.enter({
      name: 'ready',
      since: await serverTime(this.context.source.sql),
      certificate: certificate.id,
    });
    return false;
  }

  /** While a phase waits: few unproven keys, and a certificate that is young enough for a cutover. */
  async #keepProven(phase: Phase, signal: AbortSignal): Promise<boolean> {
    const touched = phase.runner?.touched;
    if (touched?.complete && touched.size > TOUCHED_KEYS_KEPT / 2) {
      await proveWhileFollowing(this.context, phase, signal);
      return false;
    }
    if (phase.state.name !== 'ready' || !this.#oncePerMinute(phase)) return true;
    const stored = await readCertificate(this.context.source.sql, phase.name);
    if (stored && stored.ageMs < this.context.plan.verify.freshForMs) return true;
    await phase.enter({ name: 'following', since: await serverTime(this.context.source.sql) });
    return false;
  }

  readonly #lookedAt = new Map<string, number>();

  #oncePerMinute(phase: Phase): boolean {
    const now = monotonicMs();
    if (now - (this.#lookedAt.get(phase.name) ?? Number.NEGATIVE_INFINITY) < 60_000) return false;
    this.#lookedAt.set(phase.name, now);
    return true;
  }

  async #serve(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const request = await this.tenure.act(takeRequest);
        if (request) {
          const result = await this.execute(request);
          await finishRequest(this.context.source.sql, request.id, result);
          continue;
        }
      } catch (error) {
        if (isKind(error, 'deposed')) return this.#die(error);
        this.context.emit({ type: 'note', phase: null, text: `requests: ${messageOf(error)}` });
      }
      await sleep(REQUEST_POLL_MS, signal).catch(() => undefined);
    }
  }
}
