import type { Side } from '../../src/domain/position.ts';
import type { Routes } from './router.ts';
import { type Server, ServerError, type Session } from './server.ts';
import type { World } from './world.ts';

/** What a client asked for, as it knows it: kept outside of the servers, and judged against them. */
export interface Operation {
  readonly id: string;
  readonly phase: string;
  readonly table: string;
  /** Of the row; a new row's is known when the sequence has given it. */
  key: string;
  readonly beganAt: number;
  endedAt: number;
  /** Acknowledged: there exactly once. Failed: not there. Unknown: there at most once. */
  outcome: 'pending' | 'acknowledged' | 'failed' | 'unknown';
}

/** Tables that clients write to, per phase. */
export interface PhaseTables {
  readonly name: string;
  /** Rows that are appended to. */
  readonly appended: string;
  /** Rows that are inserted under numbers of a sequence. */
  readonly inserted: string;
  readonly sequence: string;
}

/** Keys of rows that are appended to. */
export const KEYS = ['a', 'b', 'q', 'z'] as const;

const CONNECTION_REFUSED_MS = 40;
const LOCK_TIMEOUT_MS = 60_000;

/** All that clients have asked for. */
export class Ledger {
  readonly operations: Operation[] = [];

  /** Acknowledged operations on a table. */
  acknowledged(table: string): readonly Operation[] {
    return this.operations.filter((one) => one.table === table && one.outcome === 'acknowledged');
  }
}

/** What clients work with. */
export interface ClientParts {
  readonly world: World;
  readonly servers: Readonly<Record<Side, Server>>;
  readonly routes: Routes;
  readonly phases: readonly PhaseTables[];
  readonly ledger: Ledger;
  /** Whether a phase is being aborted or finalised: whoever does that to a target where clients have been sees to them. */
  readonly isOver: (phase: string) => boolean;
  /** How many of the operations insert a row. */
  readonly insertShare: () => number;
  /** Time between operations, as a multiple of the usual one. */
  readonly pause: () => number;
}

/**
 * One application client. It writes all the time: appends its operation's name to a row, or inserts a row under the next
 * number of a sequence. It follows the route, and looks at it again after an error. One that is `forgotten` never does
 * before it has failed.
 */
export class Client {
  readonly #parts: ClientParts;
  readonly #name: string;
  readonly #isForgotten: boolean;
  readonly #sides = new Map<string, Side>();
  #count = 0;
  #isCalm = 0;
  #isStopped = false;
  #heldMs = 1;
  isIdle = true;
  /** Milliseconds for which the next transaction keeps its locks. */
  nextDwellMs: number | null = null;

  constructor(parts: ClientParts, name: string, options: { readonly isForgotten: boolean }) {
    this.#parts = parts;
    this.#name = name;
    this.#isForgotten = options.isForgotten;
  }

  /** Begins. */
  start(): void {
    this.#isStopped = false;
    this.#think();
  }

  /** Writes fast again: something is about to happen. Clients that nothing happens to slow down by and by. */
  excite(): void {
    this.#isCalm = 0;
  }

  /** Begins nothing new. */
  stop(): void {
    this.#isStopped = true;
  }

