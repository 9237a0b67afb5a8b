import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Side } from '../../src/domain/position.ts';
import type { SqlExecutor, SqlResult, SqlSide } from '../../src/domain/sql.ts';
import { rawStatement } from './raw-sql.ts';
import { type Server, ServerError, type Session, type Transaction, type WalRecord } from './server.ts';
import { type Node, Statement } from './sql.ts';
import type { Process, World } from './world.ts';

/** How messages between one process and one side fare: refused at once, or kept until the network is mended. */
export type Link = 'open' | 'refused' | 'silent';

/** Where in an effect something happens to the process that asked for it. */
export type Moment = 'before' | 'after' | 'replied';

/**
 * `go`: it happens, or is answered. `die`: its process is dead, so nothing more comes of it. `hold`: its process sleeps right
 * before it would have asked, so it comes when that wakes.
 */
export type Fate = 'go' | 'die' | 'hold';

/** A COMMIT whose answer is lost was done, was not, or is done some time later by a server that still waits for nobody. */
export type LostReply = 'done' | 'undone' | 'late';

/** A commit that wrote, or an act of a port. */
export interface Effect {
  readonly process: Process;
  readonly label: string;
}

/** What tests plant or watch in the network. */
export interface NetworkHooks {
  /** An effect of a process of ours at a moment, and what becomes of it. The same object each time, so that two alike are told apart. */
  onEffect(effect: Effect, moment: Moment): Fate;
  /** How the next COMMIT of a process on a side ends, whose answer is lost; null when it is not. */
  takeLostReply(process: Process, side: Side): LostReply | null;
}

/** An executor of the simulation: statements come as Kysely's trees, and ports may act within the transaction. */
export interface SimExecutor extends SqlExecutor {
  run(node: Node): Promise<SqlResult>;
  /** Something that a port does in this transaction; it may have to wait for locks. */
  act<T>(label: string, work: (server: Server, transaction: Transaction) => T, lockMs?: number): Promise<T>;
}

type Result<T> = { readonly value: T } | { readonly error: unknown };

const LOCK_TIMEOUT_MS = 15_000;
/** As long as a server waits before it asks a silent peer whether it is still there: two hours by default. */
const HALF_OPEN_MS = 7_200_000;

/** The network between our processes and the two servers. */
export class Network {
  readonly world: World;
  readonly servers: Readonly<Record<Side, Server>>;
  readonly hooks: NetworkHooks;
  /** Longest delay of one message in milliseconds. */
  latencyMs = 0.6;
  /** Planted: conditions on an epoch hold always. */
  ignoresEpochs = false;
  /** Planted: an abort leaves no record. */
  forgetsAborts = false;
  readonly #links = new Map<string, Link>();
  readonly #processes = new Map<string, Process>();
  #held: { readonly key: string; readonly deliver: () => void; readonly lose: () => void }[] = [];

  constructor(world: World, servers: Readonly<Record<Side, Server>>, hooks: NetworkHooks) {
    this.world = world;
    this.servers = servers;
    this.hooks = hooks;
  }

  /** How a process reaches a side. */
  link(process: Process, side: Side): Link {
    return this.#links.get(`${process.holder} ${side}`) ?? 'open';
  }

  /** Cuts or mends a link. What was kept meanwhile arrives, or its connection turns out to be broken. */
  setLink(process: Process, side: Side, link: Link): void {
    const key = `${process.holder} ${side}`;
    this.#links.set(key, link);
    if (link === 'silent') return;
    const held = this.#held.filter((one) => one.key === key);
    this.#held = this.#held.filter((one) => one.key !== key);
    for (const one of held) {
      if (link === 'open' && this.world.chance(0.6)) one.deliver();
      else one.lose();
    }
  }

