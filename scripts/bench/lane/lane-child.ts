import { readInventory } from '../../../src/databases/postgres/inventory.ts';
import { messageOf } from '../../../src/domain/errors.ts';
import type { Position } from '../../../src/domain/position.ts';
import type { Lane, LaneObserver } from '../../../src/engines/engine.ts';
import { streamEngine } from '../../../src/engines/stream/engine.ts';
import { boundGarbage } from '../../../src/platform/heap.ts';
import { PostgresServer } from '../../../src/platform/postgres/server.ts';
import { laneStore } from '../../../src/sidecar/lanes.ts';
import type { LaneOrder, LaneTold, LaneWord } from './lane-process.ts';

const LANE = 'all/forward';

/** Processor time of this process so far, in seconds. */
const cpuSeconds = (): number => {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  return (userCPUTime + systemCPUTime) / 1e6;
};

const tell = (told: LaneTold): void => void process.send?.(told);

/** A lane that follows from its slot's start, strictly, as it does when its copy has long ended. */
class Following {
  readonly #servers: { readonly source: PostgresServer; readonly target: PostgresServer };
  readonly #stop = new AbortController();
  #lane: Lane | undefined;
  #following: Promise<void> = Promise.resolve();
  /** Processor time before it followed: Node's own start, for the most part. */
  #startCpuSeconds = 0;

  constructor(order: LaneOrder) {
    const serverOf = (label: 'source' | 'target') =>
      new PostgresServer({ url: order.urls[label], label, application: 'switchback' });
    this.#servers = { source: serverOf('source'), target: serverOf('target') };
  }

  async open(order: LaneOrder): Promise<void> {
    const { tables, roots } = await readInventory(this.#servers.source);
    const { slot, publication } = order;
    const store = laneStore(LANE, () => 1n);
    const spec = { lane: LANE, direction: 'forward', tables, roots, publication, slot, store } as const;
    const position = order.position as Position;
    this.#lane = await streamEngine(this.#servers).openLane(spec, { kind: 'from', position });
  }

  follow(): void {
    this.#startCpuSeconds = cpuSeconds();
    const observer: LaneObserver = { copied: () => undefined, applied: () => undefined, lag: () => undefined };
    const { signal } = this.#stop;
    this.#following = this.#lane?.follow({ signal, observer }) ?? Promise.resolve();
    this.#following.catch((error: unknown) => tell({ type: 'failed', message: messageOf(error) }));
  }

  async stop(): Promise<LaneTold> {
    const used = cpuSeconds() - this.#startCpuSeconds;
    this.#stop.abort();
    await this.#following.catch(() => undefined);
    await this.#lane?.close({ drop: false });
    await Promise.all([this.#servers.source.close(), this.#servers.target.close()]);
    return { type: 'stopped', cpuSeconds: used, peakBytes: process.resourceUsage().maxRSS * 1024 };
  }
}

// As the program does.
boundGarbage();

let following: Following | undefined;

const obey = async (word: LaneWord): Promise<void> => {
  switch (word.type) {
    case 'open':
      following = new Following(word.order);
      await following.open(word.order);
      return tell({ type: 'ready' });
    case 'follow':
      return following?.follow();
    case 'stop':
      process.send?.(await following?.stop(), () => process.disconnect());
  }
};

process.on('message', (word: LaneWord) => {
  obey(word).catch((error: unknown) => tell({ type: 'failed', message: messageOf(error) }));
});

// Whoever measures has gone, or has heard everything.
process.once('disconnect', () => process.exit());
