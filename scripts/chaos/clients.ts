import pg from 'pg';
import { type Attempt, attempt, codeOrWord } from '../../src/demo/attempt.ts';
import { randomOf } from '../../src/demo/operations.ts';
import { messageOf } from '../../src/domain/errors.ts';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import type { Deed, History } from './history.ts';
import { agreedRoute, type RouteFiles, routeNow } from './route.ts';
import { type Choosing, intend, WORKLOAD_NAMES, WORKLOADS, type WorkloadName } from './workloads.ts';

/** Who writes where. */
export interface ClientsOptions {
  readonly urls: Readonly<Record<Side, string>>;
  /** Of the phases' routers: clients are spread over them. */
  readonly routeFiles: RouteFiles['writers'];
  readonly history: History;
  /** How many clients; each has one workload, in turn. */
  readonly clients: number;
  readonly seed: number;
  /** Told of errors that no fault explains, such as a key that a sequence gave twice. */
  readonly onUnexpected: (what: string) => void;
}

const PAUSE_MS = { least: 15, most: 60 } as const;
const AFTER_FAILURE_MS = 100;
const HELD_LOOK_MS = 10;
const CONNECT_WITHIN_MS = 5_000;
/** A session that has not answered for so long is cut; what it was committing is then unknown. */
const SILENT_AFTER_MS = 15_000;
const REMEMBERED_INSERTS = 200;
const STOP_WITHIN_MS = 5_000;

/**
 * What a client may be told while servers and networks fail: read-only, shutdowns and lost connections, locks and deadlocks,
 * cancelled statements, full disks and memory, too many connections. Anything else is a violation.
 */
const EXPECTED = /^(25006|57P0[1-5]|57014|08\w{3}|40001|40P01|55P03|53[0-9]{3}|58030|E[A-Z]+|lost|error|cut|ROLLBACK)$/;

/** Clients at work; `stop` ends them after the operations under way. */
export class Clients {
  readonly #clients: readonly Client[];
  readonly #loops: readonly Promise<void>[];

