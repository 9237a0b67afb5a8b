import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import type { Repoint, Route, Router } from '../router.ts';
import { type EtcdMembers, Gateway } from './gateway.ts';
import { type EtcdRoute, type KeyState, NOT_TOLD, readRoute, versionOf, writeRoute } from './route.ts';

/** A cluster, and where in it the routes are. */
export interface EtcdOptions extends EtcdMembers {
  /** The key of a phase is this and its name. */
  readonly prefix: string;
}

/** A phase's key as it was read. */
interface Seen {
  readonly phase: string;
  readonly state: KeyState | null;
  readonly route: EtcdRoute;
}

type Next = (seen: Seen) => EtcdRoute | null;

/** How often a change is begun anew because somebody else wrote in between, before the keys count as contended. */
const MAX_ATTEMPTS = 20;
/** How many answers may be lost before it is left to the caller. */
const MAX_LOST = 3;
const PAUSE_MS = 50;

/**
 * One key for each phase, which clients watch; its value is JSON with the primary, whether clients are to wait, and the epoch
 * of the last repoint (S7). Every change is one transaction over all phases of it, on condition that none of their keys was
 * written since it was read: all are changed or none. A transaction whose answer is lost is not repeated before the keys were
 * read again, and its condition keeps it from being carried out after any later write of ours. Therefore a release is written
 * also when nobody is held: a hold that is still on its way could otherwise come after it, and nobody would end it.
 */
export class EtcdRouter implements Router {
  readonly #gateway: Gateway;
  readonly #prefix: string;

  constructor(options: EtcdOptions) {
    this.#gateway = new Gateway(options);
    this.#prefix = options.prefix;
  }

  async observe(phase: string): Promise<Route> {
    const [seen] = await this.#read([phase], Number.POSITIVE_INFINITY);
    const { state = null, route = NOT_TOLD } = seen ?? {};
    return { primary: route.primary, held: route.held, version: versionOf(state, route) };
  }

  async hold(phases: readonly string[], budgetMs: number): Promise<void> {
    await this.#change(phases, ({ route }) => (route.held ? null : heldOr(route, true)), monotonicMs() + budgetMs);
  }

