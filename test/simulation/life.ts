import type { Event } from '../../src/domain/event.ts';
import type { RequestCommand } from '../../src/sidecar/requests.ts';
import {
  Cluster,
  type ClusterOptions,
  type ClusterRouters,
  type Running,
  type Snapshot,
  WINDOW_MS,
} from './cluster.ts';
import { FAULTS } from './faults.ts';
import type { Effect, Fate, Moment } from './network.ts';
import { answerOf, goOn, haltsOf, judge, recover } from './recovery.ts';
import type { Process, Violation } from './world.ts';

/** What a simulated life begins with: nothing, a phase that is ready, or one that soaks. */
export type Start = 'fresh' | 'ready' | 'soaking';

/** Runs to begin from. */
export type Starts = Readonly<Record<Start, Snapshot | undefined>>;

/** A process dies, or falls asleep, at an effect: the how-manieth since the command, or since the last strike. */
export interface Strike {
  readonly index: number;
  readonly moment: Moment;
  readonly how: 'kill' | 'sleep';
}

/** What is done after a strike, before `resume` is asked for. */
export type Recovery = 'resume' | 'abort' | 'second worker' | 'sleeper wakes';

/** What is simulated, all of which follows from a seed. */
export interface Life {
  readonly start: Start;
  /** What the operator asks for; nothing but the worker's own work when absent. */
  readonly command?: Extract<RequestCommand, 'cutover' | 'failback' | 'finalise' | 'abort' | 'cutover --reads'>;
  /** Where in the life the first fault comes: a step or a state, as {@link pointOf} names it. Null for none. */
  readonly point: string | null;
  readonly fault: string | null;
  /** The target's disk is full at the drain, so that the switch is undone. */
  readonly isUndone?: boolean;
  /** The fault comes at the very moment that the point is reached, rather than some milliseconds later. */
  readonly isExact?: boolean;
  /** Clients write seldom, so that most effects are those of the work. */
  readonly isCalm?: boolean;
  readonly strikes?: readonly Strike[];
  readonly recovery?: Recovery;
}

/** What a simulated life came to. */
export interface LifeResult {
  readonly violations: readonly Violation[];
  /** `point | fault` for every fault that came. */
  readonly cells: readonly string[];
  /** Points of life that were passed. */
  readonly points: readonly string[];
  /** Effects since the command, then since each strike. */
  readonly effects: readonly number[];
  /** The effects at which processes were struck. */
  readonly struck: readonly string[];
  /** The longest time in milliseconds that a switch kept both sides fenced, before anybody helped. */
  readonly longestFence: number;
  readonly events: number;
  readonly digest: number;
  readonly trace: readonly string[];
}

/** Faults that keep nobody from working: servers, the network and our processes are well. */
const IS_NO_OUTAGE = /\| (slow lane|blocker|target disk full|second worker|command elsewhere|abort|router .*)$/;
/** What undoing a switch may take after its window: the batch in hand is waited for, and whoever is in the way is ended. */
const UNDO_MS = 3_500;
const SETUP_MS = 30_000;
const COMMAND_MS = 40_000;
const LEASE_MS = 15_000;

/** The point of life that an event begins: `cutover: drain`, `prepare: slot`, `state soaking`; null for others. */
export const pointOf = (event: Event): string | null => {
  if (event.type === 'phase') return `state ${event.to}`;
  if (event.type !== 'step' || event.status !== 'begun') return null;
  return `${event.scope.replace(/-\d+$/, '')}: ${event.step}`;
};

/** Makes the states that lives begin with, by living to them without a fault. */
export const makeStarts = async (phases: readonly string[], routers: ClusterRouters = {}): Promise<Starts> => {
  const cluster = new Cluster({ seed: 1, phases, ...routers });
  const worker = cluster.startWorker();
  cluster.startClients();
  await reach(cluster, 'ready', worker);
  const ready = await still(cluster);
  const again = new Cluster({ seed: 2, from: ready });
  again.startWorker();
  again.startClients();
  await again.world.until(() => false, again.world.now + 300);
  await reach(again, 'soaking', again.startCommand('cutover'));
  return { fresh: undefined, ready, soaking: await still(again) };
};

const reach = async (cluster: Cluster, state: string, by: Running<unknown>): Promise<void> => {
  const { world } = cluster;
  const isThere = await world.until(() => cluster.areIn(state), world.now + SETUP_MS);
  const said = `${answerOf(by)}; ${haltsOf(cluster)}; ${JSON.stringify(world.violations)}`;
  if (!isThere) throw new Error(`a life without faults does not get ${state}: ${said}`);
  await world.until(() => false, world.now + 300);
};

