import type { Event } from '../../src/domain/event.ts';
import type { Side } from '../../src/domain/position.ts';
import type { Sequence } from '../../src/domain/table.ts';
import type { Plan } from '../../src/plan/load.ts';
import type { NewRequest, RequestResult } from '../../src/sidecar/requests.ts';
import { carryOut } from '../../src/stages/command.ts';
import type { RunContext, SidePorts } from '../../src/stages/context.ts';
import { Worker } from '../../src/stages/worker.ts';
import { simulatedClients, simulatedProbe } from './client-ports.ts';
import { Client, KEYS, Ledger, type Operation, type PhaseTables } from './clients.ts';
import { honestLanes, simulatedEngine, simulatedTraces } from './engine.ts';
import { Invariants } from './invariants.ts';
import type { LaneConditions } from './lane.ts';
import { type Effect, type Fate, type LostReply, type Moment, Network } from './network.ts';
import {
  type Catalogue,
  simulatedDatabase,
  simulatedDigests,
  simulatedSchema,
  simulatedSessions,
  tableOf,
} from './ports.ts';
import { Routes, simulatedRouter } from './router.ts';
import { Server, type ServerState } from './server.ts';
import { type Process, World } from './world.ts';

/** How a piece of product code ended, or that it has not. */
export interface Running<T> {
  readonly process: Process;
  done: { readonly value: T } | { readonly error: unknown } | null;
}

/** A run as it stands, to begin others from. */
export interface Snapshot {
  readonly servers: Readonly<Record<Side, ServerState>>;
  readonly routers: ReadonlyMap<string, Routes>;
  readonly readers: ReadonlyMap<string, Routes>;
  readonly operations: readonly Operation[];
  readonly now: number;
  readonly given: number;
  readonly phases: readonly PhaseTables[];
}

/** A planted bug: what it changes in a cluster, and in the ports of each process. */
export interface Mutant {
  readonly plant?: (cluster: Cluster) => void;
  readonly ports?: (context: RunContext, cluster: Cluster) => RunContext;
  /** Changes what a command is asked to do, on its way to the product. */
  readonly request?: (request: NewRequest) => NewRequest;
  /** Changes what clients have done, right before it is judged. */
  readonly history?: (cluster: Cluster) => void;
  /** Changes the product itself, and returns what undoes it. */
  readonly product?: () => () => void;
}

/** The routers of every phase of a cluster, in the order in which they act. */
export interface ClusterRouters {
  /** `app` alone when absent. */
  readonly routers?: readonly string[];
  /** Of readers; none when absent. */
  readonly readers?: readonly string[];
}

/** How a cluster is made. */
export interface ClusterOptions extends ClusterRouters {
  readonly seed: number;
  readonly from?: Snapshot;
  readonly keepTrace?: boolean;
  readonly phases?: readonly string[];
  readonly mutant?: Mutant;
}

const CLIENTS = 3;

/** The switch's budget in the simulated plan, in milliseconds. */
export const WINDOW_MS = 1_500;

/** Names of a phase's tables. */
export const phaseTables = (name: string): PhaseTables => ({
  name,
  appended: `public.${name}_account`,
  inserted: `public.${name}_entry`,
  sequence: `${name}_entry_id`,
});

const planOf = (phases: readonly PhaseTables[], { routers = [], readers = [] }: ClusterRouters): Plan => ({
  version: 1,
  name: 'simulated',
  source: { url: 'postgresql://source/db' },
  target: { url: 'postgresql://target/db' },
  engine: 'stream',
  native: { source: '', target: '' },
  schema: { from: 'existing' },
  phases: phases.map(({ name }) => ({ name, after: [], tables: [`public.${name}_*`], routers, readers })),
  ignore: [],
  routers: new Map(),
  probes: new Map(),
  switch: {
    maxLagMs: 2_000,
    windowMs: WINDOW_MS,
    blockers: { waitMs: 300, action: 'terminate' },
    sessionsLeft: { waitMs: 50, action: 'terminate' },
  },
  verify: { freshForMs: 3_600_000 },
  copy: { bytesPerSecond: null },
  soak: { forMs: 0, archive: null },
  snapshots: null,
  hash: 'f'.repeat(64),
  canonical: {},
  path: 'plan.yaml',
  directory: '/',
});

/**
 * Two servers, a router, clients, a network, and any number of our processes, with every invariant watched: one simulated
 * world. The product's stages run in it unchanged; what they reach are the ports made here.
 */
