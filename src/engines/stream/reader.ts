import type { Socket } from 'node:net';
import type pg from 'pg';
import replication from 'pg-logical-replication';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { quoteName, quoteText } from '../../platform/postgres/quote.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';
import type { Change } from '../../rows/change.ts';
import { fillUnchanged, type Tuple } from '../../rows/tuple.ts';
import { halted, SLOT_LOST_REMEDY } from './halt.ts';
import { type LaneTable, type LaneTables, type Matched, matchRelation } from './lane-table.ts';
import { decode, type Message, type Relation, type Span } from './pgoutput.ts';
import { type Batch, ChangeQueue } from './queue.ts';

/** What a reader reads. */
export interface ReaderOptions {
  readonly server: PostgresServer;
  readonly lane: string;
  readonly publication: string;
  readonly slot: string;
  /** Everything before it is durable on the other side. */
  readonly from: Position;
  readonly tables: LaneTables;
}

type Service = InstanceType<typeof replication.LogicalReplicationService>;

/** Messages are copied into blocks of this size; the driver reuses its own buffer while ours still refer to it. */
const BLOCK_BYTES = 256 * 2 ** 10;
const STATUS_EVERY_MS = 1_000;
/** It answers every status; only a very large transaction that is not for us keeps it busy for long. */
const SILENT_MS = 120_000;

/**
 * Reads a slot and queues its changes in whole transactions. One instance is one attempt (notes: hazard 5). The origin is
 * told only what {@link SlotReader.confirm} was told, by our own timer, also while the socket is paused (hazards 2 and 4).
 */
