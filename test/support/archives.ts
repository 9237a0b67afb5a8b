import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readInventory } from '../../src/databases/postgres/inventory.ts';
import type { Direction, Position } from '../../src/domain/position.ts';
import { displayName } from '../../src/domain/table.ts';
import type { ArchiveOptions, ArchivePlace, Replayed } from '../../src/engines/archive.ts';
import type {
  Archives,
  Engine,
  Lane,
  LaneObserver,
  LaneSpec,
  LaneStart,
  ReplayInto,
} from '../../src/engines/engine.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { DirectoryObjects } from '../../src/platform/objects/directory.ts';
import { Envelope } from '../../src/platform/objects/envelope.ts';
import type { ObjectEntry, Objects } from '../../src/platform/objects/objects.ts';
import { SealKey } from '../../src/platform/objects/seal-key.ts';
import { SealedObjects } from '../../src/platform/objects/sealed.ts';
import { quoteTable } from '../../src/platform/postgres/quote.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';
import { createDatabase, runSql, type ServerPair } from './servers.ts';

/** A key, and another one. */
export const KEYS = ['aa', 'bb'].map((byte) => SealKey.read(byte.repeat(32), 'test'));

/** Objects in a directory as the plan would have them, encrypted with the first key or another. */
export const objectsIn = (directory: string, key: SealKey | null = KEYS[0] ?? null): Objects =>
  new SealedObjects(new Envelope(new DirectoryObjects(directory), { key, zstd: true }));

/** Objects that cannot be written while `isBroken`. */
export class FailingObjects implements Objects {
  isBroken = false;
  failures = 0;
  readonly label: string;
  readonly puts: string[] = [];
  readonly #objects: Objects;

  constructor(objects: Objects) {
    this.label = objects.label;
    this.#objects = objects;
  }

  async put(key: string, bytes: AsyncIterable<Uint8Array>): Promise<ObjectEntry> {
    if (this.isBroken) {
      this.failures += 1;
      throw new Error('no room');
    }
    this.puts.push(key);
    return await this.#objects.put(key, bytes);
  }

  get(key: string): AsyncIterable<Uint8Array> {
    return this.#objects.get(key);
  }

  list(prefix: string): AsyncIterable<ObjectEntry> {
    return this.#objects.list(prefix);
  }

  async remove(key: string): Promise<void> {
    await this.#objects.remove(key);
  }
}

/** Options for a read that nobody watches or stops. */
export const reading = (): ArchiveOptions => ({ signal: new AbortController().signal, progress: () => undefined });

/** A lane that follows. */
export interface Following {
  readonly lane: Lane;
  readonly texts: string[];
  readonly ended: Promise<unknown>;
  stop(): Promise<void>;
}

/** Small segments, so that there are several; time closes none. */
const LIMITS = { bytes: 32 * 1024, ageMs: 3_600_000, idleMs: 3_600_000 };
let worlds = 0;

/** A source (13) and a target (18) with lanes both ways that archive, and databases beside the source that stand for restored ones. */
export class ArchiveWorld {
  readonly name: string;
  readonly directory: string;
  readonly objects: FailingObjects;
  readonly urls: { readonly source: string; readonly target: string };
  readonly source: PostgresServer;
  readonly target: PostgresServer;
  readonly engine: Engine;
  readonly #pair: ServerPair;
  readonly #schema: string;
  readonly #following: Following[] = [];
  readonly #restored: PostgresServer[] = [];
  epoch = 1n;

  static async create(pair: ServerPair, schema: string, limits = LIMITS): Promise<ArchiveWorld> {
    worlds += 1;
    const name = `archive_${worlds}`;
    const urls = { source: await createDatabase(pair.source, name), target: await createDatabase(pair.target, name) };
    const world = new ArchiveWorld({ pair, name, urls, schema, limits });
    for (const url of [urls.source, urls.target]) await runSql(url, schema);
    for (const server of [world.source, world.target]) await server.transaction(installSidecar);
    return world;
  }

  private constructor(parts: {
    readonly pair: ServerPair;
    readonly name: string;
    readonly urls: ArchiveWorld['urls'];
    readonly schema: string;
    readonly limits: typeof LIMITS;
  }) {
    this.#pair = parts.pair;
    this.name = parts.name;
    this.urls = parts.urls;
    this.#schema = parts.schema;
    this.directory = mkdtempSync(join(tmpdir(), 'switchback-archive-'));
    this.objects = new FailingObjects(objectsIn(this.directory));
    this.source = new PostgresServer({ url: parts.urls.source, label: 'source', application: 'switchback' });
    this.target = new PostgresServer({ url: parts.urls.target, label: 'target', application: 'switchback' });
    const archiveLimits = parts.limits;
    this.engine = streamEngine({ source: this.source, target: this.target }, { archiveLimits });
  }

  get archives(): Archives {
    if (this.engine.archives === undefined) throw new Error('it has no archives');
    return this.engine.archives;
  }

  get place(): ArchivePlace {
    return { objects: this.objects, run: 'run-1', phase: 'all' };
  }

  slot(direction: Direction): string {
    return `${this.name}_${direction}`;
  }

