import { createHash } from 'node:crypto';
import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Side } from '../../domain/position.ts';
import { isAnswer } from '../../platform/aws/errors.ts';
import { failpoint } from '../../platform/failpoint.ts';
import type { Repoint, Route, Router } from '../router.ts';
import { markName, markText, type PlainRecord, type RecordType, valuesText } from './records.ts';
import { refusedFinding } from './value-router.ts';
import { CONDITION, type MarkedRecord, type Swap, Zone } from './zone.ts';

/** Which records of which zone, and their values for each side. */
export interface Route53Options {
  readonly zone: string;
  readonly region: string | undefined;
  readonly type: RecordType;
  /** The record of each phase; no two phases share one. */
  readonly records: ReadonlyMap<string, string>;
  /** One value for a CNAME; one or several addresses else. */
  readonly values: Readonly<Record<Side, readonly string[]>>;
}

/** Of the records that remember: short, so that nothing is cached that somebody wants to see. */
const MARK_TTL_S = 60;
/** How often a change is begun anew because a record was changed in between, without being led elsewhere. */
const MOST_ATTEMPTS = 3;

/**
 * Leads clients by the value of a DNS record in Route 53. A repoint is one change of the zone, for all phases: it deletes each
 * record as it was read and creates it with the other value and its own TTL, and Route 53 makes all of it or, when a record is
 * not exactly as it was read, nothing. In the same change a TXT record beside each one takes the repoint's epoch, so that a
 * version never comes again and an older worker is refused (S7). The TXT record also says whether the change has reached all
 * name servers: until GetChange has said INSYNC the phase leads to no side, and a repeated repoint makes the change again to
 * have one that can be asked after. Holds nobody: whoever still has the old value gets 25006 from the fenced side.
 */
export class Route53Router implements Router {
  readonly #options: Route53Options;
  readonly #zone: Zone;

