import pg from 'pg';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import { type Look, lookProblem } from './checkers/routing.ts';
import { routeNow } from './route.ts';
import { PHASE_NAMES, type PhaseName } from './workloads.ts';

/** What readers are told. */
export interface ReadersOptions {
  /** Direct: what becomes of the worker's network is no reader's business. */
  readonly urls: Readonly<Record<Side, string>>;
  /** Of the router that leads them. */
  readonly routeFile: string;
  readonly onProblem: (what: string) => void;
}

/** Whether there are rows at all, and of accounts what must always be the same of them. */
const LOOKS: Readonly<Record<PhaseName, string>> = {
  lists: 'SELECT count(*)::int AS rows, 0 AS total FROM (SELECT FROM ticket LIMIT 1) some',
  accounts: 'SELECT count(*)::int AS rows, sum(balance)::int AS total FROM account',
};
const EVERY_MS = 50;
const SILENT_AFTER_MS = 4_000;

/**
 * Clients that only read, one for each phase: each looks where the readers' router leads it, all the time and whatever is done
 * to the run. A side that cannot be asked says nothing; one that can must have the phase's rows, whole transactions of them.
 */
export class Readers {
  readonly #options: ReadersOptions;
  readonly looks: Record<Side, number> = { source: 0, target: 0 };
  /** The newest look at each phase. */
  readonly seen = new Map<PhaseName, Look>();
  #loops: readonly Promise<void>[] = [];
  #isStopping = false;

  constructor(options: ReadersOptions) {
    this.#options = options;
  }

  /** Begins to read. */
  start(): void {
    this.#loops = PHASE_NAMES.map((phase) => this.#readAlways(phase));
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#loops);
  }

  async #readAlways(phase: PhaseName): Promise<void> {
    while (!this.#isStopping) {
      const side = routeNow(this.#options.routeFile, phase)?.primary;
      if (side !== undefined) await this.#look(phase, side).catch(() => undefined);
      await sleep(EVERY_MS);
    }
  }

  async #look(phase: PhaseName, side: Side): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#options.urls[side],
      application_name: 'chaos-reader',
      connectionTimeoutMillis: SILENT_AFTER_MS,
      query_timeout: SILENT_AFTER_MS,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      const { rows } = await client.query<Pick<Look, 'rows' | 'total'>>(LOOKS[phase]);
      const look: Look = { phase, side, rows: rows[0]?.rows ?? 0, total: rows[0]?.total ?? 0 };
      this.looks[side] += 1;
      this.seen.set(phase, look);
      const problem = lookProblem(look);
      if (problem !== undefined) this.#options.onProblem(problem);
    } finally {
      client.connection.stream.destroy();
    }
  }
}