export class SlotReader {
  readonly #options: ReaderOptions;
  readonly #service: Service;
  readonly #queue = new ChangeQueue(() => this.#socket?.resume());
  readonly #relations = new Map<number, { readonly text: string; readonly matched: Matched }>();
  readonly #types = new Map<number, { schema: string; name: string }>();
  #socket: Socket | undefined;
  #status: NodeJS.Timeout | undefined;
  #durable: bigint;
  #block = Buffer.alloc(0);
  #blockUsed = 0;
  #isEnded = false;
  #hasHeard = false;
  #silentMs = 0;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#durable = Lsn.parse(options.from);
    this.#service = new replication.LogicalReplicationService(options.server.config('reader'), {
      acknowledge: { auto: false, timeoutSeconds: 0 },
    });
  }

  /** Begins to stream. Rejects when the slot cannot be read, kind `busy` while another session reads it. */
  async start(): Promise<void> {
    const started = Promise.withResolvers<void>();
    const service = this.#service;
    service.on('start', () => started.resolve());
    service.on('error', (error) => this.#end(error));
    service.on('data', (_lsn: string, bytes: Buffer) => this.#receive(bytes));
    service.on('heartbeat', (_lsn, _time, shouldRespond) => this.#heartbeat(shouldRespond));
    const { slot, from } = this.#options;
    service
      .subscribe(this.#plugin(), slot, from)
      .then(() => new SwitchbackError('unreachable', `the ${this.#options.server.label} ended the stream`))
      .catch((error: unknown) => error)
      .then((error) => {
        this.#end(error);
        started.reject(this.#explain(error));
      });
    await started.promise;
    const everyMs = await this.#statusEveryMs();
    this.#status = setInterval(() => this.#beat(everyMs), everyMs);
    this.#tellStatus(false);
  }

  /** The next batch; see {@link ChangeQueue.take}. Rejects with kind `unreachable` when the stream broke. */
  async take(signal: AbortSignal): Promise<Batch> {
    const batch = await this.#queue.take(signal);
    if (batch === null) throw new SwitchbackError('unreachable', `the ${this.#options.server.label} ended the stream`);
    return batch;
  }

  /** Everything before this end of a commit is durable on the other side; the origin may forget it. */
  confirm(position: Position): void {
    this.#durable = Lsn.parse(position);
  }

  /** Ends the session, after a last status. */
  async stop(): Promise<void> {
    this.#tellStatus(false);
    clearInterval(this.#status);
    this.#isEnded = true;
    this.#queue.end();
    // Not politely: a paused socket would never see the server's answer.
    this.#socket?.destroySoon();
    await this.#service.destroy().catch(() => undefined);
  }

  #plugin(): Parameters<Service['subscribe']>[0] {
    const { publication } = this.#options;
    return {
      name: 'pgoutput',
      options: {},
      parse: (bytes: Buffer) => bytes,
      start: async (client: pg.Client, slot: string, lsn: string) => {
        this.#socket = (client as unknown as { connection: { stream: Socket } }).connection.stream;
        const options = `proto_version '1', publication_names ${quoteText(quoteName(publication))}`;
        return await client.query(`START_REPLICATION SLOT ${quoteName(slot)} LOGICAL ${lsn} (${options})`);
      },
    };
  }

  async #statusEveryMs(): Promise<number> {
    const { rows } = await this.#options.server.query(
      "SELECT setting AS ms FROM pg_settings WHERE name = 'wal_sender_timeout'",
    );
    const timeoutMs = Number(rows[0]?.ms ?? '0');
    return timeoutMs > 0 ? Math.min(STATUS_EVERY_MS, timeoutMs / 4) : STATUS_EVERY_MS;
  }

  /** With `ping` the origin answers, so that a connection that is only half there is noticed. */
  #tellStatus(ping: boolean): void {
    if (this.#isEnded) return;
    // The library adds one: a transaction that begins right there would be skipped (hazard 1).
    this.#service.acknowledge(Lsn.format(this.#durable - 1n), ping).catch(() => undefined);
  }

  #beat(everyMs: number): void {
    const isListening = this.#socket?.isPaused() === false;
    this.#silentMs = this.#hasHeard || !isListening ? 0 : this.#silentMs + everyMs;
    this.#hasHeard = false;
    this.#tellStatus(true);
    if (this.#silentMs <= SILENT_MS) return;
    const text = `the ${this.#options.server.label} has been silent for ${SILENT_MS / 1_000} s`;
    this.#end(new SwitchbackError('unreachable', text));
  }

  /** Must not throw: the library would go on as if nothing had happened (hazard 3). */
  #receive(bytes: Buffer): void {
    this.#hasHeard = true;
    if (this.#isEnded) return;
    try {
      this.#take(decode(this.#keep(bytes)), bytes.length);
    } catch (error) {
      this.#end(error);
    }
    if (this.#queue.isFull) this.#socket?.pause();
  }

  #heartbeat(shouldRespond: boolean): void {
    this.#hasHeard = true;
    if (shouldRespond) this.#tellStatus(false);
  }

  #keep(bytes: Buffer): Span {
    if (bytes.length > BLOCK_BYTES / 4) return { bytes: Buffer.from(bytes), start: 0, end: bytes.length };
    if (this.#blockUsed + bytes.length > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      this.#blockUsed = 0;
    }
    const start = this.#blockUsed;
    this.#blockUsed += bytes.copy(this.#block, start);
    return { bytes: this.#block, start, end: this.#blockUsed };
  }

  #take(message: Message, bytes: number): void {
    switch (message.type) {
      case 'begin':
        this.#queue.begin(message.commitLsn);
        break;
      case 'commit':
        this.#queue.commit(message.endLsn);
        break;
      case 'type':
        this.#types.set(message.id, { schema: message.schema, name: message.name });
        break;
      case 'relation':
        this.#relation(message.relation);
        break;
      case 'truncate':
        this.#truncate(message);
        break;
      case 'insert':
      case 'update':
      case 'delete':
        this.#row(message, bytes);
        break;
      case 'ignored':
    }
  }

  #row(message: Message & { readonly type: 'insert' | 'update' | 'delete' }, bytes: number): void {
    const relation = this.#matched(message.relationId);
    if (relation.kind === 'marker') {
      if (message.type !== 'delete') this.#mark(message.after, relation.columns);
      return;
    }
    if (relation.kind !== 'table') throw new RangeError('a change of a partitioned table itself');
    this.#queue.add(changeOf(message, relation.table), bytes);
  }

  #mark(row: Tuple, columns: readonly string[]): void {
    const [lane, seq] = row.texts([columns.indexOf('lane'), columns.indexOf('seq')]);
    if (lane === this.#options.lane && seq) this.#queue.mark(BigInt(seq));
  }

  #truncate(message: Message & { readonly type: 'truncate' }): void {
    const tables = message.relationIds
      .map((id) => this.#matched(id))
      .flatMap((relation) => (relation.kind === 'table' ? [relation.table] : []));
    if (tables.length === 0) return;
    this.#queue.add({ kind: 'truncate', tables, restartIdentity: message.restartIdentity }, 0);
  }

  /** Relations are described again after any invalidation (hazard 7); the same description keeps the same object. */
  #relation(relation: Relation): void {
    const text = JSON.stringify([relation, relation.columns.map((c) => this.#types.get(c.typeId))]);
    if (this.#relations.get(relation.id)?.text === text) return;
    const matched = matchRelation(relation, this.#types, this.#options.tables);
    this.#relations.set(relation.id, { text, matched });
  }

  #matched(id: number): Matched {
    const relation = this.#relations.get(id);
    if (relation === undefined) throw new RangeError(`a change of a relation that was not described: ${id}`);
    return relation.matched;
  }

  #end(failure?: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#queue.end(failure === undefined ? undefined : this.#explain(failure));
    this.#socket?.destroy();
  }

  #explain(error: unknown): unknown {
    const { server, slot } = this.#options;
    switch (codeOf(error)) {
      case '55006':
        return new SwitchbackError('busy', `slot ${slot} on the ${server.label} is being read by another session`, {
          remedy: `select active_pid from pg_replication_slots where slot_name = ${quoteText(slot)}`,
          cause: error,
        });
      case '42704':
      case '55000':
        return slotLost(server.label, slot, error);
      default:
        return server.wrap(error);
    }
  }
}

const slotLost = (side: string, slot: string, error: unknown): SwitchbackError =>
  halted(
    {
      id: 'lane/slot-lost',
      subject: `slot ${slot}`,
      fact: `the ${side} cannot stream from it: ${error instanceof Error ? error.message : String(error)}`,
      remedy: SLOT_LOST_REMEDY,
    },
    error,
  );

const changeOf = (
  message: Message & { readonly type: 'insert' | 'update' | 'delete' },
  table: LaneTable,
): Change<LaneTable> => {
  switch (message.type) {
    case 'insert':
      return { kind: 'insert', table, after: message.after };
    case 'update': {
      const { before, isWhole } = message;
      // Without FULL the old row has only the key's columns, which may be TOASTed themselves.
      const after = fillUnchanged(message.after, before, isWhole ? undefined : (table.keyAt ?? []));
      return { kind: 'update', table, before, after };
    }
    case 'delete':
      return { kind: 'delete', table, before: message.before };
  }
};
