import type { Socket } from 'node:net';
import type pg from 'pg';
import replication from 'pg-logical-replication';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import { Lsn } from '../../platform/postgres/lsn.ts';
import { quoteName, quoteText } from '../../platform/postgres/quote.ts';
import { codeOf, type PostgresServer } from '../../platform/postgres/server.ts';
import { tapFrames } from './frames.ts';
import { halted, SLOT_LOST_REMEDY } from './halt.ts';
import type { LaneTables } from './lane-table.ts';
import type { Span } from './pgoutput.ts';
import type { Batch } from './queue.ts';
import { Receiver, type ReceiverOptions } from './receiver.ts';
import type { SpoolPlace } from './spool.ts';

/** What a reader reads. */
export interface ReaderOptions {
  readonly server: PostgresServer;
  readonly lane: string;
  readonly publication: string;
  readonly slot: string;
  /** Everything before it is durable on the other side, and in the archive if there is one. */
  readonly from: Position;
  /** Everything before it is durable on the other side; later than `from` where the archive lacks some of it. */
  readonly applied: Position;
  readonly archive: ReceiverOptions['archive'];
  readonly tables: LaneTables;
  /** Where transactions that are streamed before they commit wait for it, as long as it is usable. */
  readonly place: SpoolPlace;
}

type Service = InstanceType<typeof replication.LogicalReplicationService>;

const STATUS_EVERY_MS = 1_000;
/** It answers every status; only a very large transaction that is not for us keeps it busy for long. */
const SILENT_MS = 120_000;
/** From this major on a large transaction is sent before it commits, so that the origin need not keep it. */
const STREAMS_FROM = 140_000;

/**
 * Reads a slot and queues its changes in whole transactions. One instance is one attempt (notes: hazard 5). The origin is
 * told only what {@link SlotReader.confirm} was told, by our own timer, also while the socket is paused (hazards 2 and 4).
 */
export class SlotReader {
  readonly #options: ReaderOptions;
  readonly #service: Service;
  readonly #receiver: Receiver;
  #socket: Socket | undefined;
  #status: NodeJS.Timeout | undefined;
  #durable: bigint;
  #isEnded = false;
  #hasHeard = false;
  #silentMs = 0;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#durable = Lsn.parse(options.from);
    const { lane, tables, place, archive } = options;
    this.#receiver = new Receiver({
      lane,
      tables,
      place,
      ...(archive && { archive, applied: Lsn.parse(options.applied) }),
      onRoom: () => this.#socket?.resume(),
      onFailure: (error) => this.#end(error),
    });
    this.#service = new replication.LogicalReplicationService(options.server.config('reader'), {
      acknowledge: { auto: false, timeoutSeconds: 0 },
    });
  }

  /** Begins to stream. Rejects when the slot cannot be read, kind `busy` while another session reads it. */
  async start(): Promise<void> {
    const { isStreaming, everyMs } = await this.#ask();
    const started = Promise.withResolvers<void>();
    const service = this.#service;
    service.on('start', () => started.resolve());
    service.on('error', (error) => this.#end(error));
    service.on('heartbeat', (_lsn, _time, shouldRespond) => this.#heartbeat(shouldRespond));
    const { slot, from } = this.#options;
    service
      .subscribe(this.#plugin(isStreaming), slot, from)
      .then(() => new SwitchbackError('unreachable', `the ${this.#options.server.label} ended the stream`))
      .catch((error: unknown) => error)
      .then((error) => {
        this.#end(error);
        started.reject(this.#explain(error));
      });
    await started.promise;
    this.#status = setInterval(() => this.#beat(everyMs), everyMs);
    this.#tellStatus(false);
  }

  /** The next batch; see {@link ChangeQueue.take}. Rejects with kind `unreachable` when the stream broke. */
  async take(signal: AbortSignal): Promise<Batch> {
    const batch = await this.#receiver.queue.take(signal);
    if (batch === null) throw new SwitchbackError('unreachable', `the ${this.#options.server.label} ended the stream`);
    return batch;
  }

  /** The batch that {@link SlotReader.take} would hand out at once, if there is one that is full. */
  get next(): Batch | undefined {
    return this.#receiver.queue.next;
  }

  /** The archive may have room again. */
  room(): void {
    this.#receiver.room();
  }

  /** Everything before this end of a commit is durable on the other side, and in the archive if there is one; the origin may forget it. */
  confirm(position: Position): void {
    this.#durable = Lsn.parse(position);
  }

  /** Ends the session, after a last status. */
  async stop(): Promise<void> {
    this.#tellStatus(false);
    clearInterval(this.#status);
    this.#isEnded = true;
    // Not politely: a paused socket would never see the server's answer.
    this.#socket?.destroySoon();
    await Promise.all([this.#receiver.close(), this.#service.destroy().catch(() => undefined)]);
  }

  #plugin(isStreaming: boolean): Parameters<Service['subscribe']>[0] {
    const { publication } = this.#options;
    return {
      name: 'pgoutput',
      options: {},
      parse: (bytes: Buffer) => bytes,
      start: async (client: pg.Client, slot: string, lsn: string) => {
        this.#socket = (client as unknown as { connection: { stream: Socket } }).connection.stream;
        tapFrames(this.#socket, (span) => this.#receive(span));
        const protocol = isStreaming ? "proto_version '2', streaming 'on'" : "proto_version '1'";
        const options = `${protocol}, publication_names ${quoteText(quoteName(publication))}`;
        return await client.query(`START_REPLICATION SLOT ${quoteName(slot)} LOGICAL ${lsn} (${options})`);
      },
    };
  }

  async #ask(): Promise<{ readonly isStreaming: boolean; readonly everyMs: number }> {
    const { rows } = await this.#options.server.query(
      `SELECT current_setting('server_version_num') AS version,
              (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout') AS ms`,
    );
    const timeoutMs = Number(rows[0]?.ms ?? '0');
    return {
      isStreaming: this.#options.place.isUsable && Number(rows[0]?.version ?? '0') >= STREAMS_FROM,
      everyMs: timeoutMs > 0 ? Math.min(STATUS_EVERY_MS, timeoutMs / 4) : STATUS_EVERY_MS,
    };
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

  /** Must not throw: nobody would hear of it. */
  #receive(span: Span): void {
    this.#hasHeard = true;
    if (this.#isEnded) return;
    try {
      this.#receiver.receive(span);
    } catch (error) {
      this.#end(error);
    }
    if (this.#receiver.isFull) this.#socket?.pause();
  }

  #heartbeat(shouldRespond: boolean): void {
    this.#hasHeard = true;
    if (shouldRespond) this.#tellStatus(false);
  }

  #end(failure?: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#receiver.end(failure === undefined ? undefined : this.#explain(failure));
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
