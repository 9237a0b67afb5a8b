import { AsyncLocalStorage } from 'node:async_hooks';
import { randomFrom } from '../support/random.ts';

/** A simulated operating-system process of ours. What it does happens only in events that it owns. */
export interface Process {
  /** Its worker id: names its sessions and its lease. */
  readonly holder: string;
  state: 'running' | 'paused' | 'dead';
  /** Events that came due while it was paused, in order. */
  readonly parked: Event[];
  /** Called once when it dies, so that servers see its sessions end. */
  readonly onDeath: (() => void)[];
}

interface Event {
  at: number;
  readonly order: number;
  /** Null for what belongs to servers, the network and clients. */
  readonly owner: Process | null;
  readonly label: string;
  readonly act: () => void;
  isCancelled: boolean;
}

/** A broken promise of the product, or a run that got stuck. */
export interface Violation {
  /** `S1` to `S14`, `L2`, `L3`, or `internal`. */
  readonly id: string;
  readonly text: string;
  readonly at: number;
}

const running = new AsyncLocalStorage<{ readonly world: World; readonly process: Process }>();

/** The simulated process whose code is being executed. Throws outside of one. */
export const here = (): { readonly world: World; readonly process: Process } => {
  const found = running.getStore();
  if (!found) throw new Error('product code runs outside a simulated process');
  return found;
};

/** Whether code of a simulated process is being executed. */
export const isSimulated = (): boolean => running.getStore() !== undefined;

/**
 * Time, order and chance of one simulated run. Every message, timer and server's act is an event in one queue; its order is
 * fixed by the seed alone. After each event all of the product's code that it woke runs to where it waits for the next.
 */
export class World {
  readonly seed: number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly violations: Violation[] = [];
  /** Milliseconds since the simulation began. */
  now = 0;
  /** Number of events that have happened. */
  count = 0;
  /** How often bytes were asked for; goes on where the run began that a life is begun from, so that none are given again. */
  given = 0;
  /** Kept only when asked for: every event's time and label. */
  readonly trace: string[] | null;
  /** Looks at the world after every event. */
  readonly afterEvent: (() => void)[] = [];
  #digest = 0x811c9dc5;
  #order = 0;
  readonly #queue: Event[] = [];

  constructor(seed: number, options: { readonly keepTrace?: boolean } = {}) {
    this.seed = seed;
    this.random = randomFrom(seed);
    this.trace = options.keepTrace === true ? [] : null;
  }

  /** Number between two, both included at least approximately. */
  between(low: number, high: number): number {
    return low + this.random() * (high - low);
  }

  /** One of several. */
  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random() * from.length)] as T;
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.random() < probability;
  }

  /** Bytes that product code believes to be random. They come from a counter, so that they do not disturb the seed. */
  bytes(size: number): Buffer {
    const made = Buffer.alloc(size);
    this.given += 1;
    made.writeUIntBE(this.given * 7919 + this.seed, 0, Math.min(size, 3) || 1);
    // A world that begins from another one's state has begun to count anew.
    if (size >= 12) made.writeDoubleBE(this.now, 4);
    return made;
  }

  /** Puts an event into the queue. The function that is returned takes it out. */
  schedule(owner: Process | null, delayMs: number, label: string, act: () => void): () => void {
    this.#order += 1;
    const event: Event = { at: this.now + delayMs, order: this.#order, owner, label, act, isCancelled: false };
    this.#push(event);
    return () => {
      event.isCancelled = true;
    };
  }

  /** Starts code of a process. Its promise ends when the code does; that of a process that dies never does. */
  enter<T>(process: Process, code: () => T): T {
    return running.run({ world: this, process }, code);
  }

  /** A new process. */
  spawn(holder: string): Process {
    return { holder, state: 'running', parked: [], onDeath: [] };
  }

  /** kill -9: nothing of the process ever happens again. What it has sent is under way all the same. */
  kill(process: Process): void {
    if (process.state === 'dead') return;
    process.state = 'dead';
    process.parked.length = 0;
    for (const act of process.onDeath) act();
  }

  /** SIGSTOP. */
  pause(process: Process): void {
    if (process.state === 'running') process.state = 'paused';
  }

  /** SIGCONT: everything that came due meanwhile comes now, in order. */
  wake(process: Process): void {
    if (process.state !== 'paused') return;
    process.state = 'running';
    for (const event of process.parked.splice(0)) {
      event.at = this.now;
      this.#push(event);
    }
  }

  /** Notes a broken invariant. The run goes on, so that what follows from it is seen as well. */
  violate(id: string, text: string): void {
    if (this.violations.length < 20) this.violations.push({ id, text, at: this.now });
  }

  /** A number that is equal for equal sequences of events. */
  get digest(): number {
    return this.#digest >>> 0;
  }

  /** Adds something to the trace that is no event. */
  note(text: string): void {
    this.trace?.push(`${this.now.toFixed(3)} ${text}`);
    for (let i = 0; i < text.length; i++) this.#digest = Math.imul(this.#digest ^ text.charCodeAt(i), 0x01000193);
  }

  /** Lets events happen until a condition holds, the time is reached, or a violation is seen. Returns whether it holds. */
  async until(isDone: () => boolean, deadlineMs: number): Promise<boolean> {
    while (!isDone()) {
      if (this.violations.length > 0) return false;
      const next = this.#queue[0];
      if (next === undefined || next.at > deadlineMs) {
        this.now = Math.max(this.now, deadlineMs);
        return false;
      }
      // Servers, network and clients are plain callbacks. Where product code was woken, all of it has run to where it waits
      // again before the next immediate is.
      if (this.#happen(this.#pop())) await new Promise<void>((resolve) => setImmediate(resolve));
      for (const look of this.afterEvent) look();
    }
    return true;
  }

  /** Returns whether product code was woken. */
  #happen(event: Event): boolean {
    const { owner } = event;
    if (event.isCancelled || owner?.state === 'dead') return false;
    this.now = Math.max(this.now, event.at);
    if (owner?.state === 'paused') {
      owner.parked.push(event);
      return false;
    }
    this.count += 1;
    this.note(event.label);
    this.#digest = Math.imul(this.#digest ^ Math.round(this.now * 1000), 0x01000193);
    if (!owner) {
      event.act();
      return false;
    }
    this.enter(owner, event.act);
    return true;
  }

  #push(event: Event): void {
    const queue = this.#queue;
    let at = queue.length;
    queue.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = queue[parent] as Event;
      if (!isBefore(event, above)) break;
      queue[at] = above;
      at = parent;
    }
    queue[at] = event;
  }

  #pop(): Event {
    const queue = this.#queue;
    const first = queue[0] as Event;
    const last = queue.pop() as Event;
    if (queue.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= queue.length) break;
      if (child + 1 < queue.length && isBefore(queue[child + 1] as Event, queue[child] as Event)) child += 1;
      const below = queue[child] as Event;
      if (!isBefore(below, last)) break;
      queue[at] = below;
      at = child;
    }
    queue[at] = last;
    return first;
  }
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