  constructor(options: ClientsOptions) {
    const inserted: number[] = [];
    this.#clients = Array.from({ length: options.clients }, (_, index) => {
      const workload = WORKLOAD_NAMES[index % WORKLOAD_NAMES.length] ?? 'append';
      return new Client({ ...options, number: index + 1, workload, inserted });
    });
    this.#loops = this.#clients.map((client) => client.run());
  }

  /** Ends all clients, by force after a while. Throws when one ended by a fault of its own. */
  async stop(): Promise<void> {
    for (const client of this.#clients) client.stop();
    const late = setTimeout(() => {
      for (const client of this.#clients) client.cut();
    }, STOP_WITHIN_MS);
    try {
      await Promise.all(this.#loops);
    } finally {
      clearTimeout(late);
    }
  }
}

interface ClientOptions extends ClientsOptions {
  readonly number: number;
  readonly workload: WorkloadName;
  readonly inserted: number[];
}

/** One client: one operation at a time on one session, where the route file leads. */
class Client {
  readonly #options: ClientOptions;
  readonly #choosing: Choosing;
  readonly #random: () => number;
  #session: { readonly side: Side; readonly client: pg.Client } | undefined;
  #isStopping = false;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#random = randomOf(options.seed * 1_000_003 + options.number);
    const { history, inserted } = options;
    this.#choosing = { random: this.#random, history, versions: new Map(), inserted };
  }

  async run(): Promise<void> {
    while (!this.#isStopping) {
      const { least, most } = PAUSE_MS;
      await sleep(least + this.#random() * (most - least));
      const isDone = await this.#operate();
      if (!isDone) await sleep(AFTER_FAILURE_MS);
    }
    await this.#leave();
  }

  stop(): void {
    this.#isStopping = true;
  }

  cut(): void {
    this.#session?.client.connection.stream.destroy();
  }

  /**
   * Half of each workload's clients wait while they are held, as applications behind a pooler do. The others only ask which
   * side is primary, and write until they are refused: without them nobody would write at the moment of the fence, and
   * neither a fence that is missing nor a drain that is too short would ever be seen.
   */
  get #heedsHold(): boolean {
    return Math.floor((this.#options.number - 1) / WORKLOAD_NAMES.length) % 2 === 0;
  }

  /** That of the router which leads this client; of each workload, and of those who wait and those who do not, each leads some. */
  get #routeFile(): string {
    const { number, routeFiles } = this.#options;
    const turn = number + Math.floor((number - 1) / WORKLOAD_NAMES.length);
    return routeFiles[turn % routeFiles.length] ?? routeFiles[0];
  }

  /** One attempt. Returns false after a failure, so that nobody hammers a server that is down. */
  async #operate(): Promise<boolean> {
    const { history, number, routeFiles, workload } = this.#options;
    const phase = WORKLOADS[workload];
    const route = routeNow(this.#routeFile, phase);
    const before = agreedRoute(routeFiles, phase);
    if (route === undefined || (route.held && this.#heedsHold)) {
      await sleep(HELD_LOOK_MS);
      return true;
    }
    const session = await this.#sessionOn(route.primary);
    if (session === undefined) return false;
    const intention = intend(workload, this.#choosing);
    const pending = history.begin(number, intention.deed);
    const late = setTimeout(() => session.connection.stream.destroy(), SILENT_AFTER_MS);
    const result = await attempt(session, () => intention.act(session, pending.op));
    clearTimeout(late);
    const after = agreedRoute(routeFiles, phase);
    const isCurrent = intention.isRead && before !== undefined && after?.text === before.text;
    if (result.outcome === 'done') {
      history.end(pending, { outcome: 'acknowledged', code: '', isCurrent, deed: result.answer });
      this.#learn(pending.op, result.answer);
      return true;
    }
    history.end(pending, {
      outcome: result.outcome === 'unknown' ? 'unknown' : 'failed',
      code: result.code,
      isCurrent,
    });
    await this.#afterFailure(result, intention.deed);
    return false;
  }

  #learn(op: number, answer: Deed): void {
    const { inserted } = this.#options;
    if (answer.kind === 'read-register') this.#choosing.versions.set(answer.key, answer.version);
    if (answer.kind === 'compare-and-set' && answer.isApplied) this.#choosing.versions.set(answer.key, answer.from + 1);
    if (answer.kind === 'insert') {
      inserted.push(op);
      if (inserted.length > REMEMBERED_INSERTS) inserted.shift();
    }
  }

  async #afterFailure(result: Exclude<Attempt<Deed>, { outcome: 'done' }>, deed: Deed): Promise<void> {
    if (!EXPECTED.test(result.code)) {
      this.#options.onUnexpected(`client ${this.#options.number}'s ${deed.kind} was refused with ${result.code}`);
    }
    // Also one that has only been refused: a client's pool takes a new session when it is told that a side is read-only.
    await this.#leave();
  }

  async #sessionOn(side: Side): Promise<pg.Client | undefined> {
    if (this.#session?.side === side) return this.#session.client;
    await this.#leave();
    const client = new pg.Client({
      connectionString: this.#options.urls[side],
      application_name: `chaos-client:${this.#options.number}`,
      connectionTimeoutMillis: CONNECT_WITHIN_MS,
      keepAlive: true,
    });
    const forget = () => {
      if (this.#session?.client === client) this.#session = undefined;
    };
    client.on('error', forget);
    client.on('end', forget);
    try {
      await client.connect();
    } catch (error) {
      const code = codeOrWord(error);
      const said = messageOf(error);
      // A full disk, as a session meets it that begins.
      if (!EXPECTED.test(code) && said !== 'could not write init file') {
        this.#options.onUnexpected(`client ${this.#options.number} cannot connect: ${code} ${said}`);
      }
      client.connection.stream.destroy();
      return undefined;
    }
    this.#session = { side, client };
    return client;
  }

  async #leave(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    if (session === undefined) return;
    const late = setTimeout(() => session.client.connection.stream.destroy(), 1_000);
    await session.client.end().catch(() => undefined);
    clearTimeout(late);
  }
}