  async spec(direction: Direction): Promise<LaneSpec> {
    const { tables, roots } = await readInventory(this.source);
    const store = laneStore(`all/${direction}`, () => this.epoch);
    const names = { publication: this.name, slot: this.slot(direction) };
    const archive = { ...this.place, epoch: () => this.epoch };
    return { lane: `all/${direction}`, direction, tables, roots, ...names, store, archive };
  }

  /** Publishes, opens the lane, copies where it is new, and follows. */
  async follow(direction: Direction, start: LaneStart): Promise<Following> {
    const spec = await this.spec(direction);
    await this.engine.publish({ ...spec, guard: async () => undefined });
    const lane = await this.engine.openLane(spec, start);
    const texts: string[] = [];
    const observer: LaneObserver = {
      copied: () => undefined,
      applied: () => undefined,
      lag: () => undefined,
      paced: (text) => void texts.push(text),
    };
    const stop = new AbortController();
    if (start.kind === 'create') await lane.copy({ signal: stop.signal, observer });
    const ended = lane.follow({ signal: stop.signal, observer }).then(
      () => undefined,
      (error: unknown) => error,
    );
    const following: Following = {
      lane,
      texts,
      ended,
      stop: async () => {
        stop.abort();
        const error = await ended;
        await lane.close({ drop: false });
        if (error !== undefined) throw error;
      },
    };
    this.#following.push(following);
    return following;
  }

  /** Everything that is committed on the side that it reads from is durable on the other side and in the archive. */
  async drain(following: Following, direction: Direction): Promise<Position> {
    const head = await this.head(direction === 'forward' ? this.source : this.target);
    const drained = following.lane.drainTo(head, { budgetMs: 60_000, signal: new AbortController().signal });
    await drained.catch(async (error: unknown) => {
      throw (await Promise.race([following.ended, undefined])) ?? error;
    });
    return head;
  }

  async head(server: PostgresServer): Promise<Position> {
    const { rows } = await server.query('SELECT pg_current_wal_insert_lsn()::text AS head');
    return rows[0]?.head as Position;
  }

  /** What the slot of a lane lets its server forget. */
  async confirmed(direction: Direction): Promise<Position> {
    const server = direction === 'forward' ? this.source : this.target;
    const { rows } = await server.query(
      'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1',
      [this.slot(direction)],
    );
    return rows[0]?.lsn as Position;
  }

  /** Switches: reserves the slot of the way back, ends this lane, and follows the other way from the head of its side. */
  async turn(from: Following, direction: Direction): Promise<Following> {
    const back = direction === 'forward' ? 'reverse' : 'forward';
    const spec = await this.spec(back);
    await this.engine.publish({ ...spec, guard: async () => undefined });
    await (await this.engine.openLane(spec, { kind: 'reserve' })).close({ drop: false });
    const ended = await this.drain(from, direction);
    await from.stop();
    this.epoch += 1n;
    const position = await this.head(back === 'forward' ? this.source : this.target);
    return await this.follow(back, { kind: 'from', position, ended });
  }

  /** An empty database like the source, as a snapshot that was taken before anything was written would be restored. */
  async restored(): Promise<{ readonly url: string; readonly server: PostgresServer }> {
    const name = `${this.name}_restored_${this.#restored.length}`;
    const url = await createDatabase(this.#pair.source, name);
    await runSql(url, this.#schema);
    const server = new PostgresServer({ url, label: 'restored', application: 'switchback' });
    this.#restored.push(server);
    await server.transaction(installSidecar);
    return { url, server };
  }

  /** Replays into a restored database that stands at a position of the source. */
  async replay(url: string, at: Position, more: Partial<ReplayInto> = {}): Promise<Replayed> {
    const { tables } = await readInventory(this.source);
    const stores = {
      forward: laneStore('all/replay', () => this.epoch),
      reverse: laneStore('all/reverse', () => this.epoch),
    };
    const source = { atLeast: at, atMost: at };
    const into: ReplayInto = { url, label: 'restored', tables, stores, source, until: null, ...more };
    return await this.archives.replay(this.place, into, reading());
  }

  /** Every table's rows, sorted, as one text each. */
  async contents(server: PostgresServer): Promise<Record<string, unknown>> {
    const { tables } = await readInventory(this.source);
    const result: Record<string, unknown> = {};
    for (const table of tables) {
      const { rows } = await server.query(
        `SELECT count(*) || ' rows ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE "C")), '') AS all FROM ONLY ${quoteTable(table)} t`,
      );
      result[displayName(table)] = rows[0]?.all;
    }
    return result;
  }

  async keys(): Promise<readonly string[]> {
    const keys: string[] = [];
    for await (const { key } of this.objects.list('run-1/all/')) keys.push(key);
    return keys;
  }

  async close(): Promise<void> {
    this.objects.isBroken = false;
    for (const following of this.#following) await following.stop().catch(() => undefined);
    for (const server of [this.source, this.target]) {
      await server
        .query(
          `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE '${this.name}\\_%' AND active_pid IS NULL`,
        )
        .catch(() => undefined);
      await server.close();
    }
    for (const server of this.#restored) await server.close();
    rmSync(this.directory, { recursive: true });
  }
}
