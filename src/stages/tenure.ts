import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { monotonicMs } from '../platform/clock.ts';
import { redactText } from '../platform/redact.ts';
import type { ChainEnd } from '../sidecar/chain.ts';
import { readChainEnd, writeJournal } from '../sidecar/journal.ts';
import { assertLease, heartbeat, raiseEpoch, readLease, releaseLease, takeLease } from '../sidecar/lease.ts';
import { raiseSide } from '../sidecar/ownership.ts';
import { writeMirror } from '../sidecar/records.ts';
import { closeOrphanedRequests } from '../sidecar/requests.ts';
import type { RunContext } from './context.ts';
import { untilKnown } from './effect.ts';
import { isAgeOfLiving, isHeld } from './holder.ts';
import { JournalWriter, type Line } from './journal-writer.ts';
import { Quiet } from './quiet.ts';
import { readStatus } from './status.ts';

/** What a step belongs to. */
export interface StepScope {
  /** The stage or the switch, as shown in the journal. */
  readonly scope: string;
  readonly phases: readonly string[];
}

/**
 * The time in which this process holds the lease. Every durable decision goes through it, so that a process that was
 * deposed while it slept is refused by the database in the same transaction (S7), and every effect has its intent in the
 * journal first (S12).
 */
export class Tenure {
  /** The run's id. */
  readonly run: string;
  readonly #context: RunContext;
  readonly #journal: JournalWriter;
  readonly #quiet = new Quiet();
  #background: Promise<void> | null = null;
  #raising: Promise<unknown> = Promise.resolve();
  #epoch: bigint;

  private constructor(context: RunContext, run: string, taken: { readonly epoch: bigint; readonly end: ChainEnd }) {
    this.run = run;
    this.#context = context;
    this.#epoch = taken.epoch;
    this.#journal = new JournalWriter(this, taken.end);
  }

  /** The newest epoch that is ours. */
  get epoch(): bigint {
    return this.#epoch;
  }

  /**
   * Takes the lease when it is free: never held, released, its holder's session gone, or without a heartbeat for long.
   * Then makes sure that nothing of the former holder can still take effect on either side. Throws kind `refused` with
   * who holds it otherwise.
   */
  static async take(context: RunContext, run: string): Promise<Tenure> {
    const { sql, sessions } = context.source;
    const held = await readLease(sql);
    if (held && (await isHeld(context, held))) throw heldBy(held);
    const claim = { run, holder: context.holder, host: context.host, session: await sessions.presence() };
    // A machine that was lost in the middle of an act says no farewell: its session keeps the lease's row locked for hours.
    if (held && held.holder !== '' && held.holder !== context.holder) await sessions.endWorker(held.holder);
    // In one transaction: whoever sees the new lease hands its request to us, and that one is no orphan of the former worker.
    const taken = await sql.transaction(async (transaction) => {
      const epoch = await takeLease(transaction, { ...claim, over: held?.epoch ?? null });
      if (epoch === null) return null;
      await closeOrphanedRequests(transaction);
      return { epoch, end: await writeTaken(transaction, context, epoch) };
    });
    if (taken === null)
      throw heldBy((await readLease(sql)) ?? { holder: 'somebody', host: 'elsewhere', ageSeconds: 0 });
    const tenure = new Tenure(context, run, taken);
    await tenure.#depose(held?.holder ?? '');
    return tenure;
  }