  /** A statement or act on a side in a process's name: one message there, one back. */
  request<T>(
    process: Process,
    side: Side,
    label: string,
    execute: (server: Server, reply: (result: Result<T>) => void) => void,
    session: Session | null = null,
  ): Promise<T> {
    const { world } = this;
    const server = this.servers[side];
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    // Code that ran on for a moment after its process died sends nothing any more, nor does that of a sleeper before it wakes.
    if (process.state === 'dead') return promise;
    if (process.state === 'paused')
      return this.#awake(process).then(() => this.request(process, side, label, execute, session));
    const text = `${process.holder} ${side}: ${label}`;
    const answer = (result: Result<T>, delayMs: number): void => {
      world.schedule(process, delayMs, `${text} answered`, () => {
        if ('value' in result) resolve(result.value);
        else reject(wrapped(result.error, side));
      });
    };
    const lost = (): Result<T> => {
      if (session?.isAlive) this.#break(session, server);
      return { error: unreachable(side, 'the connection broke') };
    };
    const reply = (result: Result<T>): void => {
      this.#carry(
        process,
        side,
        () => answer(result, this.#delay()),
        () => answer(lost(), this.#delay()),
      );
    };
    const arrive = (): void => {
      if (!server.isUp) {
        answer({ error: unreachable(side, 'connection refused') }, this.#delay());
        return;
      }
      try {
        execute(server, reply);
      } catch (error) {
        reply({ error });
      }
    };
    const send = (): void => {
      world.schedule(null, this.#delay(), text, arrive);
    };
    this.#carry(process, side, send, () => answer(lost(), this.#delay()));
    return promise;
  }

  /** An act that is one event on the server, with an effect that a crash may come before or after. */
  effect<T>(process: Process, side: Side, label: string, act: (server: Server) => T): Promise<T> {
    const effect = { process, label: `${side} ${label}` };
    const done = this.request<T>(process, side, label, (server, reply) => {
      this.strike(effect, () => {
        const value = act(server);
        if (this.hooks.onEffect(effect, 'after') !== 'die') reply({ value });
      });
    });
    return this.replied(effect, done);
  }

  /** Lets an effect happen, unless its process dies or sleeps right before it. */
  strike(effect: Effect, act: () => void): void {
    const fate = this.hooks.onEffect(effect, 'before');
    if (fate === 'go') act();
    if (fate === 'hold') this.world.schedule(effect.process, 0, `${effect.label} after a sleep`, act);
  }

  /** Marks the moment in which the process learns that its effect has happened, before it can say so anywhere. */
  replied<T>(effect: Effect, done: Promise<T>, isEffect: () => boolean = () => true): Promise<T> {
    const learn = (): void => {
      if (isEffect()) this.hooks.onEffect(effect, 'replied');
    };
    done.then(learn, () => undefined);
    return done;
  }

  /** The process of ours with this worker id, if it is one's and not a client's. */
  processOf(holder: string): Process | undefined {
    return this.#processes.get(holder);
  }

  /** Takes note of a new process: its connections end some time after it does. */
  adopt(process: Process): void {
    this.#processes.set(process.holder, process);
    process.onDeath.push(() => {
      for (const server of Object.values(this.servers)) {
        for (const session of server.sessions)
          if (session.owner === process.holder) this.#farewell(process, server.side, session);
      }
    });
  }

  /** Opens a connection in a process's name; it ends some time after the process does. */
  connect(process: Process, side: Side): Session {
    const server = this.servers[side];
    return server.connect(process.holder);
  }

  /** A commit as the network sees it, with all that can go wrong about its answer. */
  commit(
    process: Process,
    side: Side,
    transaction: Transaction,
    options: { readonly flush: boolean; readonly marker?: WalRecord['marker'] },
  ): Promise<number> {
    const { session } = transaction;
    const isEffect = transaction.writes.size > 0;
    const effect = { process, label: `${side} COMMIT ${[...transaction.writes.keys()].join(' ')}` };
    const done = this.request<number>(
      process,
      side,
      'COMMIT',
      (server, reply) => {
        const act = (): void => {
          if (!session.isAlive) {
            reply({ error: new ServerError('57P01', 'the session was ended') });
            return;
          }
          const lost = isEffect ? this.hooks.takeLostReply(process, side) : null;
          if (lost !== null) {
            this.#lose(server, transaction, { lost, reply, options });
            return;
          }
          const value = server.commit(transaction, options);
          if (!isEffect || this.hooks.onEffect(effect, 'after') !== 'die') reply({ value });
        };
        if (isEffect && session.isAlive) this.strike(effect, act);
        else act();
      },
      session,
    );
    return this.replied(effect, done, () => isEffect).catch((error: unknown) => {
      throw new SwitchbackError('unknown', `the ${side} dropped the connection during COMMIT; the outcome is unknown`, {
        cause: error,
      });
    });
  }

  /** The sidecar's connection of a process to a side. */
  sqlSide(process: Process, side: Side): SqlSide & SimExecutor {
    const single = async <T>(work: (sql: SimExecutor) => Promise<T>): Promise<T> =>
      await this.#single(process, side, work);
    return {
      query: (sql, params) => single((one) => one.query(sql, params)),
      run: (node) => single((one) => one.run(node)),
      act: (label, work, lockMs) => single((one) => one.act(label, work, lockMs)),
      transaction: (work) => this.transaction(process, side, work),
    };
  }

  /** A transaction; `flush: false` commits as an applier does that waits for its disk later. */
  async transaction<T>(
    process: Process,
    side: Side,
    work: (sql: SimExecutor) => Promise<T>,
    options: {
      readonly isApplier?: boolean;
      readonly flush?: boolean;
      readonly marker?: () => WalRecord['marker'];
      readonly lockMs?: number;
    } = {},
  ): Promise<T> {
    // A sleeper opens its session when it wakes: one that it had before has been ended by whoever took over.
    if (process.state === 'paused') await this.#awake(process);
    const session = this.connect(process, side);
    const transaction = this.servers[side].begin(session, options.isApplier);
    const sql = this.#executor(process, side, transaction, { lockMs: options.lockMs });
    let result: T;
    try {
      result = await work(sql);
    } catch (error) {
      await this.request<void>(
        process,
        side,
        'ROLLBACK',
        (server, reply) => {
          if (session.isAlive) server.end(session, 'rolled back');
          reply({ value: undefined });
        },
        session,
      ).catch(() => undefined);
      throw error;
    }
    const marker = options.marker?.() ?? null;
    await this.commit(process, side, transaction, { flush: options.flush !== false, marker });
    this.servers[side].end(session, 'done');
    return result;
  }

  /** One statement that is a transaction of its own: committed with its answer, in one message. */
  async #single<T>(process: Process, side: Side, work: (sql: SimExecutor) => Promise<T>): Promise<T> {
    if (process.state === 'paused') await this.#awake(process);
    const session = this.connect(process, side);
    const transaction = this.servers[side].begin(session);
    return await work(this.#executor(process, side, transaction, { isSingle: true }));
  }

  #executor(
    process: Process,
    side: Side,
    transaction: Transaction,
    { isSingle = false, lockMs = LOCK_TIMEOUT_MS } = {},
  ): SimExecutor {
    const { session } = transaction;
    const send = <T>(label: string, statement: (server: Server) => T, waitMs = lockMs): Promise<T> => {
      let isEffect = false;
      const effect = { process, label: `${side} ${label}` };
      const execute = (server: Server, reply: (result: Result<T>) => void, isLate = false): void => {
        if (!session.isAlive) {
          reply({ error: new ServerError('57P01', 'the session was ended') });
          return;
        }
        session.transaction = transaction;
        const end = (result: Result<T>): void => {
          isEffect = isSingle && transaction.writes.size > 0;
          if (!isSingle) {
            reply(result);
            return;
          }
          const fate = isEffect && !isLate ? this.hooks.onEffect(effect, 'before') : 'go';
          if (fate === 'go') this.#endSingle(effect, transaction, { result, reply, server });
          if (fate !== 'hold') return;
          server.rollback(transaction);
          this.world.schedule(process, 0, `${label} after a sleep`, () => execute(server, reply, true));
        };
        server.run(transaction, () => statement(server), { lockMs: waitMs, done: end });
      };
      const done = this.request<T>(process, side, label, execute, session);
      return this.replied(effect, done, () => isEffect);
    };
    return {
      run: (node) => {
        const options = { ignoresEpochs: this.ignoresEpochs, forgetsAborts: this.forgetsAborts };
        return send(labelOf(node), (server) => new Statement(server, transaction, options).run(node));
      },
      query: (sql, params) =>
        send(sql.slice(0, 30), (server) =>
          rawStatement({ server, transaction, sql, params: (params ?? []) as readonly (string | null)[] }),
        ),
      act: (label, work, waitMs) => send(label, (server) => work(server, transaction), waitMs),
    };
  }

  #endSingle<T>(
    effect: Effect,
    transaction: Transaction,
    how: {
      readonly result: Result<T>;
      readonly reply: (result: Result<T>) => void;
      readonly server: Server;
    },
  ): void {
    const { result, reply, server } = how;
    const { session } = transaction;
    if ('error' in result) {
      if (session.isAlive) server.end(session, 'failed');
      reply(result);
      return;
    }
    const isEffect = transaction.writes.size > 0;
    server.commit(transaction, { flush: true });
    server.end(session, 'done');
    if (!isEffect || this.hooks.onEffect(effect, 'after') !== 'die') reply(result);
  }

  #carry(process: Process, side: Side, deliver: () => void, lose: () => void): void {
    const link = this.link(process, side);
    if (link === 'open') deliver();
    else if (link === 'refused') lose();
    else this.#held.push({ key: `${process.holder} ${side}`, deliver, lose });
  }

