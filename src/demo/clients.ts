import pg from 'pg';
import type { Side } from '../domain/position.ts';
import { monotonicMs } from '../platform/clock.ts';
import { type Attempt, attempt, codeOrWord } from './attempt.ts';
import type { Answer, Ledger, LedgerCounts } from './ledger.ts';
import { chooseWork, randomOf, type Work } from './operations.ts';
import { RouteFile } from './route-file.ts';
import type { ShopSize } from './shop.ts';
import { SHOP_PHASES, type ShopPhase } from './shop-schema.ts';

/** Who writes to what, and how fast. */
export interface ClientsOptions {
  readonly urls: Readonly<Record<Side, string>>;
  /** The JSON file of the `file` router; see {@link RouteFile}. */
  readonly routeFile: string;
  /** As `createShop` returned it. */
  readonly size: ShopSize;
  readonly ledger: Ledger;
  /** How many work at a time; 16 without it. */
  readonly clients?: number;
  /** Operations a second of all clients together; as fast as they can without it. */
  readonly ratePerSecond?: number;
  /** The same seed gives each client the same choices; 1 without it. */
  readonly seed?: number;
}

/** Clients at work. */
export interface RunningClients {
  /**
   * Ends after the operations under way; those that wait to be let go on are given up. A session that does not answer for
   * 10 s is cut, and what it was committing is then unknown.
   */
  stop(): Promise<void>;
  stats(): LedgerCounts;
}

const DEFAULT_CLIENTS = 16;
const STOP_WITHIN_MS = 10_000;
const CONNECT_WITHIN_MS = 5_000;
/** Pauses between attempts, unless the route changes before. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 320;

/** Starts clients that read and write all the time, wherever the route file leads them, and record it in the ledger. */
export const startClients = (options: ClientsOptions): RunningClients => {
  const { ledger } = options;
  const route = new RouteFile({
    path: options.routeFile,
    phases: Object.keys(SHOP_PHASES),
    onChange: (phase, { primary, held }) => ledger.noteRoute({ phase, primary, held }),
  });
  const count = options.clients ?? DEFAULT_CLIENTS;
  const clients = Array.from(
    { length: count },
    (_, index) => new ShopClient({ ...options, number: index + 1, count, route }),
  );
  const loops = clients.map((client) => client.run());
  // A loop ends early only by a fault of ours, which `stop` reports; until then nobody awaits it.
  const ended = Promise.all(loops);
  ended.catch(() => undefined);
  return {
    async stop() {
      for (const client of clients) client.stop();
      route.wake();
      const late = setTimeout(() => {
        for (const client of clients) client.cut();
      }, STOP_WITHIN_MS);
      try {
        await ended;
      } finally {
        clearTimeout(late);
        route.close();
        for (const client of clients) client.cut();
      }
    },
    stats: () => ledger.counts(),
  };
};

interface ShopClientOptions extends ClientsOptions {
  readonly number: number;
  readonly count: number;
  readonly route: RouteFile;
}

interface Session {
  readonly side: Side;
  readonly client: pg.Client;
}

/** One client: does one operation at a time, with one session for each phase. */
class ShopClient {
  readonly #options: ShopClientOptions;
  readonly #random: () => number;
  readonly #sessions = new Map<ShopPhase, Session>();
  #isStopping = false;

  constructor(options: ShopClientOptions) {
    this.#options = options;
    this.#random = randomOf((options.seed ?? 1) * 1_000_003 + options.number);
  }

  async run(): Promise<void> {
    const { count, ratePerSecond, route, size } = this.#options;
    const intervalMs = ratePerSecond === undefined ? 0 : (1000 * count) / ratePerSecond;
    // Clients start evenly spread, or else a slow rate would come in bursts.
    let dueMs = monotonicMs() + (intervalMs * this.#options.number) / count;
    while (!this.#isStopping) {
      const pauseMs = dueMs - monotonicMs();
      if (pauseMs > 0) {
        await route.changed(pauseMs);
        continue;
      }
      // What was missed while waiting is not made up for: nobody's customers do that.
      dueMs = Math.max(dueMs, monotonicMs()) + intervalMs;
      await this.#operate(chooseWork(this.#random, size));
    }
    for (const phase of [...this.#sessions.keys()]) await this.#leave(phase);
  }

  /** Lets the operation under way end, and starts no other. */
  stop(): void {
    this.#isStopping = true;
  }

  /** Ends sessions at once. */
  cut(): void {
    for (const { client } of this.#sessions.values()) client.connection.stream.destroy();
  }

  /** Does one operation, again and again while it is refused for a reason that passes. */
  async #operate(work: Work): Promise<void> {
    const { ledger, number, route } = this.#options;
    const op = ledger.begin({ phase: work.phase, kind: work.kind, client: number, key: work.key });
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      const side = await this.#letGoOn(work.phase);
      if (side === undefined) return ledger.fail(op);
      const result = await this.#tryOn(side, work, op);
      if (result.outcome === 'done') return ledger.acknowledge(op, result.answer);
      if (result.isSessionLost) await this.#leave(work.phase);
      if (result.outcome === 'unknown') return ledger.unknown(op);
      ledger.refuse(op, result.code);
      if (!result.mayPass) return ledger.fail(op);
      await route.changed(pauseMs);
    }
  }

  /** Waits until the phase's clients may go on, and says to which side; undefined when stopped. */
  async #letGoOn(phase: ShopPhase): Promise<Side | undefined> {
    while (!this.#isStopping) {
      const route = this.#options.route.route(phase);
      if (route !== undefined && !route.held) return route.primary;
      await this.#options.route.changed(1_000);
    }
    return undefined;
  }

  async #tryOn(side: Side, work: Work, op: number): Promise<Attempt<Answer>> {
    let session: pg.Client;
    try {
      session = await this.#sessionOn(side, work.phase);
    } catch (error) {
      return { outcome: 'refused', code: codeOrWord(error), isSessionLost: true, mayPass: true };
    }
    const statements = work.statements(op, this.#options.number);
    return await attempt(session, async () => {
      let answer: Answer | undefined;
      for (const { text, values } of statements) {
        const { rows } = await session.query<{ version: number; saw_op: string }>(text, [...values]);
        const row = rows[0];
        if (answer === undefined && row !== undefined) answer = { version: row.version, sawOp: Number(row.saw_op) };
      }
      if (answer === undefined) throw new Error(`${work.phase} has no register with key ${work.key}`);
      return answer;
    });
  }

  async #sessionOn(side: Side, phase: ShopPhase): Promise<pg.Client> {
    const known = this.#sessions.get(phase);
    if (known?.side === side) return known.client;
    await this.#leave(phase);
    const client = new pg.Client({
      connectionString: this.#options.urls[side],
      application_name: `shop-client:${this.#options.number}`,
      connectionTimeoutMillis: CONNECT_WITHIN_MS,
      keepAlive: true,
    });
    // An idle session that is ended by the server is replaced at the next use, as a pool would do it.
    const forget = () => {
      if (this.#sessions.get(phase)?.client === client) this.#sessions.delete(phase);
    };
    client.on('error', forget);
    client.on('end', forget);
    this.#sessions.set(phase, { side, client });
    await client.connect();
    return client;
  }

  async #leave(phase: ShopPhase): Promise<void> {
    const session = this.#sessions.get(phase);
    this.#sessions.delete(phase);
    await session?.client.end().catch(() => undefined);
  }
}
