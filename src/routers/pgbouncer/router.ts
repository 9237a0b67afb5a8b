import { createHash } from 'node:crypto';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { otherSide, type Side } from '../../domain/position.ts';
import type { SqlSide } from '../../domain/sql.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { within } from '../bounded.ts';
import { isToChange } from '../condition.ts';
import { filesOf } from '../entry-files.ts';
import type { Repoint, Route, Router } from '../router.ts';
import { inspect } from './checks.ts';
import { Console, type ServerSession, type ShownDatabase } from './console.ts';
import { databaseFiles } from './files.ts';
import { type ForeignSettings, foreignOn, tracksAll } from './foreign.ts';
import { type Address, addressText, type Entry, sameAddress } from './ini.ts';
import { addressesOf, ledText, type PooledSide } from './sides.ts';

/** Which poolers, and what they lead where. */
export interface PgbouncerOptions {
  /** One or more poolers that lead the same applications: the URL of the admin console, and the file with `[databases]`. */
  readonly instances: readonly { readonly admin: string; readonly config: string }[];
  /** The pooler's database of each phase; no two phases share one. */
  readonly databases: ReadonlyMap<string, string>;
  /** What an entry says when it leads to a side. */
  readonly sides: Readonly<Record<Side, PooledSide>>;
  /** The sides' own sessions, by which those of clients are ended. */
  readonly servers: Readonly<Record<Side, SqlSide>>;
  /** How long sessions may keep a pause waiting, and whether they are then ended. */
  readonly blockers: { readonly waitMs: number; readonly action: 'terminate' | 'abort' };
  /** What is done about a server that would turn clients away for what a pooler has learned from the other one. */
  readonly foreignSettings: ForeignSettings['action'];
}

/** What is left for taking back a hold that failed, so that it is over within a second after its budget. */
const TAKE_BACK_MS = 700;
/** What is left for looking who keeps a pause waiting when its budget is spent. */
const LOOK_MS = 200;
/** A process of another user than the pooler's is another session that has got the number since. */
const END_SESSIONS = `
  SELECT pg_terminate_backend(a.pid) FROM unnest($1::text[], $2::text[]) AS ended(pid, usename)
  JOIN pg_stat_activity a ON a.pid::text = ended.pid AND a.usename = ended.usename
  WHERE a.datname = current_database()`;
/** How many sessions a message names. */
const NAMED = 5;

/**
 * Leads clients by PgBouncer: PAUSE, the entry in `[databases]` changed, RELOAD, RESUME. The file is the durable
 * state, with the epoch of the last repoint in a comment (S7); whether clients are held is the poolers' to know, and a pooler
 * that is started anew holds nobody and reads the file. A phase's primary is where the file and every pooler lead: after a
 * crash between edit and RELOAD it is neither side, and the repeated repoint completes it. A version covers host, port,
 * database and epoch of the phase's entry in each file; the rest of an entry is its administrator's.
 */
export class PgbouncerRouter implements Router {
  readonly #options: PgbouncerOptions;
  readonly #consoles: readonly Console[];
  readonly #files: readonly string[];
  readonly #addresses: Readonly<Record<Side, Address>>;

  constructor(options: PgbouncerOptions) {
    this.#options = options;
    this.#addresses = addressesOf(options.sides);
    this.#consoles = options.instances.map(({ admin }) => new Console(admin));
    this.#files = filesOf(options.instances);
  }