  #later(ms: number, what: string, act: () => void): void {
    this.#parts.world.schedule(null, ms, `${this.#name} ${what}`, act);
  }

  #think(): void {
    this.isIdle = true;
    if (this.#isStopped) return;
    this.#isCalm += 1;
    const slower = 1 + (this.#isCalm / 5) ** 2;
    this.#later(this.#parts.world.between(1, 30) * slower * this.#parts.pause(), 'thinks', () => this.#begin());
  }

  #begin(): void {
    if (this.#isStopped) return;
    const { world, routes, servers, phases } = this.#parts;
    const phase = world.pick(phases);
    const route = routes.entry(phase.name);
    if (route.isHeld) {
      this.#heldMs = Math.min(2 * this.#heldMs, 200);
      this.#later(this.#heldMs, 'is held', () => this.#begin());
      return;
    }
    this.#heldMs = 1;
    const known = this.#isForgotten && !this.#parts.isOver(phase.name) ? this.#sides.get(phase.name) : undefined;
    const side = known ?? route.primary;
    this.#sides.set(phase.name, side);
    const server = servers[side];
    if (!server.isUp) {
      this.#sides.delete(phase.name);
      this.#later(CONNECTION_REFUSED_MS, 'is refused', () => this.#think());
      return;
    }
    this.isIdle = false;
    this.#count += 1;
    const isInsert = world.chance(this.#parts.insertShare());
    const operation: Operation = {
      id: `${this.#name}.${this.#count}`,
      phase: phase.name,
      table: isInsert ? phase.inserted : phase.appended,
      key: isInsert ? '' : world.pick(KEYS),
      beganAt: world.now,
      endedAt: 0,
      outcome: 'pending',
    };
    this.#parts.ledger.operations.push(operation);
    this.#write(server, phase, operation);
  }

  #write(server: Server, phase: PhaseTables, operation: Operation): void {
    const { world } = this.#parts;
    const session = server.connect(this.#name);
    const transaction = server.begin(session);
    const statement = (): void => {
      server.lock(transaction, `table ${operation.table}`, 'write');
      if (server.get('fence', operation.table) === 'on') throw new ServerError('25006', 'the table is fenced');
      if (operation.table === phase.inserted && operation.key === '') {
        const next = (server.sequences.get(phase.sequence) ?? 0) + 1;
        server.sequences.set(phase.sequence, next);
        operation.key = `${next < 60 ? 'k' : 'r'}${String(next).padStart(6, '0')}`;
      }
      const store = `rows:${operation.table}`;
      server.lock(transaction, `${store} ${operation.key}`, 'exclusive');
      const before = server.read(transaction, store, operation.key) as string | undefined;
      if (operation.table === phase.inserted && before !== undefined) {
        world.violate(
          'S10',
          `the sequence gave ${operation.key} of ${operation.table} on the ${server.side} a second time`,
        );
      }
      server.write(
        transaction,
        store,
        operation.key,
        before === undefined ? operation.id : `${before} ${operation.id}`,
      );
    };
    const done = (result: { readonly value: unknown } | { readonly error: unknown }): void => {
      if ('error' in result) {
        server.end(session, 'failed');
        this.#end(operation, 'failed');
        return;
      }
      const dwellMs = this.nextDwellMs ?? world.between(0.1, 4);
      this.nextDwellMs = null;
      this.#later(dwellMs, 'commits', () => this.#commit(server, session, operation));
    };
    this.#later(world.between(0.05, 0.5), `writes on ${server.side}`, () => {
      if (!session.isAlive) return this.#end(operation, 'failed');
      server.run(transaction, statement, { lockMs: LOCK_TIMEOUT_MS, done });
    });
  }

  #commit(server: Server, session: Session, operation: Operation): void {
    const { world } = this.#parts;
    if (!session.isAlive || !session.transaction) {
      this.#end(operation, 'failed');
      return;
    }
    const fate = world.random();
    if (fate < 0.01) {
      server.end(session, 'the connection broke before COMMIT came');
      this.#end(operation, 'unknown');
      return;
    }
    server.commit(session.transaction, { flush: true });
    server.end(session, 'done');
    if (fate < 0.02) {
      this.#end(operation, 'unknown');
      return;
    }
    this.#later(world.between(0.05, 0.5), 'is answered', () => this.#end(operation, 'acknowledged'));
  }

  #end(operation: Operation, outcome: Operation['outcome']): void {
    operation.outcome = outcome;
    operation.endedAt = this.#parts.world.now;
    // Whoever was refused looks where to go.
    if (outcome !== 'acknowledged') this.#sides.delete(operation.phase);
    this.#think();
  }
}
