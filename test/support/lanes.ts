import { readInventory } from '../../src/databases/postgres/inventory.ts';
import type { RunningServer } from '../../src/demo/servers.ts';
import { isKind } from '../../src/domain/errors.ts';
import type { Position } from '../../src/domain/position.ts';
import { displayName } from '../../src/domain/table.ts';
import type { Engine, FollowOptions, Lane, LaneObserver, LaneSpec, LaneStart } from '../../src/engines/engine.ts';
import { quoteTable } from '../../src/platform/postgres/quote.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';
import { createDatabase, runSql } from './servers.ts';

/** What a lane told while it ran. */
export interface Told {
  readonly applied: Parameters<LaneObserver['applied']>[0][];
  readonly lags: number[];
}

/** A `follow` that runs. */
export interface Following {
  readonly told: Told;
  /** Resolves when it has ended, with what it threw. */
  readonly ended: Promise<unknown>;
  /** Aborts its signal and waits; throws what it threw. */
  stop(): Promise<void>;
}

/** Builds the engine under test; it may need the URLs as well. */
export type MakeEngine = (
  servers: { readonly source: PostgresServer; readonly target: PostgresServer },
  urls: { readonly source: string; readonly target: string },
) => Engine;

let worlds = 0;

/** Two databases with one schema, and a lane between them. Close it at the end of the test. */
export class LaneWorld {
  readonly fromUrl: string;
  readonly toUrl: string;
  readonly from: PostgresServer;
  readonly to: PostgresServer;
  readonly engine: Engine;
  /** What the worker believes; the sidecar refuses it when it knows a newer one. */
  epoch = 1n;
  readonly #lanes: Lane[] = [];
  readonly #following: Following[] = [];

  /** `make` builds the engine under test; the schema is run on both sides. */
  static async create(
    servers: { readonly from: RunningServer; readonly to: RunningServer },
    make: MakeEngine,
    schema: string,
  ): Promise<LaneWorld> {
    worlds += 1;
    const name = `lane_${worlds}`;
    const urls = { from: await createDatabase(servers.from, name), to: await createDatabase(servers.to, name) };
    const world = new LaneWorld(urls, make);
    await Promise.all([runSql(urls.from, schema), runSql(urls.to, schema)]);
    await Promise.all([world.from.transaction(installSidecar), world.to.transaction(installSidecar)]);
    return world;
  }

  private constructor(urls: { readonly from: string; readonly to: string }, make: MakeEngine) {
    this.fromUrl = urls.from;
    this.toUrl = urls.to;
    this.from = new PostgresServer({ url: urls.from, label: 'source', application: 'switchback' });
    this.to = new PostgresServer({ url: urls.to, label: 'target', application: 'switchback' });
    this.engine = make({ source: this.from, target: this.to }, { source: urls.from, target: urls.to });
  }

  /** The lane's spec, from the origin's catalogue as it is now. */
  async spec(): Promise<LaneSpec> {
    const { tables, roots } = await readInventory(this.from);
    const name = new URL(this.fromUrl).pathname.slice(1);
    return {
      lane: 'all/forward',
      direction: 'forward',
      tables,
      roots,
      publication: `switchback_${name}`,
      slot: `switchback_${name}`,
      store: laneStore('all/forward', () => this.epoch),
    };
  }

  /** Publishes and opens a lane. */
  async open(start: LaneStart): Promise<Lane> {
    const spec = await this.spec();
    if (start.kind === 'create') await this.engine.publish({ ...spec, guard: async () => undefined });
    const lane = await this.engine.openLane(spec, start);
    this.#lanes.push(lane);
    return lane;
  }

  /** Opens a lane, copies, and follows. */
  async begin(): Promise<{ readonly lane: Lane; readonly following: Following }> {
    const lane = await this.open({ kind: 'create' });
    await lane.copy(quiet());
    return { lane, following: this.follow(lane) };
  }

  /** Begins to follow. */
  follow(lane: Lane): Following {
    const stop = new AbortController();
    const told: Told = { applied: [], lags: [] };
    const observer: LaneObserver = {
      copied: () => undefined,
      applied: (progress) => void told.applied.push(progress),
      lag: (seconds) => void told.lags.push(seconds),
    };
    const ended = lane.follow({ signal: stop.signal, observer }).then(
      () => undefined,
      (error: unknown) => error,
    );
    const following: Following = {
      told,
      ended,
      async stop() {
        stop.abort();
        const error = await ended;
        if (error !== undefined) throw error;
      },
    };
    this.#following.push(following);
    return following;
  }

  /** Stops what follows; `follow` begins again. */
  async pause(): Promise<void> {
    for (const following of this.#following.splice(0)) await following.stop();
  }

  /** The newest position of the origin. */
  async head(): Promise<Position> {
    const { rows } = await this.from.query('SELECT pg_current_wal_insert_lsn()::text AS head');
    return rows[0]?.head as Position;
  }

  /** Waits until everything that is committed on the origin is on the other side. */
  async drain(lane: Lane, budgetMs = 60_000): Promise<void> {
    try {
      await lane.drainTo(await this.head(), { budgetMs, signal: new AbortController().signal });
    } catch (error) {
      // A lane that has ended says more than the drain that it cut short.
      throw isKind(error, 'busy') ? ((await this.#following.at(-1)?.ended) ?? error) : error;
    }
  }

  /** Every row of every table, as text and sorted, of both sides; equal iff the sides are. */
  async contents(): Promise<{ readonly from: Record<string, unknown>; readonly to: Record<string, unknown> }> {
    const { tables } = await readInventory(this.from);
    const read = async (server: PostgresServer): Promise<Record<string, unknown>> => {
      const result: Record<string, unknown> = {};
      for (const table of tables) {
        const { rows } = await server.query(
          `SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE "C")), '')
               || left(coalesce(': ' || string_agg(left(t::text, 100), ' ' ORDER BY t::text COLLATE "C"), ''), 500) AS all
             FROM ONLY ${quoteTable(table)} t`,
        );
        result[displayName(table)] = rows[0]?.all;
      }
      return result;
    };
    return { from: await read(this.from), to: await read(this.to) };
  }

  /** Ends lanes and slots, whatever state they are in. */
  async close(): Promise<void> {
    for (const following of this.#following) await following.stop().catch(() => undefined);
    for (const lane of this.#lanes) await lane.close({ drop: true }).catch(() => undefined);
    await Promise.all([this.from.close(), this.to.close()]);
  }
}

/** Options for a run that nobody watches or stops. */
export const quiet = (): FollowOptions => ({
  signal: new AbortController().signal,
  observer: { copied: () => undefined, applied: () => undefined, lag: () => undefined },
});
