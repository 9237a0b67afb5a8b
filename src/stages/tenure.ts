import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { monotonicMs } from '../platform/clock.ts';
import { writeJournal } from '../sidecar/journal.ts';
import {
  assertLease,
  heartbeat,
  LEASE_EXPIRES_AFTER_SECONDS,
  raiseEpoch,
  readLease,
  releaseLease,
  takeLease,
} from '../sidecar/lease.ts';
import { raiseSide } from '../sidecar/ownership.ts';
import { writeMirror } from '../sidecar/records.ts';
import { closeOrphanedRequests } from '../sidecar/requests.ts';
import type { RunContext } from './context.ts';
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
  readonly #context: RunContext;
  #epoch: bigint;

  private constructor(context: RunContext, epoch: bigint) {
    this.#context = context;
    this.#epoch = epoch;
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
    if (held && held.holder !== '' && held.ageSeconds < LEASE_EXPIRES_AFTER_SECONDS) {
      if (await sessions.isPresent(held.session)) throw heldBy(held);
    }
    const claim = { run, holder: context.holder, host: context.host, session: await sessions.presence() };
    const epoch = await takeLease(sql, { ...claim, over: held?.epoch ?? null });
    if (epoch === null)
      throw heldBy((await readLease(sql)) ?? { holder: 'somebody', host: 'elsewhere', ageSeconds: 0 });
    const tenure = new Tenure(context, epoch);
    await tenure.#depose(held?.holder ?? '');
    return tenure;
  }

  /** Runs a transaction on the source that commits only while the lease is ours. */
  async act<T>(work: (sql: SqlExecutor) => Promise<T>): Promise<T> {
    return await this.#context.source.sql.transaction(async (sql) => {
      await assertLease(sql, this.#epoch);
      return await work(sql);
    });
  }

  /** Raises the epoch, as every switch does first. */
  async raise(): Promise<bigint> {
    this.#epoch = await this.#context.source.sql.transaction((sql) => raiseEpoch(sql, this.#epoch));
    return this.#epoch;
  }

  /** Says that we are alive. Throws kind `deposed`. */
  async heartbeat(): Promise<void> {
    await heartbeat(this.#context.source.sql, this.#epoch);
  }

  /** Gives the lease back. */
  async release(): Promise<void> {
    await releaseLease(this.#context.source.sql, this.#epoch);
  }

  /**
   * Intends, acts, records. The intent is durable before the act begins; when the act throws, the failure is recorded and
   * thrown on. What the act returns is the step's detail in the journal if it is text.
   */
  async step<T>(where: StepScope, step: string, act: () => Promise<T>): Promise<T> {
    await this.#write(where, { step, status: 'begun', detail: null, ms: null });
    const begun = monotonicMs();
    let result: T;
    try {
      result = await act();
    } catch (error) {
      if (!isKind(error, 'deposed')) {
        const ms = monotonicMs() - begun;
        // When even the failure cannot be written, the failure itself is what the caller must see.
        await this.#write(where, { step, status: 'failed', detail: messageOf(error), ms }).catch(() => undefined);
      }
      throw error;
    }
    const detail = typeof result === 'string' ? result : null;
    await this.#write(where, { step, status: 'done', detail, ms: monotonicMs() - begun });
    await this.mirror();
    return result;
  }

  /** Records that a step's effect was taken back. */
  async undone(where: StepScope, step: string): Promise<void> {
    await this.#write(where, { step, status: 'undone', detail: null, ms: null });
  }

  /**
   * Copies what somebody on call needs while the source is down into the target's sidecar. A target that cannot take it is
   * told of, and stops nothing: the source stays the truth.
   */
  async mirror(): Promise<void> {
    try {
      await writeMirror(this.#context.target.sql, 'status', await readStatus(this.#context));
    } catch (error) {
      this.#context.emit({ type: 'note', phase: null, text: `the status was not mirrored: ${messageOf(error)}` });
    }
  }

  async #write(
    where: StepScope,
    line: { step: string; status: 'begun' | 'done' | 'failed' | 'undone'; detail: string | null; ms: number | null },
  ): Promise<void> {
    await this.act((sql) => writeJournal(sql, { epoch: this.#epoch, ...where, ...line }));
    this.#context.emit({
      type: 'step',
      ...where,
      step: line.step,
      status: line.status,
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
    await this.act(closeOrphanedRequests);
  }
}

const heldBy = (lease: { holder: string; host: string; ageSeconds: number }): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `worker ${lease.holder} on ${lease.host} holds the lease (heartbeat ${lease.ageSeconds.toFixed(0)} s ago)`,
    {
      remedy: 'commands are executed by that worker; to take over, end it, or wait until its heartbeat is 15 s old',
    },
  );