  /** When the key of one phase is not understood, clients of all others go on nevertheless. */
  async release(phases: readonly string[]): Promise<void> {
    const released: Next = ({ route }) => heldOr(route, false);
    try {
      await this.#change(phases, released);
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      const ends = await Promise.allSettled(phases.map((phase) => this.#change([phase], released)));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    }
  }

  async repoint(repoint: Repoint): Promise<void> {
    await this.#change(repoint.phases, (seen) => this.#repointed(repoint, seen));
  }

  /** Whether the keys can be read and what is in them is understood. */
  async findings(phases: readonly string[]): Promise<readonly Finding[]> {
    try {
      await this.#read(phases, Number.POSITIVE_INFINITY);
      return [];
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      const { message, remedy = 'mend that' } = error;
      return [{ id: 'router/refused', severity: 'blocks', subject: 'etcd', fact: message, remedy }];
    }
  }

  #keyOf(phase: string): string {
    return Buffer.from(`${this.#prefix}${phase}`).toString('base64');
  }

  /** All keys as they were at one moment; a read of etcd is never older than what was written before it. */
  async #read(phases: readonly string[], deadline: number): Promise<readonly Seen[]> {
    const success = phases.map((phase) => ({ request_range: { key: this.#keyOf(phase) } }));
    const reply = await this.#gateway.transact({ success }, { isWrite: false, deadline });
    const { responses = [] } = (reply.how === 'answer' ? reply.value : {}) as RangeAnswers;
    return phases.map((phase, index) => {
      const state = stateOf(responses[index]?.response_range?.kvs?.[0]);
      if (state === null) return { phase, state, route: NOT_TOLD };
      const route = readRoute(state.value);
      if (typeof route !== 'string') return { phase, state, route };
      throw new SwitchbackError('refused', `the route in etcd's key ${this.#prefix}${phase} ${route}`, {
        remedy: `mend it, such as {"primary": "source"}, or delete the key, and run the command again`,
      });
    });
  }

  async #change(phases: readonly string[], next: Next, deadline = Number.POSITIVE_INFINITY): Promise<void> {
    if (phases.length === 0) return;
    const lost: string[] = [];
    for (let attempt = 1; attempt <= MAX_ATTEMPTS && lost.length < MAX_LOST; attempt++) {
      if (monotonicMs() >= deadline) break;
      const seen = await this.#read(phases, deadline).catch((error: unknown) => {
        throw lost.length > 0 && isKind(error, 'unreachable') ? notKnown([...lost, error.message]) : error;
      });
      const puts = seen.flatMap((one) => {
        const route = next(one);
        return route === null ? [] : [{ request_put: { key: this.#keyOf(one.phase), value: writeRoute(route) } }];
      });
      if (puts.length === 0) return;
      if (monotonicMs() >= deadline) break;
      const compare = seen.map(({ phase, state }) => ({
        key: this.#keyOf(phase),
        target: 'MOD',
        result: 'EQUAL',
        mod_revision: state?.modRevision ?? '0',
      }));
      const reply = await this.#gateway.transact({ compare, success: puts }, { isWrite: true, deadline });
      if (reply.how === 'answer' && reply.value.succeeded === true) return;
      if (reply.how === 'unknown') lost.push(reply.reason);
      await sleep(Math.max(0, Math.min(PAUSE_MS, deadline - monotonicMs())));
    }
    throw lost.length > 0 ? notKnown(lost) : tooLate(phases, monotonicMs() >= deadline);
  }

  /** The route after a repoint; null when nothing is to be written. A hold stays. */
  #repointed({ to, epoch, expect }: Repoint, { phase, state, route }: Seen): EtcdRoute | null {
    const isAsObserved = expect[phase] === versionOf(state, route);
    // As for a file: a higher epoch that was there before the switch is an earlier run's; one that has come since is a newer
    // worker's.
    if (epoch < route.epoch && !isAsObserved) {
      if (route.primary === to) return null;
      throw new SwitchbackError(
        'refused',
        `phase ${phase} was repointed by epoch ${route.epoch}, and this is ${epoch}`,
        {
          remedy: 'stop this worker: a newer one is at work',
        },
      );
    }
    if (route.primary !== to && !isAsObserved) {
      throw new SwitchbackError(
        'refused',
        `the route of phase ${phase} was changed by somebody since it was looked at`,
        {
          remedy: `see who writes etcd's key ${this.#prefix}${phase}; it leads to ${route.primary ?? 'no side'} now`,
        },
      );
    }
    return route.primary === to && route.epoch === epoch ? null : { ...route, primary: to, epoch };
  }
}

const heldOr = (route: EtcdRoute, held: boolean): EtcdRoute => ({ ...route, held, holds: route.holds + 1n });

/** The parts of an answer that are read here. Numbers are texts; what is empty or 0 is left out. */
interface RangeAnswers {
  readonly responses?: readonly {
    readonly response_range?: { readonly kvs?: readonly Readonly<Record<string, string>>[] };
  }[];
}

const stateOf = (kv: Readonly<Record<string, string>> | undefined): KeyState | null =>
  kv === undefined
    ? null
    : {
        value: kv.value ?? '',
        version: kv.version ?? '0',
        createRevision: kv.create_revision ?? '0',
        modRevision: kv.mod_revision ?? '0',
      };

const notKnown = (reasons: readonly string[]): SwitchbackError =>
  new SwitchbackError('unknown', `it is not known whether etcd's keys were written: ${reasons.join('; ')}`, {
    remedy: 'see which member is without the others; it is asked again',
  });

const tooLate = (phases: readonly string[], isLate: boolean): SwitchbackError => {
  const why = isLate ? 'no time was left to write' : `somebody else wrote ${MAX_ATTEMPTS} times while we did`;
  return new SwitchbackError('unreachable', `etcd's keys of ${phases.join(', ')}: ${why}`, {
    remedy: isLate ? 'raise switch.window' : 'see who writes them all the time',
  });
};
