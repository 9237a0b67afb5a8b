import { isKind, SwitchbackError } from '../../src/domain/errors.ts';
import { type Position, type Side, sidesOf } from '../../src/domain/position.ts';
import { displayName } from '../../src/domain/table.ts';
import type { FollowOptions, Lane, LaneProgress, LaneSpec } from '../../src/engines/engine.ts';
import { after, monotonicMs, sleep } from './clock.ts';
import type { Network, SimExecutor } from './network.ts';
import { type Server, ServerError, type Session, type Transaction, type WalRecord } from './server.ts';
import type { Process } from './world.ts';

/** How lanes of a simulated engine fare, and what is planted in them. */
export interface LaneConditions {
  /** Milliseconds that applying a batch takes. */
  applyMs: number;
  /** Most transactions of a batch. */
  batch: number;
  /** Planted: the slot is told, and drains end, before what was applied is durable. */
  acknowledgesEarly: boolean;
  /** Planted: a drain ends at its position, whether its marker has arrived or not. */
  drainsWithoutMarkers: boolean;
  /** Planted: what a slot sends, changed on its way. */
  sends: (records: readonly WalRecord[]) => readonly WalRecord[];
  /** Told of every position that a slot is told. */
  onConfirmed(lane: string, side: Side, position: number): void;
  /** Told what a lane is about to apply, with the position that it believes everything before to be applied. */
  onApply(lane: string, side: Side, from: number, records: readonly WalRecord[]): void;
}

/** What a lane of the simulation is made of. */
export interface LaneParts {
  readonly network: Network;
  readonly process: Process;
  readonly spec: LaneSpec;
  readonly conditions: LaneConditions;
}

const EVICT_AFTER_MS = 3_000;
const READABLE_WITHIN_MS = 30_000;
const MARKER_EVERY_MS = 1_000;
const CHUNKS_PER_TABLE = 2;

interface Drain {
  readonly position: number;
  marker: bigint | null;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const halted = (spec: LaneSpec, id: string, fact: string): SwitchbackError =>
  new SwitchbackError('halted', fact, {
    findings: [{ id, severity: 'blocks', subject: spec.lane, fact, remedy: 'abort the phase and run it again' }],
  });

/**
 * Throws kind `halted` unless a slot can bring everything from a position on (S14). Ask for the position after the slot has
 * been looked at, as the real engine does.
 */
export const inspectSlot = async (parts: LaneParts, position: () => Promise<Position>): Promise<void> => {
  const { network, process, spec } = parts;
  const { from } = sidesOf(spec.direction);
  const seen = await network.request<{ readonly confirmed: number | null; readonly head: number }>(
    process,
    from,
    'inspect slot',
    (server, reply) =>
      reply({ value: { confirmed: server.slots.get(spec.slot)?.confirmed ?? null, head: server.lsn } }),
  );
  const wanted = Number(await position());
  if (seen.confirmed === null) throw halted(spec, 'lane/slot-lost', `slot ${spec.slot} does not exist on the ${from}`);
  if (seen.confirmed > wanted)
    throw halted(spec, 'lane/slot-lost', `slot ${spec.slot} has been read up to ${seen.confirmed}, beyond ${wanted}`);
  if (seen.head < wanted) {
    // The log's end may have been read before the position was: only a second look proves another history.
    const head = await network.request<number>(process, from, 'head', (server, reply) => reply({ value: server.lsn }));
    if (head < wanted)
      throw halted(spec, 'lane/slot-lost', `slot ${spec.slot} is in a log that ends at ${head}, before ${wanted}`);
  }
};

/** A lane between two simulated servers, with the promises and the weak moments of a real one. */
export class SimulatedLane implements Lane {
  readonly #parts: LaneParts;
  readonly #from: Side;
  readonly #to: Side;
  readonly #closing = new AbortController();
  readonly #drains = new Set<Drain>();
  #following: Promise<void> | null = null;
  #progress: LaneProgress | null = null;
  #arrived = 0n;