export class Cluster {
  readonly world: World;
  readonly servers: Readonly<Record<Side, Server>>;
  readonly network: Network;
  readonly routers: ReadonlyMap<string, Routes>;
  readonly readers: ReadonlyMap<string, Routes>;
  readonly ledger = new Ledger();
  readonly clients: readonly Client[];
  readonly phases: readonly PhaseTables[];
  readonly invariants: Invariants;
  readonly conditions: LaneConditions;
  readonly processes: Process[] = [];
  /** What processes tell. */
  readonly onEvent: ((event: Event, process: Process) => void)[] = [];
  /** Told of every effect of a process, and says what becomes of it. */
  onEffect: (effect: Effect, moment: Moment) => Fate = () => 'go';
  lostReply: { readonly holder: string; readonly side: Side; readonly fate: LostReply } | null = null;
  /** How many of the clients' operations insert a row; the others append to one. */
  insertShare = 0.25;
  /** Time between a client's operations, as a multiple of the usual one. */
  pause = 1;
  readonly #mutant: Mutant;
  readonly #plan: Plan;

  constructor(options: ClusterOptions) {
    this.world = new World(options.seed, { keepTrace: options.keepTrace === true });
    const { world } = this;
    const { from } = options;
    this.phases = from?.phases ?? (options.phases ?? ['orders']).map(phaseTables);
    world.now = from?.now ?? 0;
    world.given = from?.given ?? 0;
    this.servers = {
      source: new Server(world, 'source', from?.servers.source),
      target: new Server(world, 'target', from?.servers.target),
    };
    const names = this.phases.map(({ name }) => name);
    const routers = from ? [...from.routers.keys()] : (options.routers ?? ['app']);
    this.routers = new Map(routers.map((router) => [router, new Routes(names, from?.routers.get(router))]));
    const readers = from ? [...from.readers.keys()] : (options.readers ?? []);
    this.readers = new Map(readers.map((router) => [router, new Routes(names, from?.readers.get(router))]));
    for (const operation of from?.operations ?? []) this.ledger.operations.push({ ...operation });
    this.network = new Network(world, this.servers, {
      onEffect: (effect, moment) => {
        if (moment === 'before') this.invariants.onEffect(effect.process.holder, effect.label);
        return this.onEffect(effect, moment);
      },
      takeLostReply: (process, side) => this.#takeLostReply(process, side),
    });
    if (!from) this.#seedRows();
    const parts = {
      world,
      servers: this.servers,
      phases: this.phases,
      ledger: this.ledger,
      isOver: (phase: string) => this.invariants.isEnding(phase),
      insertShare: () => this.insertShare,
      pause: () => this.pause,
    };
    const tag = `${from ? 'd' : 'c'}${Math.round(world.now)}`;
    const every = [...this.routers.values()];
    this.clients = Array.from({ length: CLIENTS }, (_, i) => {
      const routes = every[i % every.length] ?? this.routes;
      return new Client({ ...parts, routes }, `${tag}-${i}`, { isForgotten: i === 0 });
    });
    this.invariants = new Invariants(parts);
    this.conditions = honestLanes({
      onConfirmed: (lane, side, position) => this.invariants.onConfirmed(lane, side, position),
      onApply: (lane, side, position, records) => this.invariants.onApply(lane, side, position, records),
    });
    this.#mutant = options.mutant ?? {};
    this.#plan = planOf(this.phases, { routers, readers });
    this.#mutant.plant?.(this);
  }

  /** What the first router leads; the only one in most lives. */
  get routes(): Routes {
    const [first] = this.routers.values();
    if (!first) throw new Error('a cluster without a router');
    return first;
  }

  /** Called when clients have ended and nothing has been judged yet. */
  beforeJudging(): void {
    this.#mutant.history?.(this);
  }

  /** A copy of everything that outlives processes. The run that it is taken from should not go on. */
  snapshot(): Snapshot {
    return {
      servers: { source: this.servers.source.state(), target: this.servers.target.state() },
      routers: this.#copyOf(this.routers),
      readers: this.#copyOf(this.readers),
      operations: this.ledger.operations.map((operation) => ({ ...operation })),
      now: this.world.now,
      given: this.world.given,
      phases: this.phases,
    };
  }

