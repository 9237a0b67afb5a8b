import { createHash } from 'node:crypto';
import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { otherSide, type Side } from '../../domain/position.ts';
import type { SqlSide } from '../../domain/sql.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { changedBySomebody, isToChange } from '../condition.ts';
import { filesOf } from '../entry-files.ts';
import type { Repoint, Route, Router } from '../router.ts';
import type { ShownServer } from './answers.ts';
import { inspect } from './checks.ts';
import { type Address, addressText, type Entry, sameAddress, serverText } from './config.ts';
import { configFiles } from './files.ts';
import { Instance, type Lead, leadsTo } from './instance.ts';
import { addressesOf, type ProxiedSide, resolveSide, type SideAddress } from './sides.ts';

/** Which processes, and what they lead where. */
export interface HaproxyOptions {
  /** One or more that lead the same applications: the runtime socket, and the file that has the servers. */
  readonly instances: readonly { readonly socket: string; readonly config: string }[];
  /** What leads each phase; no two phases share a frontend or a server. */
  readonly leads: ReadonlyMap<string, Lead>;
  /** What a server's line says when it leads to a side. */
  readonly sides: Readonly<Record<Side, ProxiedSide>>;
  /** The sides' own sessions, to look for the roles of checks. */
  readonly servers: Readonly<Record<Side, SqlSide>>;
  /** What becomes of sessions that are on the old side after a repoint. */
  readonly sessions: 'end' | 'keep';
}

/** For all that it takes to take back a hold that failed, so that it is over within a second after its budget. */
const TAKE_BACK_MS = 700;

type Sides = Readonly<Record<Side, SideAddress>>;

/**
 * Leads clients by HAProxy in TCP mode: frontends let nobody in, the server's address is changed in the file and over the
 * runtime socket, sessions on the old side are ended, and frontends let in who waited. The file is the durable state, with the
 * epoch of the last repoint in a comment (S7); whether clients are held, and where connections are made to, is the processes'
 * to know, and one that is started anew holds nobody and reads the file. A phase's primary is where the file and every process
 * lead: after a crash between the edit and the socket it is neither side, and the repeated repoint completes it. A version
 * covers address and epoch in each file and the address in each process, so that a change by hand of either is noticed; the
 * socket has no condition of its own, which leaves the moment between a look and the command.
 */
export class HaproxyRouter implements Router {
  readonly #options: HaproxyOptions;
  readonly #instances: readonly Instance[];
  readonly #files: readonly string[];
  readonly #written: Readonly<Record<Side, Address>>;

  constructor(options: HaproxyOptions) {
    this.#options = options;
    this.#written = addressesOf(options.sides);
    this.#instances = options.instances.map((one) => new Instance(one));
    this.#files = filesOf(options.instances);
  }