  constructor(options: Route53Options) {
    this.#options = options;
    this.#zone = new Zone(options.zone, options.region);
    if (this.#valuesOf('source') !== this.#valuesOf('target')) return;
    throw new SwitchbackError('usage', `Route 53 would lead to ${this.#valuesOf('source')} on both sides`, {
      remedy: "write what tells them apart as the router's `source` and `target`",
    });
  }

  async observe(phase: string): Promise<Route> {
    const found = await this.#read(phase);
    const primary = found.mark.spreads ? null : this.#sideOf(found.record);
    return { primary, held: false, version: this.#versionOf(found) };
  }

  async hold(): Promise<void> {}

  async release(): Promise<void> {}

  async repoint(repoint: Repoint): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#repointOnce(repoint);
      } catch (error) {
        // Also when the SDK asked again because the answer to its first attempt was lost: reading tells.
        if (attempt === MOST_ATTEMPTS || !isAnswer(error, CONDITION)) throw error;
      }
    }
  }

  async findings(phases: readonly string[], windowMs: number): Promise<readonly Finding[]> {
    try {
      const isPrivate = await this.#zone.isPrivate();
      const found = isPrivate ? [this.#privateFinding()] : [];
      for (const phase of phases) found.push(...(await this.#findingsOf(phase, windowMs)));
      return found;
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      return [refusedFinding(this.#zone.name, error)];
    }
  }

  async #repointOnce(repoint: Repoint): Promise<void> {
    const found: MarkedRecord[] = [];
    // One after another: Route 53 answers an account five times a second.
    for (const phase of repoint.phases) found.push(await this.#read(phase));
    const open = found.filter((one, index) => this.#isChanged(repoint, repoint.phases[index] ?? '', one));
    if (open.length === 0) return;
    const swaps = open.map((one) => this.#swapOf(one, repoint));
    const made = await this.#zone.swap(joined(swaps), `switchback: epoch ${repoint.epoch} leads to the ${repoint.to}`);
    failpoint('route53:changed');
    await this.#zone.inSync(made);
    await this.#settle(swaps, repoint.epoch);
  }

  #recordOf(phase: string): string {
    const name = this.#options.records.get(phase);
    if (name === undefined) throw new SwitchbackError('internal', `the router has no record for phase ${phase}`);
    return name;
  }

  #read(phase: string): Promise<MarkedRecord> {
    return this.#zone.read(this.#recordOf(phase), this.#options.type);
  }

  #valuesOf(side: Side): string {
    return valuesText(this.#options.type, this.#options.values[side]);
  }

  #sideOf({ values }: PlainRecord): Side | null {
    const seen = valuesText(this.#options.type, values);
    if (seen === this.#valuesOf('source')) return 'source';
    return seen === this.#valuesOf('target') ? 'target' : null;
  }

  /** The TTL is its administrator's and may change at any time. */
  #versionOf({ record, mark }: MarkedRecord): string {
    return createHash('sha256')
      .update(JSON.stringify([valuesText(this.#options.type, record.values), String(mark.epoch)]))
      .digest('hex');
  }

  /** Whether a record is to be changed. Throws kind `refused` for an older epoch or a version that has moved on. */
  #isChanged({ to, epoch, expect }: Repoint, phase: string, found: MarkedRecord): boolean {
    const isThere = this.#sideOf(found.record) === to;
    const isAsObserved = expect[phase] === this.#versionOf(found);
    // As for a file: a higher epoch that was there before the switch is an earlier run's; one that has come since is a
    // newer worker's.
    if (epoch < found.mark.epoch && !isAsObserved) {
      if (isThere) return false;
      throw new SwitchbackError(
        'refused',
        `phase ${phase} was repointed by epoch ${found.mark.epoch}, and this is ${epoch}`,
        {
          remedy: 'stop this worker: a newer one is at work',
        },
      );
    }
    if (!isThere && !isAsObserved) {
      throw new SwitchbackError(
        'refused',
        `the route of phase ${phase} was changed by somebody since it was looked at`,
        {
          remedy: `see who changes ${this.#recordOf(phase)}; it leads to ${found.record.values.join(', ')} now`,
        },
      );
    }
    return !isThere || found.mark.spreads || found.mark.epoch !== epoch;
  }

  #swapOf({ record, markRecord }: MarkedRecord, { to, epoch }: Repoint): Swap {
    const mark: PlainRecord = {
      name: markName(record.name),
      type: 'TXT',
      ttl: MARK_TTL_S,
      values: [markText({ epoch, spreads: true })],
    };
    return {
      before: markRecord === null ? [record] : [record, markRecord],
      after: [{ ...record, values: this.#options.values[to] }, mark],
    };
  }

  /**
   * Notes that a change is everywhere, for all phases at once. When somebody has changed one of the notes since, theirs is the
   * newer one, and the others are made by themselves.
   */
  async #settle(swaps: readonly Swap[], epoch: bigint): Promise<void> {
    const settled = swaps.map(({ after }): Swap => {
      const before = after.filter(({ type }) => type === 'TXT');
      return { before, after: before.map((mark) => ({ ...mark, values: [markText({ epoch, spreads: false })] })) };
    });
    if ((await this.#settleThese(settled, epoch)) || settled.length === 1) return;
    for (const one of settled) await this.#settleThese([one], epoch);
  }

  /** False when one of them is not as it was made any more; then none is changed. */
  async #settleThese(settled: readonly Swap[], epoch: bigint): Promise<boolean> {
    try {
      await this.#zone.swap(joined(settled), `switchback: epoch ${epoch} is on all name servers`);
      return true;
    } catch (error) {
      if (!isAnswer(error, CONDITION)) throw error;
      return false;
    }
  }

  async #findingsOf(phase: string, windowMs: number): Promise<readonly Finding[]> {
    const { record } = await this.#read(phase);
    const subject = `${record.type} record ${this.#recordOf(phase)}`;
    const late = `it is kept for ${record.ttl} s by resolvers (TTL), and Route 53 takes up to 60 s to change it; clients are not held meanwhile and get 25006`;
    const finding: Finding =
      record.ttl * 1_000 > windowMs
        ? {
            id: 'router/ttl',
            severity: 'warns',
            subject,
            fact: `${late}, for longer than switch.window (${windowMs} ms)`,
            remedy: `set its TTL to a few seconds, ${record.ttl} s before the switch at the latest; let the JVM keep names as short (networkaddress.cache.ttl)`,
          }
        : {
            id: 'router/not-held',
            severity: 'warns',
            subject,
            fact: late,
            remedy:
              'let the application try again on a new connection; let the JVM keep names as short (networkaddress.cache.ttl)',
          };
    if (this.#sideOf(record) !== null) return [finding];
    const fact = `it leads to ${record.values.join(', ')}, and the sides are ${this.#valuesOf('source')} and ${this.#valuesOf('target')}`;
    const remedy = "write what it says of each side as the router's `source` and `target`";
    return [{ id: 'router/leads-elsewhere', severity: 'blocks', subject, fact, remedy }, finding];
  }

  #privateFinding(): Finding {
    return {
      id: 'router/private-zone',
      severity: 'warns',
      subject: this.#zone.name,
      fact: 'it is private: only clients in the networks that it is associated with are led by it',
      remedy: 'see that all clients are in them, and lead others by a router of their own',
    };
  }
}

const joined = (swaps: readonly Swap[]): Swap => ({
  before: swaps.flatMap(({ before }) => before),
  after: swaps.flatMap(({ after }) => after),
});
