import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import type { Finding } from '../domain/finding.ts';
import type { Direction, Position } from '../domain/position.ts';
import { sidesOf } from '../domain/position.ts';
import type { Lane, LaneObserver, LaneSpec, LaneStart, RepairRequest } from '../engines/engine.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { laneName, laneStore } from '../sidecar/lanes.ts';
import { type PhaseScope, portsOf, type RunContext } from './context.ts';
import type { LagSamples } from './lag-samples.ts';
import { findingOf, haltedError, LaneHalt } from './lane-halt.ts';
import { withoutStrangers } from './strangers.ts';
import type { Tenure } from './tenure.ts';
import { TouchedKeys } from './touched.ts';

/** Pauses between attempts to follow again after a lost connection. */
const RETRY_MS = [100, 200, 500, 1_000, 2_000, 5_000] as const;

/** What a lane runner is made from. */
export interface LaneRunnerOptions {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly scope: PhaseScope;
  readonly direction: Direction;
  readonly slot: string;
  readonly publication: string;
  readonly lag: LagSamples;
  /** Called when this process must stop at once: somebody else has taken over. */
  readonly onDeposed: (error: SwitchbackError) => void;
}

/**
 * Keeps one lane of a phase going: follows, follows again after a lost connection, halts when a person is needed. Remembers
 * which keys have changed since the certificate.
 */
export class LaneRunner {
  readonly name: string;
  readonly direction: Direction;
  readonly slot: string;
  readonly touched = new TouchedKeys();
  readonly #options: LaneRunnerOptions;
  readonly #halt: LaneHalt;
  #lane: Lane | null = null;
  #spec: LaneSpec | null = null;
  #stop: AbortController | null = null;
  #following: Promise<void> = Promise.resolve();
  #lagSeconds: number | null = null;
  #changes = 0;

  constructor(options: LaneRunnerOptions) {
    this.#options = options;
    this.direction = options.direction;
    this.slot = options.slot;
    this.name = laneName(options.scope.name, options.direction);
    const { context, tenure, scope, onDeposed } = options;
    this.#halt = new LaneHalt({ context, tenure, phase: scope.name, lane: this.name, onDeposed });
  }

  /** The open lane. Throws kind `internal` before `open`. */
  get lane(): Lane {
    if (!this.#lane) throw new SwitchbackError('internal', `lane ${this.name} is not open`);
    return this.#lane;
  }

  /** Why it is halted, or null. */
  get halt(): Finding | null {
    return this.#halt.finding;
  }

  /** Whether `follow` is running. */
  get following(): boolean {
    return this.#stop !== null;
  }

  /** Newest measured end-to-end lag in seconds; null before the first marker has travelled. */
  get lagSeconds(): number | null {
    return this.#lagSeconds;
  }

  /** Opens the lane, closing the one that was open. Kinds as {@link Lane}. */
  async open(start: LaneStart): Promise<void> {
    await this.close();
    const { context, tenure, scope, direction, slot, publication } = this.#options;
    const epoch = (): bigint => tenure.epoch;
    const { archive: objects } = context;
    const spec = {
      lane: this.name,
      direction,
      tables: scope.tables,
      roots: scope.roots,
      publication,
      slot,
      store: laneStore(this.name, epoch),
      ...(objects && { archive: { objects, run: tenure.run, phase: scope.name, epoch } }),
    };
    this.#spec = spec;
    const opened = (): Promise<Lane> => context.engine.openLane(spec, start);
    const makesSlot = start.kind === 'create' || start.kind === 'reserve';
    this.#lane = makesSlot ? await withoutStrangers(this.#options, sidesOf(direction).from, opened) : await opened();
    this.#halt.clear();
  }

  /** Copies the phase's rows; see {@link Lane.copy}. `onTable` is told the name of each table whose rows are all there. */
  async copy(signal: AbortSignal, onTable: (table: string) => void): Promise<void> {
    const observer = this.#observer();
    const copied: LaneObserver['copied'] = (progress) => {
      observer.copied(progress);
      if (progress.finished) onTable(progress.table);
    };
    await this.lane.copy({ signal, observer: { ...observer, copied } });
  }

  /** Begins to follow in the background. Does nothing when it does already, or is halted. */
  start(): void {
    if (this.#stop || this.halt) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.#following = this.#followUntil(stop.signal).finally(() => {
      this.#stop = null;
    });
  }