  /** Runs a transaction on the source that commits only while the lease is ours. `now` is the server's clock. */
  async act<T>(work: (sql: SqlExecutor, now: string) => Promise<T>): Promise<T> {
    return await this.#asOwner((epoch) =>
      this.#context.source.sql.transaction(async (sql) => {
        const now = await assertLease(sql, epoch);
        return await work(sql, now);
      }),
    );
  }

  /** Raises the epoch, as every switch does first. */
  async raise(): Promise<bigint> {
    const raised = this.#raiseOnce();
    this.#raising = raised.catch(() => undefined);
    return await raised;
  }

  async #raiseOnce(): Promise<bigint> {
    const { sql } = this.#context.source;
    const next = this.#epoch + 1n;
    await untilKnown({
      // Only we could have raised it for us.
      probe: async () => {
        const lease = await readLease(sql);
        return lease?.holder === this.#context.holder && lease.epoch === next ? '' : null;
      },
      act: async () => {
        await sql.transaction((transaction) => raiseEpoch(transaction, this.#epoch));
        return undefined;
      },
    });
    this.#epoch = next;
    return next;
  }

  /** An act that was under way while we raised the epoch ourselves was not deposed by anybody: it is done again. */
  async #asOwner<T>(attempt: (epoch: bigint) => Promise<T>): Promise<T> {
    for (;;) {
      const epoch = this.#epoch;
      try {
        return await attempt(epoch);
      } catch (error) {
        if (!isKind(error, 'deposed')) throw error;
        await this.#raising;
        if (this.#epoch === epoch) throw error;
      }
    }
  }

  /**
   * Says that we are alive, and by which session that can be seen: after a restart of the source it is another one, and
   * whoever looks for the old one would take us for gone. Throws kind `deposed`.
   */
  async heartbeat(): Promise<void> {
    const { sql, sessions } = this.#context.source;
    const session = await sessions.presence();
    await this.#asOwner((epoch) => heartbeat(sql, { epoch, session }));
    // The source answers again: an outcome that it did not take when it was told would else wait for the next step.
    if (this.#journal.isBehind) this.#settleInBackground();
  }

  /** Gives the lease back. */
  async release(): Promise<void> {
    await this.flush().catch(() => undefined);
    await releaseLease(this.#context.source.sql, this.#epoch);
  }

  /**
   * Intends, acts, records. The intent is durable before the act begins (S12); the outcome follows with the next intent or
   * a moment later, because every commit costs the window a disk's flush and a lost outcome only makes a restart probe.
   * When the act throws, the failure is recorded and thrown on. What the act returns is the step's detail if it is text.
   */
  async step<T>(where: StepScope, step: string, act: () => Promise<T>): Promise<T> {
    return await this.#quiet.during(async () => {
      await this.#write(begunLine(where, step));
      return await this.#actAndRecord(where, step, act);
    });
  }

  /**
   * As {@link step}, for an act that has no effect outside of our own sidecar ({@link Effect.changesNothing}): the intent is
   * written as an outcome is, and spares clients of a switch that they wait for one more flush of a disk.
   */
  async lookingStep<T>(where: StepScope, step: string, act: () => Promise<T>): Promise<T> {
    return await this.#quiet.during(async () => {
      this.#writeSoon(begunLine(where, step));
      return await this.#actAndRecord(where, step, act);
    });
  }

  async #actAndRecord<T>(where: StepScope, step: string, act: () => Promise<T>): Promise<T> {
    const begun = monotonicMs();
    let result: T;
    try {
      result = await act();
    } catch (error) {
      const ms = monotonicMs() - begun;
      if (!isKind(error, 'deposed'))
        this.#writeSoon({ ...where, step, status: 'failed', detail: messageOf(error), ms });
      throw error;
    }
    const detail = typeof result === 'string' ? result : null;
    this.#writeSoon({ ...where, step, status: 'done', detail, ms: monotonicMs() - begun });
    return result;
  }

  /** Writes a line that is no step of ours, durably, such as who asked for what. It is not told to observers. */
  async record(line: Line): Promise<void> {
    await this.#journal.write(redacted(line));
  }

  /** Writes what is left to write, and the mirror. */
  async flush(): Promise<void> {
    await this.#background;
    await this.#journal.flush();
    await this.#mirror();
  }

  /**
   * Copies what somebody on call needs while the source is down into the target's sidecar. A target that cannot take it is
   * told of, and stops nothing: the source stays the truth.
   */
  async #mirror(): Promise<void> {
    try {
      // Before the look: the status may know entries that come after it, and never the other way round.
      const end = this.#journal.end;
      const document = await readStatus(this.#context);
      await writeMirror(this.#context.target.sql, 'status', { document, end });
    } catch (error) {
      this.#context.emit({ type: 'note', phase: null, text: `the status was not mirrored: ${messageOf(error)}` });
    }
  }

  async #write(told: Line): Promise<void> {
    const line = redacted(told);
    this.#tell(line);
    await this.#journal.write(line);
  }

  #writeSoon(told: Line): void {
    const line = redacted(told);
    this.#tell(line);
    this.#journal.writeSoon(line);
    this.#settleInBackground();
  }

  #settleInBackground(): void {
    this.#quiet.written();
    this.#background ??= this.#settleSoon().finally(() => {
      this.#background = null;
    });
  }

  async #settleSoon(): Promise<void> {
    try {
      // What is told while the mirror is written has its turn as well.
      do {
        await this.#quiet.comes();
        await this.#journal.flush();
        await this.#mirror();
      } while (this.#journal.isBehind);
    } catch (error) {
      // The next intent meets the same failure, and there it stops the work; without one the heartbeat comes here again.
      this.#context.emit({ type: 'note', phase: null, text: `the journal was not written: ${messageOf(error)}` });
    }
  }

  #tell(line: Line): void {
    const { scope, phases, step, status } = line;
    this.#context.emit({
      type: 'step',
      scope,
      phases,
      step,
      status,
      ...(line.ms === null ? {} : { ms: line.ms }),
      ...(line.detail === null ? {} : { detail: line.detail }),
    });
  }

  async #depose(former: string): Promise<void> {
    const { source, target } = this.#context;
    for (const ports of [source, target]) {
      if (former !== '') await ports.sessions.endWorker(former);
      await ports.sql.transaction((sql) => raiseSide(sql, this.#epoch));
    }
  }
}

const begunLine = (where: StepScope, step: string): Line => ({
  ...where,
  step,
  status: 'begun',
  detail: null,
  ms: null,
});

/** What other programs and servers said may hold what nobody should read. */
const redacted = (line: Line): Line => ({ ...line, detail: line.detail === null ? null : redactText(line.detail) });

/** Who took the lease, and with which plan, is part of the audit. */
const writeTaken = async (sql: SqlExecutor, context: RunContext, epoch: bigint): Promise<ChainEnd> => {
  const detail = `worker ${context.holder} of ${context.by}, plan ${context.plan.hash.slice(0, 12)}`;
  const line = { scope: 'lease', phases: [], step: 'take', status: 'done', detail, ms: null } as const;
  const at = await assertLease(sql, epoch);
  return await writeJournal(sql, await readChainEnd(sql), { at, epoch, ...line });
};

const heldBy = (lease: { holder: string; host: string; ageSeconds: number }): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `worker ${lease.holder} on ${lease.host} holds the lease ` +
      `(${isAgeOfLiving(lease) ? `heartbeat ${lease.ageSeconds.toFixed(0)} s ago` : 'its heartbeat was seen'})`,
    {
      remedy: 'commands are executed by that worker; to take over, end it, or wait until its heartbeat is 15 s old',
    },
  );
