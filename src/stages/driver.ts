import { isKind, messageOf, type Policy, SwitchbackError } from '../domain/errors.ts';
import { fillRemedy } from '../domain/remedy.ts';
import { monotonicMs, sleep } from '../platform/clock.ts';
import { failpoint } from '../platform/failpoint.ts';
import { redactAll } from '../platform/redact.ts';
import { serverTime, writeStuck } from '../sidecar/phases.ts';
import { readCertificate } from '../sidecar/records.ts';
import { certify, proveWhileFollowing } from './certify.ts';
import type { RunContext } from './context.ts';
import { copy } from './copy.ts';
import { isEnding } from './end.ts';
import type { LaneRunner } from './lane-runner.ts';
import { type NextStage, nextStage, type Phase } from './machine.ts';
import { Mutex } from './mutex.ts';
import { prepare } from './prepare.ts';
import { ReadersWatch } from './reads/watch.ts';
import { SharedLook } from './scope.ts';
import { Seats } from './seats.ts';
import { sweepSlots } from './slots.ts';
import type { Tenure } from './tenure.ts';
import { TOUCHED_KEYS_KEPT } from './touched.ts';

const IDLE_MS = 250;
const RETRY_MS = 2_000;
const LOOK_EVERY_MS = 60_000;
/**
 * Phases that are prepared, copied or verified at once. Each of them has several sessions on either side, and its slot keeps
 * the log from its preparation on: with all of 200 at once the servers would run out of the one, and keep the other for as
 * long as the last one's copy takes. Two keep two servers busy; the others are for phases that wait for something.
 */
const PHASES_AT_ONCE = 4;
/** What has a slot already comes before what has none. Stages that only keep a lane going need no seat. */
const URGENCY: Readonly<Partial<Record<NextStage, number>>> = { prepare: 0, copy: 1, certify: 2 };
const MOST_URGENT = 2;
/** After these a piece of a stage is done again by itself. */
const RETRIED: ReadonlySet<Policy> = new Set(['retry', 'probe']);

/** What driving phases needs of the worker. */
export interface DriverOptions {
  readonly context: RunContext;
  readonly tenure: Tenure;
  /** All phases of the run. */
  readonly phases: readonly Phase[];
  /** Runs work on a phase while nothing else is done to it. */
  readonly exclusively: <T>(phases: readonly Phase[], work: () => Promise<T>) => Promise<T>;
  readonly ensureLane: (phase: Phase) => Promise<void>;
  /** A runner for the phase's forward lane with a slot; not opened. */
  readonly runnerFor: (phase: Phase, slot: string) => LaneRunner;
  /** Called when this process must stop at once. */
  readonly onDeposed: (error: unknown) => void;
}

/**
 * Keeps phases going, one piece of a stage at a time, in between which commands have their turn. What a phase needs next is
 * `machine.ts`'s choice alone.
 */
