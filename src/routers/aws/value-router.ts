import { isKind, messageOf, type SwitchbackError as Refusal, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Side } from '../../domain/position.ts';
import type { Repoint, Route, Router } from '../router.ts';
import { type Led, LedTextError, LedTexts } from './led-text.ts';
import type { StoredValue, TakeBack, ValueStore } from './value-store.ts';

/** Which values, and what they say when they lead to a side. */
export interface ValueRouterOptions {
  /** The value of each phase; no two phases share one. */
  readonly ids: ReadonlyMap<string, string>;
  readonly led: Readonly<Record<Side, Led>>;
}

/** A value that has to be replaced. */
interface Open {
  readonly phase: string;
  readonly id: string;
  readonly was: StoredValue;
  readonly text: string;
}

/** A value that was replaced. */
interface Done {
  readonly id: string;
  readonly takeBack: TakeBack;
}

/**
 * Leads clients by values of a store that the application reads: what a value says of the database is replaced and the rest
 * stays. Holds nobody, since it never meets a client. A version is the store's own, which rises with every change whoever
 * makes it, so that a worker which slept is refused by what it has seen; epochs need not be remembered. Several phases have
 * several values and no transaction over them: all are looked at before the first is replaced, and when a later one is refused
 * all the same, the earlier ones are taken back.
 */
export class ValueRouter implements Router {
  readonly #store: ValueStore;
  readonly #ids: ReadonlyMap<string, string>;
  readonly #texts: LedTexts;

  constructor(store: ValueStore, { ids, led }: ValueRouterOptions) {
    this.#store = store;
    this.#ids = ids;
    this.#texts = new LedTexts(led);
    if (!this.#texts.isAmbiguous) return;
    const names = [...ids.values()].map((id) => store.nameOf(id)).join(', ');
    throw new SwitchbackError('usage', `${names} would say the same of both sides`, {
      remedy: "write what tells them apart under the router's `source` and `target`",
    });
  }

  async observe(phase: string): Promise<Route> {
    const id = this.#idOf(phase);
    const value = await this.#store.read(id);
    return { primary: this.#sideOf(id, value), held: false, version: value.version };
  }

  async hold(): Promise<void> {}

  async release(): Promise<void> {}

  async repoint(repoint: Repoint): Promise<void> {
    const open: Open[] = [];
    for (const phase of repoint.phases) {
      const found = await this.#open(phase, repoint);
      if (found !== null) open.push(found);
    }
    const done: Done[] = [];
    for (const { id, was, text } of open) {
      try {
        done.push({ id, takeBack: await this.#store.replace({ id, was, text, to: repoint.to, epoch: repoint.epoch }) });
      } catch (error) {
        // One whose answer is lost is repeated with all the others.
        throw isKind(error, 'refused') ? await this.#takenBack(done, error) : error;
      }
    }
  }

  async findings(phases: readonly string[]): Promise<readonly Finding[]> {
    const found = await Promise.all(phases.map((phase) => this.#findingsOf(this.#idOf(phase))));
    return found.flat();
  }

  /** Takes back what was replaced before a refusal, all that can be. Resolves to the refusal, with what could not be. */
  async #takenBack(done: readonly Done[], refusal: Refusal): Promise<Refusal> {
    const left: string[] = [];
    for (const { id, takeBack } of done.toReversed()) {
      await takeBack().catch((error: unknown) => left.push(`${this.#store.nameOf(id)} (${messageOf(error)})`));
    }
    if (left.length === 0) return refusal;
    const remedy = `not taken back: ${left.join(', ')}; see where these lead; ${refusal.remedy ?? 'mend that'}`;
    return new SwitchbackError('refused', refusal.message, { remedy, cause: refusal });
  }

  #idOf(phase: string): string {
    const id = this.#ids.get(phase);
    if (id === undefined) throw new SwitchbackError('internal', `the router has no value for phase ${phase}`);
    return id;
  }

  #sideOf(id: string, { text }: StoredValue): Side | null {
    return this.#understood(id, () => this.#texts.sideOf(text));
  }

  /** The value of a phase that is to be led elsewhere, or null when it leads there. Throws kind `refused` when it has moved on. */
  async #open(phase: string, { to, expect }: Repoint): Promise<Open | null> {
    const id = this.#idOf(phase);
    const was = await this.#store.read(id);
    const side = this.#sideOf(id, was);
    if (side === to) return null;
    if (was.version !== expect[phase]) {
      const remedy = `see who writes ${this.#store.nameOf(id)}; it leads to ${side ?? 'neither side'} now`;
      throw new SwitchbackError(
        'refused',
        `the route of phase ${phase} was changed by somebody since it was looked at`,
        { remedy },
      );
    }
    return { phase, id, was, text: this.#understood(id, () => this.#texts.leadTo(to, was.text)) };
  }

  async #findingsOf(id: string): Promise<readonly Finding[]> {
    try {
      const value = await this.#store.read(id);
      const elsewhere = this.#sideOf(id, value) === null ? [this.#leadsElsewhere(id, value)] : [];
      return [...elsewhere, ...(await this.#store.findings(id))];
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      return [refusedFinding(this.#store.nameOf(id), error)];
    }
  }

  #leadsElsewhere(id: string, { text }: StoredValue): Finding {
    return {
      id: 'router/leads-elsewhere',
      severity: 'blocks',
      subject: this.#store.nameOf(id),
      fact: `it leads to no side: ${this.#texts.strangeness(text)}`,
      remedy: "write what it says of each side under the router's `source` and `target`, or correct the value",
    };
  }

  #understood<T>(id: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof LedTextError)) throw error;
      throw new SwitchbackError('refused', `${this.#store.nameOf(id)} does not say where it leads: ${error.message}`, {
        remedy: "make it a JSON object with the keys of the router's `source` and `target`, or name another one",
        cause: error,
      });
    }
  }
}

/** What a definite no says before a switch. */
export const refusedFinding = (subject: string, error: Refusal): Finding => ({
  id: 'router/refused',
  severity: 'blocks',
  subject,
  fact: error.message,
  remedy: error.remedy ?? 'mend that',
});