const still = async (cluster: Cluster): Promise<Snapshot> => {
  const { world } = cluster;
  for (const client of cluster.clients) client.stop();
  await world.until(() => cluster.clients.every(({ isIdle }) => isIdle), world.now + 10_000);
  for (const process of cluster.processes) world.kill(process);
  await world.until(() => false, world.now + 100);
  if (world.violations.length > 0) throw new Error(JSON.stringify(world.violations));
  return cluster.snapshot();
};

/** Lives one life: begins, does what is planned, is hit, is healed, resumed, and judged. */
export const live = async (
  seed: number,
  life: Life,
  starts: Starts,
  options: Partial<ClusterOptions> = {},
): Promise<LifeResult> => {
  const from = starts[life.start];
  const names = starts.ready?.phases.map(({ name }) => name) ?? [];
  const routers = [...(starts.ready?.routers.keys() ?? [])];
  const readers = [...(starts.ready?.readers.keys() ?? [])];
  const cluster = new Cluster({ ...options, seed, ...(from ? { from } : { phases: names, routers, readers }) });
  const run = new LifeRun(cluster, life);
  await run.live();
  const { world } = cluster;
  return {
    violations: world.violations,
    cells: run.cells,
    points: [...run.points],
    effects: run.effects,
    struck: run.struck,
    longestFence: run.longestFence,
    events: world.count,
    digest: world.digest,
    trace: world.trace ?? [],
  };
};

class LifeRun {
  readonly cells: string[] = [];
  readonly points = new Set<string>();
  readonly effects: number[] = [0];
  readonly struck: string[] = [];
  longestFence = 0;
  readonly #cluster: Cluster;
  readonly #life: Life;
  readonly #indexes = new Map<Effect, number>();
  #point = 'begin';
  #isArmed = false;
  #isHit = false;
  #hasLied = false;
  #isHealed = false;
  /** The work is done, and what begins from now on is no place of it to die at. */
  #isOver = false;