  /** Waits until a marker has travelled the lane, or it is halted, or the time is up; which of them, the getters say. */
  async untilProven(ms: number, signal: AbortSignal): Promise<void> {
    const deadline = monotonicMs() + ms;
    while (this.halt === null && this.#lagSeconds === null && monotonicMs() < deadline) await sleep(50, signal);
  }

  /** Stops following after the batch in hand. */
  async stop(): Promise<void> {
    this.#stop?.abort();
    await this.#following;
  }

  /** Waits until everything before the origin's head as of now is durable on the other side. */
  async drain(options: {
    readonly budgetMs: number;
    readonly signal: AbortSignal;
    readonly to?: Position;
  }): Promise<void> {
    this.start();
    const origin = portsOf(this.#options.context, sidesOf(this.direction).from);
    const to = options.to ?? (await origin.database.head());
    const deadline = monotonicMs() + options.budgetMs;
    for (;;) {
      const budgetMs = Math.max(1, deadline - monotonicMs());
      try {
        const drained = this.lane.drainTo(to, { budgetMs, signal: options.signal });
        return await Promise.race([drained, this.#following.then(() => this.#ended())]);
      } catch (error) {
        // A connection that broke meanwhile is the follow loop's business; the position to reach stays the same.
        const passing = error instanceof SwitchbackError && error.policy === 'retry';
        if (this.halt) this.#ended();
        if (!passing || monotonicMs() > deadline) throw error;
        await sleep(20, options.signal);
      }
    }
  }

  /** A lane that ends while somebody waits for it says why. */
  #ended(): never {
    if (this.halt) throw haltedError(this.name, this.halt);
    throw new SwitchbackError('aborted', `lane ${this.name} was stopped`);
  }

  /** Copies rows of the phase again while the lane stands still, then goes on; see {@link Engine.repair}. */
  async repair(requests: readonly RepairRequest[], signal: AbortSignal): Promise<number> {
    await this.stop();
    try {
      return await this.reread(requests, signal);
    } finally {
      this.start();
    }
  }

  /** As {@link repair}, for a lane that does not follow yet. */
  async reread(requests: readonly RepairRequest[], signal: AbortSignal): Promise<number> {
    if (!this.#spec) throw new SwitchbackError('internal', `lane ${this.name} is not open`);
    return await this.#options.context.engine.repair(this.#spec, requests, { signal, observer: this.#observer() });
  }

  /** Forgets why it was halted, here and in the sidecar, and goes on. */
  async unhalt(): Promise<void> {
    await this.#halt.forget();
    this.start();
  }

  /** Stops following and ends the lane's sessions; with `drop` also removes its slot. */
  async close(options: { readonly drop: boolean } = { drop: false }): Promise<void> {
    await this.#halt.stopRecording();
    await this.stop();
    const lane = this.#lane;
    this.#lane = null;
    await lane?.close(options);
  }

  async #followUntil(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.lane.follow({ signal, observer: this.#observer() });
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (isKind(error, 'deposed')) return this.#options.onDeposed(error);
        const retry = error instanceof SwitchbackError && error.policy === 'retry';
        if (!retry) return await this.haltWith(findingOf(this.name, error));
        // A marker that has travelled in this attempt shows that the lane worked: what broke it now is new.
        failures = this.#lagSeconds === null ? failures + 1 : 0;
        this.#lagSeconds = null;
        this.#note(`lane ${this.name}: ${messageOf(error)}; trying again`);
        await sleep(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] ?? 5_000, signal).catch(() => undefined);
      }
    }
  }

  /** Halts: nothing is applied until `resume`. */
  async haltWith(found: Finding): Promise<void> {
    await this.#halt.set(found);
  }

  #observer(): LaneObserver {
    const { context, scope } = this.#options;
    const estimates = new Map(scope.tables.map((t) => [`${t.schema}.${t.name}`, t.estimatedRows]));
    return {
      copied: (progress) =>
        context.emit({
          type: 'copied',
          phase: scope.name,
          ...progress,
          estimatedRows: estimates.get(progress.table) ?? 0,
        }),
      applied: (progress) => {
        this.#changes += progress.changes;
        if (this.touched.complete) this.touched.add(progress.touched);
      },
      lag: (seconds) => this.#onLag(seconds),
      blocked: (blockers) => context.emit({ type: 'blocked', phases: [scope.name], blockers }),
      paced: (text) => this.#note(text),
    };
  }

  #onLag(seconds: number): void {
    const { context, scope } = this.#options;
    this.#lagSeconds = seconds;
    context.emit({ type: 'lag', phase: scope.name, direction: this.direction, seconds, changes: this.#changes });
    this.#options.lag.add({ lane: this.name, ms: seconds * 1000, changes: this.#changes });
  }

  #note(text: string): void {
    this.#options.context.emit({ type: 'note', phase: this.#options.scope.name, text });
  }
}