  #lose<T>(
    server: Server,
    transaction: Transaction,
    {
      lost,
      reply,
      options,
    }: {
      readonly lost: LostReply;
      readonly reply: (result: Result<T>) => void;
      readonly options: Parameters<Server['commit']>[1];
    },
  ): void {
    const { session } = transaction;
    const act = (): void => {
      if (!session.isAlive) return;
      if (lost !== 'undone') server.commit(transaction, options);
      server.end(session, 'the connection broke');
    };
    if (lost === 'late')
      this.world.schedule(null, this.world.between(5, 3_000), `${server.side}: COMMIT comes late`, act);
    else act();
    reply({ error: new ServerError('08006', 'the connection broke') });
  }

  /** The server learns of a broken connection when it next sends something. */
  #break(session: Session, server: Server): void {
    this.world.schedule(null, this.world.between(0.5, 2_000), `${server.side}: a broken session ends`, () =>
      server.end(session, 'the connection broke'),
    );
  }

  #farewell(process: Process, side: Side, session: Session): void {
    const server = this.servers[side];
    // A machine that dies says nothing; most processes die on one that lives.
    const delayMs = this.link(process, side) === 'open' ? this.world.between(0.1, 3) : HALF_OPEN_MS;
    this.world.schedule(null, delayMs, `${side}: session of ${process.holder} ends`, () =>
      server.end(session, 'its owner died'),
    );
  }

  /** Resolves when a sleeper has been woken. */
  #awake(process: Process): Promise<void> {
    return new Promise((resolve) => {
      this.world.schedule(process, 0, `${process.holder} goes on`, resolve);
    });
  }

  #delay(): number {
    return this.world.between(0.05, this.latencyMs);
  }
}

const labelOf = (node: Node): string => {
  const target = (node.into ?? node.table ?? (node.from as { froms?: readonly unknown[] } | undefined)?.froms?.[0]) as
    | { table?: { identifier?: { name?: string } } }
    | undefined;
  return `${node.kind.replace('QueryNode', '').toLowerCase()} ${target?.table?.identifier?.name ?? ''}`;
};

const unreachable = (side: Side, text: string): SwitchbackError =>
  new SwitchbackError('unreachable', `the ${side} cannot be reached: ${text}`);

const wrapped = (error: unknown, side: Side): unknown => {
  if (!(error instanceof ServerError)) return error;
  if (error.code === '55P03')
    return new SwitchbackError('busy', `a lock on the ${side} could not be had: ${error.message}`, { cause: error });
  if (error.code === '57P01' || error.code === '08006') return unreachable(side, error.message);
  return error;
};