  constructor(cluster: Cluster, life: Life) {
    this.#cluster = cluster;
    this.#life = life;
    cluster.onEvent.push((event, process) => this.#onEvent(event, process));
    if (life.strikes) cluster.onEffect = (effect, moment) => this.#onEffect(effect, moment);
  }

  async live(): Promise<void> {
    const { world, routers } = this.#cluster;
    const { start, strikes, recovery } = this.#life;
    for (const routes of routers.values()) routes.canHold = world.chance(0.5);
    if (this.#life.isCalm) this.#cluster.pause = 10;
    this.#cluster.startClients();
    this.#cluster.startWorker();
    if (start === 'fresh') await this.#prepare();
    else await this.#command();
    if (this.#life.fault !== null) await this.#aftermath();
    if (strikes && world.violations.length === 0) await this.#recoverFromStrike(recovery ?? 'resume');
    if (world.violations.length === 0) this.#judgeWindow();
    this.#isHealed = true;
    if (world.violations.length === 0) {
      await recover(this.#cluster, world.pick([0, 10, 500, 17_000]), { hasLied: this.#hasLied });
    }
    this.#isArmed = false;
    if (world.violations.length === 0) await goOn(this.#cluster);
    if (world.violations.length === 0) await judge(this.#cluster, { hasLied: this.#hasLied });
  }

  /** L1, where processes, servers and the network are well: the window ends by itself, and so does what undoes it. */
  #judgeWindow(): void {
    const { world, invariants } = this.#cluster;
    const isWell = this.cells.every((cell) => IS_NO_OUTAGE.test(cell)) && (this.#life.strikes ?? []).length === 0;
    const ms = invariants.longestFence();
    this.longestFence = isWell ? ms : 0;
    if (isWell && ms > WINDOW_MS + UNDO_MS)
      world.violate('L1', `no side was writable for ${ms.toFixed(0)} ms; the window is ${WINDOW_MS} ms`);
  }

  #onEvent(event: Event, process: Process): void {
    const cluster = this.#cluster;
    const { world } = cluster;
    const point = pointOf(event);
    if (point === null) return;
    this.#point = point;
    this.points.add(point);
    for (const client of cluster.clients) client.excite();
    const { isUndone, fault, isExact } = this.#life;
    if (isUndone && point === 'cutover: drain') cluster.servers.target.isDiskFull = true;
    if (isUndone && point.includes('undo')) cluster.servers.target.isDiskFull = false;
    if (point !== this.#life.point || this.#isHit || fault === null) return;
    this.#isHit = true;
    const delayMs = isExact === true || world.chance(0.3) ? 0 : world.between(0, 5);
    world.schedule(null, delayMs, `fault: ${fault}`, () => this.#hit(fault, process, delayMs === 0 ? point : null));
    if (world.chance(0.4)) {
      const more = world.pick(Object.keys(FAULTS));
      const laterMs = world.between(0, world.pick([10, 100, 2_000]));
      world.schedule(null, laterMs, `fault: ${more}`, () => this.#hit(more, process));
    }
  }

  /** `point` is where the fault was meant for; a step that begins in the same instant does not make it another one. */
  #hit(name: string, actor: Process, point: string | null = null): void {
    if (this.#isHealed) return;
    this.cells.push(`${point ?? this.#point} | ${name}`);
    if (name === 'router lies') this.#hasLied = true;
    FAULTS[name]?.(this.#cluster, actor);
  }

  /** Counts effects, and strikes at the one that was asked for. */
  #onEffect(effect: Effect, moment: Moment): Fate {
    const { strikes = [] } = this.#life;
    const stage = this.struck.length;
    const strike = strikes[stage];
    if (!this.#isArmed) return 'go';
    const { process, label } = effect;
    if (moment === 'before' && !(this.#isOver && stage === 0)) {
      this.#indexes.set(effect, this.effects[stage] ?? 0);
      this.effects[stage] = (this.effects[stage] ?? 0) + 1;
    }
    if (!strike || this.#indexes.get(effect) !== strike.index || moment !== strike.moment) return 'go';
    this.struck.push(`${moment} "${label}" of ${process.holder} (${this.#point})`);
    this.effects.push(0);
    this.#indexes.clear();
    const { world } = this.#cluster;
    world.note(`strike: ${strike.how} ${this.struck.at(-1)}`);
    if (strike.how === 'kill') {
      world.kill(process);
      return 'die';
    }
    world.pause(process);
    return moment === 'before' ? 'hold' : 'go';
  }

  async #prepare(): Promise<void> {
    const { world } = this.#cluster;
    this.#isArmed = true;
    const isThere = () => this.#cluster.areIn('ready') && (this.#life.point === null || this.#isHit);
    await world.until(() => isThere() || this.#isHit || this.struck.length > 0, world.now + SETUP_MS);
    if (!this.#life.strikes) return;
    // What is in hand gets its answer, whatever is done then.
    this.#isOver = true;
    await world.until(() => this.struck.length > 0, world.now + 300);
  }

  /** The operator's command, given when the worker has had time to begin. */
  async #command(): Promise<void> {
    const { world } = this.#cluster;
    const { command } = this.#life;
    await world.until(() => this.#isHit, world.now + world.between(100, 400));
    if (!command) return;
    this.#isArmed = true;
    const asked = this.#cluster.startCommand(command, command === 'finalise' ? { early: true } : {});
    await world.until(() => asked.done !== null || this.struck.length > 0, world.now + COMMAND_MS);
    if (this.#life.point !== null) await world.until(() => this.#isHit, world.now + 300);
    if (this.#life.strikes) await world.until(() => false, world.now + 300);
  }

  /** What the faults do, before anybody helps. */
  async #aftermath(): Promise<void> {
    if (!this.#isHit) return;
    const { world } = this.#cluster;
    const isLong = this.cells.some((cell) => cell.endsWith('sleeper deposed'));
    await world.until(() => false, world.now + (isLong ? 25_000 : world.pick([50, 1_000, 5_000])));
  }

  async #recoverFromStrike(recovery: Recovery): Promise<void> {
    const cluster = this.#cluster;
    const { world } = cluster;
    if (recovery === 'abort') {
      const abort = cluster.startCommand('abort');
      await world.until(() => abort.done !== null, world.now + COMMAND_MS);
    }
    if (recovery === 'second worker') {
      cluster.startWorker();
      await world.until(() => false, world.now + 1_000);
    }
    if (recovery !== 'sleeper wakes') return;
    await world.until(() => false, world.now + LEASE_MS + 500);
    cluster.startWorker();
    // It observes the heartbeat before it takes over.
    await world.until(() => false, world.now + 4_500);
    for (const process of cluster.processes) world.wake(process);
    await world.until(() => false, world.now + 2_000);
  }
}