  async observe(phase: string): Promise<Route> {
    const database = this.#databaseOf(phase);
    const entries = await Promise.all(this.#files.map((path) => databaseFiles.read(path, database)));
    const shown = await Promise.all(this.#consoles.map((console) => console.database(database)));
    const led = [...entries, ...shown].map((seen) => this.#sideOf(seen?.address));
    const [first = null] = led;
    return {
      primary: led.every((side) => side === first) ? first : null,
      held: shown.some((one) => one?.isPaused === true),
      version: entries.map(versionOf).join('.'),
    };
  }

  /** All poolers or none: when one cannot be paused, all are resumed. */
  async hold(phases: readonly string[], budgetMs: number): Promise<void> {
    const deadline = monotonicMs() + budgetMs;
    const names = phases.map((phase) => this.#databaseOf(phase));
    if (budgetMs <= 0) {
      throw new SwitchbackError('unreachable', `no time was left to pause ${names.join(', ')}`, {
        remedy: 'raise switch.window',
      });
    }
    const attempts = await this.#each(names, (console, name) => this.#pause(console, name, deadline));
    const failed = attempts.find(({ status }) => status === 'rejected');
    if (failed?.status !== 'rejected') return;
    await Promise.allSettled(this.#consoles.map((console) => console.resume(names, TAKE_BACK_MS)));
    throw failed.reason;
  }

  /** Every pooler is let go on that can be, whatever becomes of the others. */
  async release(phases: readonly string[]): Promise<void> {
    const names = phases.map((phase) => this.#databaseOf(phase));
    const attempts = await Promise.allSettled(this.#consoles.map((console) => console.resume(names)));
    for (const attempt of attempts) if (attempt.status === 'rejected') throw attempt.reason;
  }

  async repoint(repoint: Repoint): Promise<void> {
    const { phases, to, epoch } = repoint;
    const address = this.#addresses[to];
    await databaseFiles.change(this.#files, (entryOf, path) => {
      const at = this.#files.indexOf(path);
      return phases.map((phase) => {
        const name = this.#databaseOf(phase);
        const entry = entryOf(name);
        const expected = repoint.expect[phase]?.split('.')[at];
        return [name, this.#isChanged({ repoint, phase, entry, expected }) ? { address, epoch } : entry] as const;
      });
    });
    failpoint('pgbouncer:edited');
    const names = phases.map((phase) => this.#databaseOf(phase));
    await this.#followAll(names, to);
    await this.#each(names, (console, name) => this.#leave(console, name, otherSide(to)));
  }

  /** What would keep it from leading clients of the phases, which are waiting for `windowMs` at most. */
  async findings(phases: readonly string[], windowMs: number): Promise<readonly Finding[]> {
    const databases = phases.flatMap((phase) => this.#options.databases.get(phase) ?? []);
    const addresses = this.#addresses;
    const foreign = await this.#foreign();
    const found = await Promise.all(
      this.#consoles.map((console, index) => {
        const config = this.#options.instances[index]?.config ?? '';
        return inspect({ console, config, databases, addresses, windowMs, foreign });
      }),
    );
    return found.flat();
  }

  async #foreign(): Promise<ForeignSettings | null> {
    const { servers, foreignSettings: action } = this.#options;
    for (const unknownOn of ['source', 'target'] as const) {
      const names = await foreignOn(unknownOn, servers);
      if (names.length > 0) return { names, unknownOn, action };
    }
    return null;
  }

  #databaseOf(phase: string): string {
    const name = this.#options.databases.get(phase);
    if (name === undefined) throw new SwitchbackError('internal', `the router has no database for phase ${phase}`);
    return name;
  }

  #sideOf(address: Address | undefined): Side | null {
    const { source, target } = this.#addresses;
    if (address === undefined) return null;
    if (sameAddress(address, source)) return 'source';
    return sameAddress(address, target) ? 'target' : null;
  }

  /** Does something with each database of each pooler, all at the same time. */
  #each(
    databases: readonly string[],
    work: (console: Console, database: string) => Promise<void>,
  ): Promise<readonly PromiseSettledResult<void>[]> {
    return Promise.allSettled(this.#consoles.flatMap((console) => databases.map((name) => work(console, name))));
  }

  async #pause(console: Console, database: string, deadline: number): Promise<void> {
    const { waitMs, action } = this.#options.blockers;
    const left = () => Math.max(0, deadline - monotonicMs());
    let asked = 0;
    await console.pause(database, deadline, async () => {
      asked += 1;
      if (asked === 1) return Math.min(waitMs, left());
      const sessions = await console.serverSessions(database, left() + LOOK_MS);
      const used = sessions.filter(({ client }) => client !== null);
      const side = this.#sideOf((await console.database(database, left() + LOOK_MS))?.address);
      if (action === 'abort' || asked > 2 || left() === 0 || side === null) throw stillUsed(console, database, used);
      await within(left(), this.#end(side, used));
      return left();
    });
  }

  /** Whether the entry is to be changed. Throws kind `refused` for an older epoch or a version that has moved on. */
  #isChanged(at: {
    readonly repoint: Repoint;
    readonly phase: string;
    readonly entry: Entry;
    readonly expected: string | undefined;
  }): boolean {
    const { repoint, phase, entry, expected } = at;
    return isToChange(repoint, {
      phase,
      isThere: this.#sideOf(entry.address) === repoint.to,
      isAsObserved: expected === versionOf(entry),
      epoch: entry.epoch,
      remedy: `see who edits PgBouncer's databases; ${this.#databaseOf(phase)} leads to ${addressText(entry.address)} now`,
    });
  }

  /**
   * Makes all poolers lead where the files do. When one cannot be made to, the release is never reached: those that do lead
   * there let their clients go on at once, since that side has been given the right to write before a repoint begins.
   */
  async #followAll(names: readonly string[], to: Side): Promise<void> {
    const attempts = await Promise.allSettled(this.#consoles.map((console) => this.#follow(console, names, to)));
    const failed = attempts.find(({ status }) => status === 'rejected');
    if (failed?.status !== 'rejected') return;
    const led = this.#consoles.filter((_, index) => attempts[index]?.status === 'fulfilled');
    await Promise.allSettled(led.map((console) => console.resume(names)));
    throw failed.reason;
  }

  async #follow(console: Console, databases: readonly string[], to: Side): Promise<void> {
    await this.#lead(console, databases, to);
    const { servers, foreignSettings } = this.#options;
    if (foreignSettings === 'refuse' || !tracksAll(await console.version())) return;
    // Also where it leads there already: a worker may have died in between.
    if ((await foreignOn(to, servers)).length > 0) await console.end(databases);
  }

  /** Makes a pooler lead where the file does. */
  async #lead(console: Console, databases: readonly string[], to: Side): Promise<void> {
    const astray = async (): Promise<[string, ShownDatabase | null] | undefined> => {
      const shown = await console.databases();
      const name = databases.find((one) => this.#sideOf(shown.get(one)?.address) !== to);
      return name === undefined ? undefined : [name, shown.get(name) ?? null];
    };
    if ((await astray()) === undefined) return;
    await console.reload();
    failpoint('pgbouncer:reloaded');
    const [name, shown = null] = (await astray()) ?? [];
    if (name === undefined) return;
    const read = (await console.settings()).get('conffile') ?? 'a file that it does not name';
    throw new SwitchbackError('refused', `${console.name} leads ${name} ${ledText(shown)} after its RELOAD`, {
      remedy: `it reads ${read}: make that include the file that the plan names, or name its own; its log says what is wrong in it`,
    });
  }

  /** Waits until no client uses the old server; what stays is ended where the plan says so. It harms nobody: that side is fenced. */
  async #leave(console: Console, database: string, loser: Side): Promise<void> {
    const { waitMs, action } = this.#options.blockers;
    let asked = 0;
    await console.waitClose(database, async () => {
      asked += 1;
      if (asked === 2 && action === 'terminate') {
        const sessions = await console.serverSessions(database);
        const outdated = sessions.filter(({ isOutdated }) => isOutdated);
        // A server that does not answer must not keep the release waiting.
        await within(waitMs, this.#end(loser, outdated));
      }
      if (asked > 2 || (asked === 2 && action === 'abort')) throw new Error(`sessions are left on the ${loser}`);
      return waitMs;
    });
  }

  async #end(side: Side, sessions: readonly ServerSession[]): Promise<void> {
    try {
      await this.#options.servers[side].query(END_SESSIONS, [
        sessions.map(({ pid }) => pid),
        sessions.map(({ user }) => user),
      ]);
    } catch (error) {
      if (error instanceof SwitchbackError) throw error;
      throw new SwitchbackError('refused', `sessions of a pooler on the ${side} cannot be ended: ${messageOf(error)}`, {
        remedy: 'GRANT pg_signal_backend to our role there, or write switch.blockers.then: abort',
        cause: error,
      });
    }
  }
}

const versionOf = ({ address: { host, port, dbname }, epoch }: Entry): string =>
  createHash('sha256')
    .update(JSON.stringify([host, port, dbname, String(epoch)]))
    .digest('hex');

const stillUsed = (console: Console, database: string, sessions: readonly ServerSession[]): SwitchbackError => {
  const named = sessions.slice(0, NAMED).map(({ client, pid }) => `${client}, process ${pid} of the server`);
  const more = sessions.length > NAMED ? [`and ${sessions.length - NAMED} more`] : [];
  const who = [...named, ...more].join('; ') || 'sessions that have ended meanwhile';
  return new SwitchbackError('refused', `${console.name} cannot pause ${database}, which is in use by ${who}`, {
    remedy:
      'end their transactions, or in session pooling their sessions, and try again; or write switch.blockers.then: terminate',
  });
};