  constructor(parts: LaneParts) {
    this.#parts = parts;
    ({ from: this.#from, to: this.#to } = sidesOf(parts.spec.direction));
  }

  async copy({ observer, signal }: FollowOptions): Promise<void> {
    const { network, process, spec } = this.#parts;
    const to = network.sqlSide(process, this.#to);
    const progress = await spec.store.progress(to);
    if (progress === null) throw new SwitchbackError('internal', 'a copy without a start');
    if (progress.strictFrom !== null) return;
    const known = await spec.store.chunks(to);
    for (const table of spec.tables) {
      const name = displayName(table);
      for (let i = 0; i < CHUNKS_PER_TABLE; i++) {
        signal.throwIfAborted();
        const range = chunkRange(i);
        if (known.some((chunk) => chunk.table === name && chunk.upTo?.[0] === range.upTo?.[0])) continue;
        const rows = await this.#ask('read chunk', (server) => rowsIn(server, name, range));
        await network.transaction(
          process,
          this.#to,
          async (sql) => {
            await spec.store.recordChunk(sql, { table: name, ...range, rows: rows.length, bytes: 10 * rows.length });
            await sql.act('copy rows', (server, transaction) => {
              this.#assertSpace(server);
              for (const [key, value] of rows) server.write(transaction, `rows:${name}`, key, value);
            });
          },
          { isApplier: true },
        );
        observer.copied({ table: name, rows: rows.length, bytes: 0, finished: i === CHUNKS_PER_TABLE - 1 });
      }
    }
    const head = await this.#ask('head', (server) => server.lsn);
    await network.transaction(process, this.#to, (sql) =>
      spec.store.record(sql, { ...progress, strictFrom: String(head) as Position }),
    );
    this.#progress = null;
  }

  async follow(options: FollowOptions): Promise<void> {
    if (this.#following) throw new SwitchbackError('internal', 'this lane follows already');
    const signal = AbortSignal.any([options.signal, this.#closing.signal]);
    const following = this.#follow(signal, options);
    this.#following = following.catch(() => undefined);
    let reason: unknown = new SwitchbackError('aborted', `lane ${this.#parts.spec.lane} has stopped following`);
    try {
      await following;
    } catch (error) {
      reason = error;
      if (!signal.aborted || isKind(error, 'halted')) throw error;
    } finally {
      this.#following = null;
      for (const drain of this.#drains) drain.reject(reason);
    }
  }

  async drainTo(
    position: Position,
    { budgetMs, signal }: { readonly budgetMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    if (!this.#following) throw new SwitchbackError('busy', 'the lane does not follow now');
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => undefined);
    const drain: Drain = { position: Number(position), marker: null, resolve, reject };
    this.#drains.add(drain);
    const stop = (): void => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    const late = (): void =>
      reject(new SwitchbackError('aborted', `the lane did not reach ${position} within ${budgetMs} ms`));
    const cancel = after(budgetMs, late);
    try {
      this.#mark().then(
        (seq) => {
          drain.marker = seq;
          this.#check(drain);
        },
        (error: unknown) => reject(error),
      );
      await promise;
    } finally {
      cancel();
      signal.removeEventListener('abort', stop);
      this.#drains.delete(drain);
    }
  }

  async applied(): Promise<LaneProgress> {
    const { network, process, spec } = this.#parts;
    const progress = this.#progress ?? (await spec.store.progress(network.sqlSide(process, this.#to)));
    if (progress === null) throw new SwitchbackError('internal', 'the lane has not been opened');
    return progress;
  }

  async close({ drop }: { readonly drop: boolean }): Promise<void> {
    const { network, process, spec } = this.#parts;
    this.#closing.abort();
    await this.#following;
    if (drop)
      await network.effect(process, this.#from, 'drop slot', (server) => server.dropSlot(spec.slot, process.holder));
  }

  /** Stamps the stored progress with our epoch, which refuses an earlier worker's batches from then on. */
  async #claim(): Promise<LaneProgress> {
    const { network, process, spec } = this.#parts;
    return await network.transaction(process, this.#to, async (sql) => {
      await sql.act('lock progress', (server, transaction) =>
        server.lock(transaction, `sidecar:progress ${spec.lane}`, 'exclusive'),
      );
      const progress = await spec.store.progress(sql);
      if (progress === null || progress.strictFrom === null) {
        throw new SwitchbackError('internal', `lane ${spec.lane} cannot follow before its copy has ended`);
      }
      await spec.store.record(sql, progress);
      return progress;
    });
  }

  async #follow(signal: AbortSignal, options: FollowOptions): Promise<void> {
    const { network } = this.#parts;
    this.#arrived = 0n;
    let progress = await this.#claim();
    this.#reached(progress, this.#arrived);
    const broken = new AbortController();
    const session = await this.#attach(signal, progress);
    const stop = AbortSignal.any([signal, broken.signal]);
    const marking = this.#markOnAndOn(stop, options, broken);
    try {
      while (!signal.aborted) {
        broken.signal.throwIfAborted();
        const records = await this.#next(session, progress, stop);
        if (records.length > 0) progress = await this.#apply(session, progress, records, options);
      }
    } finally {
      broken.abort();
      await marking;
      network.servers[this.#from].end(session, 'closed');
    }
  }

  /** Takes the slot, from a session that has lost its worker if need be. */
  async #attach(signal: AbortSignal, progress: LaneProgress): Promise<Session> {
    const { network, process, spec } = this.#parts;
    const begun = monotonicMs();
    for (;;) {
      await inspectSlot(this.#parts, async () => progress.position);
      const mayEvict = monotonicMs() - begun > EVICT_AFTER_MS;
      const session = await this.#ask('start replication', (server) => {
        const slot = server.slots.get(spec.slot);
        if (!slot) return null;
        if (slot.active !== null && mayEvict) server.end(slot.active, 'evicted');
        if (slot.active !== null) return null;
        slot.active = network.connect(process, this.#from);
        return slot.active;
      });
      if (session) return session;
      if (monotonicMs() - begun > READABLE_WITHIN_MS) throw new SwitchbackError('busy', `slot ${spec.slot} is in use`);
      await sleep(200, signal);
    }
  }

  /** What has become durable on the origin after a position; waits until there is something. */
  async #next(session: Session, progress: LaneProgress, signal: AbortSignal): Promise<readonly WalRecord[]> {
    const { network, process } = this.#parts;
    signal.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const stop = (): void => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    const stream = network.request<readonly WalRecord[]>(
      process,
      this.#from,
      'stream',
      (server, reply) => {
        const look = (): void => {
          if (!session.isAlive) {
            reply({ error: new ServerError('57P01', 'the session was ended') });
            return;
          }
          const { batch, sends } = this.#parts.conditions;
          const records = sends(server.after(Number(progress.position)).slice(0, batch));
          if (records.length > 0) {
            reply({ value: records });
            return;
          }
          session.onEnd = look;
          server.onFlushed(look);
        };
        look();
      },
      session,
    );
    stream.catch(() => undefined);
    try {
      return await Promise.race([stream, promise]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  async #apply(
    session: Session,
    progress: LaneProgress,
    records: readonly WalRecord[],
    options: FollowOptions,
  ): Promise<LaneProgress> {
    const { spec, conditions } = this.#parts;
    if (conditions.applyMs > 0) await sleep(conditions.applyMs);
    const marker = records.findLast((record) => record.marker?.lane === spec.lane)?.marker?.seq;
    const position = String(records.at(-1)?.lsn ?? progress.position) as Position;
    const next = { ...progress, position, marker: marker ?? progress.marker };
    const touched = new Map<string, Set<string>>();
    let boot = 0;
    await this.#transaction(async (sql) => {
      await spec.store.record(sql, next);
      await sql.act('apply', (server, transaction) => {
        boot = server.boot;
        this.#assertSpace(server);
        conditions.onApply(spec.lane, this.#from, Number(progress.position), records);
        for (const record of records) this.#applyRecord({ server, transaction }, record, { progress, touched });
      });
    });
    const isEarly = conditions.acknowledgesEarly;
    if (!isEarly) await this.#flush(boot);
    this.#reached(next, marker ?? this.#arrived);
    this.#confirm(session, Number(position));
    options.observer.applied({
      position,
      changes: records.length,
      touched: [...touched].map(([table, keys]) => ({ table, keys: [...keys].map((key) => [key]) })),
    });
    return next;
  }

  async #transaction(work: (sql: SimExecutor) => Promise<void>): Promise<void> {
    const { network, process } = this.#parts;
    try {
      await network.transaction(process, this.#to, work, { isApplier: true, flush: false });
    } catch (error) {
      // The next run begins with the progress that is stored.
      if (isKind(error, 'unknown')) throw new SwitchbackError('unreachable', error.message);
      if (error instanceof ServerError && error.code === '53100') throw new SwitchbackError('busy', error.message);
      throw error;
    }
  }

  #applyRecord(
    where: { readonly server: Server; readonly transaction: Transaction },
    record: WalRecord,
    how: { readonly progress: LaneProgress; readonly touched: Map<string, Set<string>> },
  ): void {
    const { server, transaction } = where;
    const { spec } = this.#parts;
    // What an applier wrote came from the other side.
    if (record.isApplied) return;
    const isStrict = record.lsn > Number(how.progress.strictFrom);
    for (const { table, key, before, after: value } of record.rows) {
      if (!spec.tables.some((one) => displayName(one) === table)) continue;
      const found = (server.read(transaction, `rows:${table}`, key) ?? null) as string | null;
      if (isStrict && found !== before) {
        throw halted(
          spec,
          'lane/divergence',
          `row ${key} of ${table} is "${found}" on the ${this.#to}, and was "${before}" on the ${this.#from}`,
        );
      }
      server.write(transaction, `rows:${table}`, key, value ?? undefined);
      const keys = how.touched.get(table) ?? new Set();
      how.touched.set(table, keys.add(key));
    }
  }

  async #flush(boot: number): Promise<void> {
    const { network, process } = this.#parts;
    await network.effect(process, this.#to, 'flush', (server) => {
      if (server.boot !== boot) throw new ServerError('57P01', 'the server was started since');
      server.flush();
    });
  }

  #confirm(session: Session, position: number): void {
    const { network, process, spec, conditions } = this.#parts;
    void network
      .request<void>(process, this.#from, 'confirm', (server, reply) => {
        const slot = server.slots.get(spec.slot);
        if (slot && slot.active === session && slot.confirmed < position) {
          slot.confirmed = position;
          conditions.onConfirmed(spec.lane, this.#to, position);
        }
        reply({ value: undefined });
      })
      .catch(() => undefined);
  }

  #reached(progress: LaneProgress, arrived: bigint): void {
    this.#progress = progress;
    this.#arrived = arrived;
    for (const drain of this.#drains) this.#check(drain);
  }

  #check(drain: Drain): void {
    const hasMarker = drain.marker !== null && this.#arrived >= drain.marker;
    if (!hasMarker && !this.#parts.conditions.drainsWithoutMarkers) return;
    if (Number(this.#progress?.position ?? 0) >= drain.position) drain.resolve();
  }

  async #mark(): Promise<bigint> {
    const { network, process, spec } = this.#parts;
    let seq = 0n;
    await network.transaction(
      process,
      this.#from,
      (sql) =>
        sql.act('marker', (server, transaction) => {
          const row = server.read(transaction, 'sidecar:marker', spec.lane) as { seq: string } | undefined;
          seq = BigInt(row?.seq ?? 0) + 1n;
          server.write(transaction, 'sidecar:marker', spec.lane, {
            lane: spec.lane,
            seq: String(seq),
            at: server.clock(),
          });
        }),
      { marker: () => ({ lane: spec.lane, seq }) },
    );
    return seq;
  }

  async #markOnAndOn(signal: AbortSignal, { observer }: FollowOptions, broken: AbortController): Promise<void> {
    while (!signal.aborted) {
      const begun = monotonicMs();
      try {
        await this.#mark();
        observer.lag((monotonicMs() - begun) / 1000);
        await sleep(MARKER_EVERY_MS, signal);
      } catch (error) {
        if (!signal.aborted) broken.abort(error);
        return;
      }
    }
  }

  #assertSpace(server: Server): void {
    if (server.isDiskFull) throw new ServerError('53100', 'could not extend file: No space left on device');
  }

  #ask<T>(label: string, answer: (server: Server) => T): Promise<T> {
    const { network, process } = this.#parts;
    return network.request<T>(process, this.#from, label, (server, reply) => reply({ value: answer(server) }));
  }
}

/** Keys begin with a letter or digit; `n` cuts them in two. */
const chunkRange = (i: number) => (i === 0 ? { after: null, upTo: ['n'] } : { after: ['n'], upTo: null });

const rowsIn = (server: Server, table: string, { after: low, upTo }: ReturnType<typeof chunkRange>) =>
  ([...server.store(`rows:${table}`)] as [string, string][]).filter(
    ([key]) => (low === null || key > (low[0] ?? '')) && (upTo === null || key <= (upTo[0] ?? '')),
  );
