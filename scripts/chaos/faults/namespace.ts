import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Side } from '../../../src/domain/position.ts';
import type { FlakyProxy } from '../proxy.ts';
import type { Choose } from './fault.ts';

const run = promisify(execFile);

/** A network namespace for the worker, joined to ours by a pair of virtual cards. */
export class Namespace {
  readonly name: string;
  readonly #card: string;
  readonly #addresses: { readonly ours: string; readonly theirs: string };

  private constructor(id: number) {
    this.name = `chaos${id}`;
    this.#card = `chaos${id}`.slice(0, 15);
    // Of the block for benchmarks (RFC 2544), four addresses for each process id, so that two runs do not meet.
    const block = (id % 16_384) * 4;
    const prefix = `198.${18 + Math.floor(block / 65_536)}.${Math.floor(block / 256) % 256}`;
    this.#addresses = { ours: `${prefix}.${(block % 256) + 1}`, theirs: `${prefix}.${(block % 256) + 2}` };
  }

  /** Makes it. Throws what `ip` and `iptables` said where that cannot be: without root, or without them. */
  static async make(): Promise<Namespace> {
    const namespace = new Namespace(process.pid);
    try {
      await namespace.#make();
      return namespace;
    } catch (error) {
      await namespace.remove();
      throw error;
    }
  }

  /** Our address in it, where proxies listen. */
  get host(): string {
    return this.#addresses.ours;
  }

  /** Words before a program's own that run it in there. */
  get prefix(): readonly string[] {
    return ['ip', 'netns', 'exec', this.name];
  }

  /** Loses every packet of one way between the namespace and one of our ports, until `restore`. */
  async lose(way: 'to' | 'from', port: number): Promise<void> {
    const [chain, match] = way === 'to' ? ['OUTPUT', '--dport'] : ['INPUT', '--sport'];
    await this.#inside('iptables', '-A', chain, '-p', 'tcp', match, String(port), '-j', 'DROP');
  }

  async restore(): Promise<void> {
    await this.#inside('iptables', '-F');
  }

  /** Removes it and its cards; nothing when it is not there. */
  async remove(): Promise<void> {
    await run('ip', ['link', 'delete', this.#card]).catch(() => undefined);
    await run('ip', ['netns', 'delete', this.name]).catch(() => undefined);
  }

  async #make(): Promise<void> {
    const { ours, theirs } = this.#addresses;
    await run('ip', ['netns', 'add', this.name]);
    await run('ip', ['link', 'add', this.#card, 'type', 'veth', 'peer', 'name', 'out', 'netns', this.name]);
    await run('ip', ['addr', 'add', `${ours}/30`, 'dev', this.#card]);
    await run('ip', ['link', 'set', this.#card, 'up']);
    await this.#inside('ip', 'addr', 'add', `${theirs}/30`, 'dev', 'out');
    await this.#inside('ip', 'link', 'set', 'out', 'up');
    await this.#inside('ip', 'link', 'set', 'lo', 'up');
    await this.restore();
  }

  async #inside(...words: readonly string[]): Promise<void> {
    await run('ip', ['netns', 'exec', this.name, ...words]);
  }
}

/** Packets between the worker and one server, or both, are lost one way: to it they are treated as down (fault 12). */
export const loseOneWay =
  (namespace: Namespace): Choose =>
  ({ stage }, dice) => {
    const way = dice.pick(['to', 'from'] as const);
    const sides = dice.pick<readonly Side[]>([['source'], ['target'], ['source', 'target']]);
    const proxies: readonly FlakyProxy[] = sides.map((side) => stage.workerProxies[side]);
    const lastsMs = dice.chance(0.6) ? dice.between(300, 4_000) : dice.between(6_000, 20_000);
    return {
      kind: `packets lost ${way} ${sides.join(' and ')}`,
      detail: `${lastsMs} ms`,
      lastsMs,
      inject: async () => {
        for (const { port } of proxies) await namespace.lose(way, port);
      },
      heal: async () => await namespace.restore(),
    };
  };