  #copyOf(routers: ReadonlyMap<string, Routes>): ReadonlyMap<string, Routes> {
    const names = this.phases.map(({ name }) => name);
    return new Map([...routers].map(([router, routes]) => [router, new Routes(names, routes)]));
  }

  /** Starts a process that runs a piece of product code. */
  start<T>(name: string, code: (context: RunContext) => Promise<T>): Running<T> {
    const process = this.world.spawn(`${name}${this.processes.length}`);
    this.processes.push(process);
    this.network.adopt(process);
    const running: Running<T> = { process, done: null };
    const context = this.#context(process);
    this.world.schedule(process, 0, `${process.holder} starts`, () => {
      code(context).then(
        (value) => {
          running.done = { value };
        },
        (error: unknown) => {
          running.done = { error };
        },
      );
    });
    return running;
  }

  /** `switchback run`: the worker, until the run has ended. */
  startWorker(until: 'ended' | 'ready' = 'ended'): Running<void> {
    return this.start('worker', async (context) => {
      const worker = await Worker.open(context);
      try {
        await worker.run({ signal: new AbortController().signal, until });
      } finally {
        await worker.close();
      }
    });
  }

  /** A command on a machine of its own, with nothing but the plan. */
  startCommand(
    command: NewRequest['command'],
    options: NewRequest['options'] = {},
    phases: readonly string[] = [],
  ): Running<RequestResult> {
    if (command === 'finalise' && options.unfence === true) this.invariants.onUnfence();
    const request: NewRequest = { command, phases, options, by: 'somebody' };
    return this.start(command, (context) =>
      carryOut(context, this.#mutant.request?.(request) ?? request, {
        signal: new AbortController().signal,
        onJournal: () => undefined,
      }),
    );
  }

  /** The durable state of a phase, read past the product. */
  state(phase: string): string {
    const row = this.servers.source.get('sidecar:phase', phase) as { readonly doc: string } | undefined;
    return row === undefined ? 'gone' : (JSON.parse(row.doc) as { name: string }).name;
  }

  /** Whether every phase is in one of these states. */
  areIn(...states: readonly string[]): boolean {
    return this.phases.every(({ name }) => states.includes(this.state(name)));
  }

  /** Lets clients begin. */
  startClients(): void {
    for (const client of this.clients) client.start();
  }

  /** Stops a server hard, and starts it again after a while. */
  crash(side: Side, forMs: number): void {
    const server = this.servers[side];
    if (!server.isUp) return;
    server.crash();
    this.world.schedule(null, forMs, `${side} starts`, () => {
      if (!server.isUp) server.start();
    });
  }

  #takeLostReply(process: Process, side: Side): LostReply | null {
    const lost = this.lostReply;
    if (lost?.holder !== process.holder || lost.side !== side) return null;
    this.lostReply = null;
    return lost.fate;
  }

  #seedRows(): void {
    const { source } = this.servers;
    const session = source.connect('seed');
    const transaction = source.begin(session);
    for (const phase of this.phases)
      for (const key of KEYS) source.write(transaction, `rows:${phase.appended}`, key, 'seed');
    source.commit(transaction, { flush: true });
    source.end(session, 'done');
  }

  #context(process: Process): RunContext {
    const { network } = this;
    const names = this.phases.flatMap(({ appended, inserted }) => [appended, inserted]);
    const sequences: readonly Sequence[] = this.phases.map(({ sequence, inserted }) => ({
      schema: 'public',
      name: sequence,
      increment: 1n,
      usedBy: [{ schema: 'public', name: inserted.slice('public.'.length) }],
    }));
    const catalogue: Catalogue = { tables: names.map((name) => tableOf(name.slice('public.'.length))), sequences };
    const sideOf = (side: Side): SidePorts => {
      const place = { network, process, side };
      return {
        side,
        sql: network.sqlSide(process, side),
        database: simulatedDatabase(place, catalogue),
        digests: simulatedDigests(place),
        sessions: simulatedSessions(place),
        clients: simulatedClients(place, (left) => this.invariants.onClientsEnded(left)),
      };
    };
    const context: RunContext = {
      plan: this.#plan,
      source: sideOf('source'),
      target: sideOf('target'),
      engine: simulatedEngine({ network, process, conditions: this.conditions }),
      traces: simulatedTraces(network, process),
      schema: simulatedSchema({ network, process, side: 'target' }),
      routers: new Map(
        [...this.routers, ...this.readers].map(([name, routes]) => [name, simulatedRouter(network, process, routes)]),
      ),
      probes: (router, phase) =>
        simulatedProbe(
          { network, process },
          this.routers.get(router) ?? this.readers.get(router) ?? this.routes,
          phase,
        ),
      preflight: async () => [],
      snapshots: null,
      openPlace: () => {
        throw new Error('nothing is restored in the simulation');
      },
      emit: (event) => {
        if (event.type !== 'lag') this.world.note(`${process.holder} tells ${textOf(event)}`);
        for (const look of this.onEvent) look(event, process);
      },
      holder: process.holder,
      host: process.holder,
      by: `${process.holder}@simulation`,
    };
    return this.#mutant.ports?.(context, this) ?? context;
  }
}

/** The side on which a phase's clients may write, when there is exactly one. */
export const primaryOf = (cluster: Cluster, phase: PhaseTables): Side | null => {
  const [side, ...more] = cluster.invariants.writable(phase);
  return side === undefined || more.length > 0 ? null : side;
};

/** An event as one line of the trace. */
const textOf = (event: Event): string => {
  switch (event.type) {
    case 'step':
      return `${event.scope} ${event.step} ${event.status} ${event.detail ?? ''}`;
    case 'phase':
      return `${event.phase} is ${event.to}`;
    case 'note':
      return `note ${event.text}`;
    case 'halted':
    case 'finding':
      return `${event.type} ${event.finding.fact}`;
    default:
      return event.type;
  }
};