export class Driver {
  readonly #options: DriverOptions;
  /** Ends the piece of a stage that a phase is in the middle of. */
  readonly #interrupts = new Map<string, AbortController>();
  readonly #stuck = new Map<string, SwitchbackError>();
  /** Phases that wait for a command to have its turn. */
  readonly #held = new Set<string>();
  readonly #making = new Mutex();
  readonly #seats = new Seats(PHASES_AT_ONCE);
  readonly #look: SharedLook;
  readonly #readers: ReadersWatch;
  readonly #lookedAt = new Map<string, number>();

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#look = new SharedLook(options.context);
    this.#readers = new ReadersWatch(options.context);
  }

  /** Why a phase cannot go on by itself, or undefined. */
  problem(phase: Phase): SwitchbackError | undefined {
    const halt = phase.runner?.halt;
    const halted = halt
      ? new SwitchbackError('halted', `phase ${phase.name} is halted: ${halt.fact}`, { remedy: halt.remedy })
      : undefined;
    return this.#stuck.get(phase.name) ?? halted;
  }

  /** Lets phases try again. */
  async revive(phases: readonly Phase[]): Promise<void> {
    const names = phases.map(({ name }) => name);
    for (const name of names) this.#stuck.delete(name);
    this.#look.forget();
    if (names.length > 0) await this.#options.tenure.act((sql) => writeStuck(sql, names, null));
  }

  /** Ends what the phase's stage is doing, and begins nothing new until `release`. */
  hold(phase: Phase): void {
    this.#held.add(phase.name);
    this.#interrupts.get(phase.name)?.abort();
  }

  /** Lets the phase's stages go on. */
  release(phase: Phase): void {
    this.#held.delete(phase.name);
  }

  /** Drives a phase until the signal. */
  async drive(phase: Phase, signal: AbortSignal): Promise<void> {
    let piece = this.#interruptible(phase, signal);
    while (!signal.aborted) {
      if (this.#stuck.has(phase.name) || this.#held.has(phase.name)) {
        await sleep(IDLE_MS, signal).catch(() => undefined);
        continue;
      }
      if (piece.aborted) piece = this.#interruptible(phase, signal);
      try {
        const idle = await this.#inTurn(phase, piece);
        if (idle) await sleep(IDLE_MS, piece).catch(() => undefined);
      } catch (error) {
        if (!piece.aborted) await this.#onFailure(phase, error, signal);
      }
    }
  }

  /** A piece of work that loads the servers waits for a seat first, so that commands have their turn at the phase meanwhile. */
  async #inTurn(phase: Phase, piece: AbortSignal): Promise<boolean> {
    const advance = () => this.#options.exclusively([phase], () => this.#advance(phase, piece));
    const urgency = URGENCY[nextStage(phase.state)];
    return urgency === undefined ? await advance() : await this.#seats.run({ urgency, signal: piece }, advance);
  }

  #interruptible(phase: Phase, signal: AbortSignal): AbortSignal {
    const interrupt = new AbortController();
    this.#interrupts.set(phase.name, interrupt);
    return AbortSignal.any([signal, interrupt.signal]);
  }

  async #onFailure(phase: Phase, error: unknown, signal: AbortSignal): Promise<void> {
    const { context, onDeposed } = this.#options;
    this.#look.forget();
    if (isKind(error, 'deposed')) return onDeposed(error);
    // Stages may be repeated: their steps look first at what stands.
    if (error instanceof SwitchbackError && (RETRIED.has(error.policy) || error.kind === 'parked')) {
      context.emit({ type: 'note', phase: phase.name, text: `${messageOf(error)}; trying again` });
      await sleep(RETRY_MS, signal).catch(() => undefined);
      return;
    }
    const known =
      error instanceof SwitchbackError ? error : new SwitchbackError('internal', messageOf(error), { cause: error });
    await this.block(phase, known);
  }

  /** Begins nothing more for a phase until it is revived, and tells why. */
  async block(phase: Phase, known: SwitchbackError): Promise<void> {
    const { context, tenure } = this.#options;
    const names = { plan: context.plan.path, phase: phase.name };
    const remedy = fillRemedy(known.remedy ?? 'mend the cause, then: switchback resume PLAN PHASE', names);
    const finding = redactAll({
      id: `stage/${known.kind}`,
      severity: 'blocks',
      subject: `phase ${phase.name}`,
      fact: known.message,
      remedy,
    } as const);
    const { cause } = known;
    const findings = known.findings.map((found) => ({ ...found, remedy: fillRemedy(found.remedy, names) }));
    this.#stuck.set(phase.name, new SwitchbackError(known.kind, known.message, { remedy, findings, cause }));
    context.emit({ type: 'finding', phase: phase.name, finding });
    // Somebody who was not looking when it was told has to learn it from `status`.
    await tenure
      .act((sql) => writeStuck(sql, [phase.name], finding))
      .catch((failure: unknown) =>
        context.emit({ type: 'note', phase: phase.name, text: `that was not recorded: ${messageOf(failure)}` }),
      );
  }

  /** Does the next piece of a phase's work. Returns whether there is nothing to do for now. */
  async #advance(phase: Phase, signal: AbortSignal): Promise<boolean> {
    const { context, tenure, ensureLane } = this.#options;
    const stage = nextStage(phase.state);
    if (signal.aborted || stage === 'none' || stage === 'settle' || isEnding(phase)) return true;
    const runnerFor = (slot: string) => this.#options.runnerFor(phase, slot);
    const tools = { context, tenure, phase, signal, runnerFor, look: this.#look, making: this.#making };
    if (stage === 'prepare') {
      await prepare(tools);
      return false;
    }
    if (stage === 'copy') {
      failpoint('stage:prepared');
      if (phase.state.name === 'prepared') await phase.enter({ name: 'copying' });
      await ensureLane(phase);
      if (phase.runner?.halt) return true;
      await copy(tools);
      return false;
    }
    await ensureLane(phase);
    await this.#readers.look(phase);
    if (!phase.runner || phase.runner.halt) return true;
    return stage === 'certify' ? await this.#certify(phase, signal) : await this.#keepProven(phase, signal);
  }

  async #certify(phase: Phase, signal: AbortSignal): Promise<boolean> {
    const { context, tenure } = this.#options;
    const certificate = await certify(context, { tenure, phase, signal });
    await phase.enter({ name: 'ready', since: await serverTime(context.source.sql), certificate: certificate.id });
    return false;
  }

  /** While a phase waits: few unproven keys, and a certificate that is young enough for a cutover. */
  async #keepProven(phase: Phase, signal: AbortSignal): Promise<boolean> {
    const { context, tenure } = this.#options;
    // A worker that slept may make one at any time after it was deposed.
    if (this.#isTimeToLook('slots')) await sweepSlots({ context, tenure }, this.#options.phases);
    const touched = phase.runner?.touched;
    if (touched && !touched.complete) {
      // A worker that has just started does not know what changed before. A switch at 3 a.m. must not have to find out first.
      if (!this.#seats.hasFree) return true;
      await this.#seats.run({ urgency: MOST_URGENT, signal }, () => certify(context, { tenure, phase, signal }));
      return false;
    }
    if (touched?.complete && touched.size > TOUCHED_KEYS_KEPT / 2) {
      await proveWhileFollowing(context, phase, signal);
      return false;
    }
    if (phase.state.name !== 'ready' || !this.#isTimeToLook(`certificate of ${phase.name}`)) return true;
    const stored = await readCertificate(context.source.sql, phase.name);
    if (stored && stored.ageMs < context.plan.verify.freshForMs) return true;
    await phase.enter({ name: 'following', since: await serverTime(context.source.sql) });
    return false;
  }

  #isTimeToLook(at: string): boolean {
    const now = monotonicMs();
    if (now - (this.#lookedAt.get(at) ?? Number.NEGATIVE_INFINITY) < LOOK_EVERY_MS) return false;
    this.#lookedAt.set(at, now);
    return true;
  }
}