  async observe(phase: string): Promise<Route> {
    const { server, frontend } = this.#leadOf(phase);
    const sides = await this.#resolve();
    const entries = await Promise.all(this.#files.map((path) => configFiles.read(path, server)));
    const shown = await Promise.all(this.#instances.map((instance) => instance.socket.server(server)));
    const held = await Promise.all(this.#instances.map((instance) => instance.isHeld(frontend)));
    const led = [...entries.map(({ address }) => this.#sideOf(address)), ...shown.map((one) => sideShown(one, sides))];
    const [first = null] = led;
    return {
      primary: led.every((side) => side === first) ? first : null,
      held: held.includes(true),
      version: [...entries.map(entryVersion), ...shown.map((one) => shownVersion(one, sides))].join('.'),
    };
  }

  /** All processes or none: when one cannot be told, all let clients in again. */
  async hold(phases: readonly string[], budgetMs: number): Promise<void> {
    const deadline = monotonicMs() + budgetMs;
    const frontends = this.#frontendsOf(phases);
    if (budgetMs <= 0) {
      throw new SwitchbackError('unreachable', `no time was left to hold ${frontends.join(', ')}`, {
        remedy: 'raise switch.window',
      });
    }
    const attempts = await this.#each(frontends, (instance, frontend) => instance.hold(frontend, deadline));
    if (attempts.every(({ status }) => status === 'fulfilled')) return;
    const takenBackBy = monotonicMs() + TAKE_BACK_MS;
    await this.#each(frontends, (instance, frontend) => instance.release(frontend, takenBackBy));
    throwFirst(attempts);
  }

  /** Every process lets clients in that can be told, whatever becomes of the others. */
  async release(phases: readonly string[]): Promise<void> {
    throwFirst(await this.#each(this.#frontendsOf(phases), (instance, frontend) => instance.release(frontend)));
  }

  async repoint(repoint: Repoint): Promise<void> {
    const { phases, to, epoch } = repoint;
    const sides = await this.#resolve();
    // One that is gone reads the file when it is back.
    const looks = this.#instances.map((instance) =>
      this.#refuseChanged(instance, repoint, sides).catch(unlessUnreachable),
    );
    await Promise.all(looks);
    await configFiles.change(this.#files, (entryOf, path) =>
      phases.map((phase) => {
        const { server } = this.#leadOf(phase);
        const entry = entryOf(server);
        return [
          server,
          this.#isToChange(repoint, { phase, entry, path }) ? { address: this.#written[to], epoch } : entry,
        ];
      }),
    );
    failpoint('haproxy:edited');
    await this.#leadAll(repoint, sides);
  }

  /** What would keep it from leading clients of the phases. No timeout of HAProxy runs for those who wait. */
  async findings(phases: readonly string[]): Promise<readonly Finding[]> {
    const leads = phases.flatMap((phase) => this.#options.leads.get(phase) ?? []);
    const sides = await this.#resolve();
    const { servers } = this.#options;
    const found = await Promise.all(this.#instances.map((instance) => inspect({ instance, leads, sides, servers })));
    return found.flat();
  }

  #leadOf(phase: string): Lead {
    const lead = this.#options.leads.get(phase);
    if (lead === undefined) throw new SwitchbackError('internal', `the router has no server for phase ${phase}`);
    return lead;
  }

  #frontendsOf(phases: readonly string[]): readonly string[] {
    return phases.map((phase) => this.#leadOf(phase).frontend);
  }

  async #resolve(): Promise<Sides> {
    const [source, target] = await Promise.all([resolveSide(this.#written.source), resolveSide(this.#written.target)]);
    return { source, target };
  }

  #sideOf(address: Address): Side | null {
    if (sameAddress(address, this.#written.source)) return 'source';
    return sameAddress(address, this.#written.target) ? 'target' : null;
  }

  /** Does something with each frontend of each process, all at the same time. */
  #each(
    frontends: readonly string[],
    work: (instance: Instance, frontend: string) => Promise<void>,
  ): Promise<readonly PromiseSettledResult<void>[]> {
    return Promise.allSettled(this.#instances.flatMap((instance) => frontends.map((name) => work(instance, name))));
  }

  /** Throws kind `refused` when a process leads neither where it is to lead nor where it led when it was observed. */
  async #refuseChanged(instance: Instance, { phases, to, expect }: Repoint, sides: Sides): Promise<void> {
    const at = this.#files.length + this.#instances.indexOf(instance);
    for (const phase of phases) {
      const { server } = this.#leadOf(phase);
      const shown = await instance.socket.server(server);
      if (leadsTo(shown, sides[to]) || expect[phase]?.split('.')[at] === shownVersion(shown, sides)) continue;
      const where = `${instance.name} leads ${serverText(server)} to ${addressText(shown.address)} now`;
      throw changedBySomebody(phase, `see who gives commands on HAProxy's sockets; ${where}`);
    }
  }

  #isToChange(
    repoint: Repoint,
    { phase, entry, path }: { readonly phase: string; readonly entry: Entry; readonly path: string },
  ): boolean {
    const server = serverText(this.#leadOf(phase).server);
    return isToChange(repoint, {
      phase,
      isThere: this.#sideOf(entry.address) === repoint.to,
      isAsObserved: repoint.expect[phase]?.split('.')[this.#files.indexOf(path)] === entryVersion(entry),
      epoch: entry.epoch,
      remedy: `see who edits HAProxy's configuration; ${server} leads to ${addressText(entry.address)} in ${path} now`,
    });
  }

  /**
   * Makes all processes lead where the files do, and ends what they have with the other side. When one cannot be made to, the
   * release is never reached: those that do lead there let their clients in at once, since that side has been given the right
   * to write before a repoint begins.
   */
  async #leadAll(repoint: Repoint, sides: Sides): Promise<void> {
    const leads = await Promise.allSettled(this.#instances.map((instance) => this.#lead(instance, repoint, sides)));
    failpoint('haproxy:all led');
    // Not before all that can be lead there: whoever is cut off connects again at once, by any of them.
    const led = this.#instances.filter((_, index) => leads[index]?.status === 'fulfilled');
    const ends = await Promise.allSettled(led.map((instance) => this.#endLeft(instance, repoint, sides)));
    const attempts = [...leads, ...ends];
    if (attempts.every(({ status }) => status === 'fulfilled')) return;
    const frontends = this.#frontendsOf(repoint.phases);
    await Promise.allSettled(led.flatMap((instance) => frontends.map((frontend) => instance.release(frontend))));
    throwFirst(attempts);
  }

  async #lead(instance: Instance, repoint: Repoint, sides: Sides): Promise<void> {
    await this.#refuseChanged(instance, repoint, sides);
    for (const phase of repoint.phases) {
      // A newer worker may have led it back while this one slept, and to where it was observed.
      const { address } = await configFiles.read(instance.config, this.#leadOf(phase).server);
      if (this.#sideOf(address) === repoint.to) continue;
      throw changedBySomebody(phase, `see who edits ${instance.config}; it says ${addressText(address)} now`);
    }
    for (const phase of repoint.phases) await instance.lead(this.#leadOf(phase).server, sides[repoint.to]);
  }

  async #endLeft(instance: Instance, { phases, to }: Repoint, sides: Sides): Promise<void> {
    if (this.#options.sessions === 'keep') return;
    for (const phase of phases) await instance.endSessions(this.#leadOf(phase).server, sides[otherSide(to)]);
  }
}

const unlessUnreachable = (error: unknown): void => {
  if (!isKind(error, 'unreachable')) throw error;
};

const throwFirst = (attempts: readonly PromiseSettledResult<void>[]): void => {
  for (const attempt of attempts) if (attempt.status === 'rejected') throw attempt.reason;
};

const sideShown = (shown: ShownServer, sides: Sides): Side | null => {
  const led = (['source', 'target'] as const).filter((side) => leadsTo(shown, sides[side]));
  return led.length === 1 ? (led[0] ?? null) : null;
};

const hashOf = (values: readonly string[]): string => createHash('sha256').update(JSON.stringify(values)).digest('hex');

const entryVersion = ({ address: { host, port }, epoch }: Entry): string => hashOf([host, port, String(epoch)]);

/** A side whose name stands for another address than before has not been led elsewhere. */
const shownVersion = (shown: ShownServer, sides: Sides): string =>
  hashOf([sideShown(shown, sides) ?? addressText(shown.address)]);
