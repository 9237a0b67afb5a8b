import type { Change, ResourceRecordSet, Route53Client } from '@aws-sdk/client-route-53';
import { SwitchbackError } from '../../domain/errors.ts';
import { isAnswer } from '../../platform/aws/errors.ts';
import { ask, clientConfig } from '../../platform/aws/request.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import {
  type Mark,
  markName,
  NO_MARK,
  type PlainRecord,
  plainRecord,
  policyOf,
  type RecordType,
  readMark,
  recordSetOf,
  sameName,
} from './records.ts';

/** AWS says that a change is usually everywhere within 60 s. */
const IN_SYNC_MS = 90_000;
/** An account may ask Route 53 five times a second, all its programs together. */
const LOOK_AGAIN_MS = 1_000;
/** Route 53 is one for all regions; requests are signed for this one, outside of China. */
const GLOBAL = 'us-east-1';
/** More sets than that stand under one name only with a policy. */
const MOST_SETS = 20;
/** No change has it. */
const NO_CHANGE = 'C0000000000000';

/** Route 53's answer to a change that does not fit what is there, see `isAnswer`. */
export const CONDITION = 'InvalidChangeBatch';

type Library = typeof import('@aws-sdk/client-route-53');

/** A record with our mark beside it; `markRecord` is null before the first repoint. */
export interface MarkedRecord {
  readonly record: PlainRecord;
  readonly mark: Mark;
  readonly markRecord: PlainRecord | null;
}

/** Records that take the place of others, all of them or none. */
export interface Swap {
  readonly before: readonly PlainRecord[];
  readonly after: readonly PlainRecord[];
}

/** One hosted zone of Route 53. */
export class Zone {
  readonly #id: string;
  readonly #region: string;
  #opened: Promise<{ readonly library: Library; readonly client: Route53Client }> | undefined;

  constructor(id: string, region: string | undefined) {
    this.#id = id;
    this.#region = region ?? GLOBAL;
  }

  /** For messages. */
  get name(): string {
    return `hosted zone ${this.#id}`;
  }

  /**
   * A record as it was last changed, which name servers may not have yet. Throws kind `refused` when there is none of the type,
   * when it has a routing policy or is an alias, and when the name of our mark is somebody else's.
   */
  async read(name: string, type: RecordType): Promise<MarkedRecord> {
    // One after the other: Route 53 answers an account five times a second.
    const sets = await this.#sets(name);
    const marks = await this.#sets(markName(name));
    const record = plainRecord(this.#usable(name, type, sets), type);
    const found = marks.find(({ Type }) => Type === 'TXT');
    if (found === undefined) return { record, mark: NO_MARK, markRecord: null };
    const markRecord = plainRecord(found, 'TXT');
    const mark = policyOf(found) === null ? readMark(markRecord.values) : null;
    if (mark !== null) return { record, mark, markRecord };
    throw new SwitchbackError(
      'refused',
      `${markName(name)} in ${this.name} is not ours: a switch would remember there what it did`,
      {
        remedy: 'give that TXT record another name',
      },
    );
  }

  /**
   * Swaps records in one change, which Route 53 makes as a whole: a DELETE is refused unless the record is exactly that, and a
   * CREATE unless there is none, so what was read is the condition. Resolves to the id of the change. When the condition failed
   * it throws {@link CONDITION}, as kind `refused`.
   */
  async swap({ before, after }: Swap, comment: string): Promise<string> {
    const { library, client } = await this.#open();
    const changes: Change[] = [
      ...before.map((record): Change => ({ Action: 'DELETE', ResourceRecordSet: recordSetOf(record) })),
      ...after.map((record): Change => ({ Action: 'CREATE', ResourceRecordSet: recordSetOf(record) })),
    ];
    const command = new library.ChangeResourceRecordSetsCommand({
      HostedZoneId: this.#id,
      ChangeBatch: { Comment: comment, Changes: changes },
    });
    const { ChangeInfo } = await ask({ what: `changing ${this.name}`, writes: true }, (options) =>
      client.send(command, options),
    );
    return ChangeInfo?.Id ?? '';
  }

  /** Waits until all name servers of Route 53 have a change. Throws kind `unreachable` when that takes longer than it may. */
  async inSync(change: string): Promise<void> {
    const begun = monotonicMs();
    for (;;) {
      const status = await this.#status(change);
      if (status === 'INSYNC') return;
      if (monotonicMs() - begun > IN_SYNC_MS) {
        throw new SwitchbackError(
          'unreachable',
          `${this.name} has not spread change ${change} after ${IN_SYNC_MS / 1_000} s: it is ${status}`,
          {
            remedy: 'see the AWS Health Dashboard for Route 53; the change is made and will spread',
          },
        );
      }
      await sleep(LOOK_AGAIN_MS);
    }
  }

  /** Whether the zone is seen only from within its own networks. Asks for a change too, to see whether that is allowed. */
  async isPrivate(): Promise<boolean> {
    const { library, client } = await this.#open();
    const command = new library.GetHostedZoneCommand({ Id: this.#id });
    const { HostedZone } = await ask({ what: `looking at ${this.name}` }, (options) => client.send(command, options));
    await this.#status(NO_CHANGE).catch((error: unknown) => {
      if (!isAnswer(error, 'NoSuchChange')) throw error;
    });
    return HostedZone?.Config?.PrivateZone === true;
  }

  async #status(change: string): Promise<string> {
    const { library, client } = await this.#open();
    const command = new library.GetChangeCommand({ Id: change });
    const { ChangeInfo } = await ask({ what: `looking at change ${change}` }, (options) =>
      client.send(command, options),
    );
    return ChangeInfo?.Status ?? 'unknown';
  }

  /** All record sets of a name. */
  async #sets(name: string): Promise<readonly ResourceRecordSet[]> {
    const { library, client } = await this.#open();
    const command = new library.ListResourceRecordSetsCommand({
      HostedZoneId: this.#id,
      StartRecordName: name,
      MaxItems: MOST_SETS,
    });
    const { ResourceRecordSets = [] } = await ask({ what: `reading ${name} in ${this.name}` }, (options) =>
      client.send(command, options),
    );
    return ResourceRecordSets.filter((set) => sameName(set.Name ?? '', name));
  }

  #usable(name: string, type: RecordType, sets: readonly ResourceRecordSet[]): ResourceRecordSet {
    const set = sets.find(({ Type }) => Type === type);
    if (set === undefined) {
      const there = sets.map(({ Type }) => Type).join(', ');
      throw new SwitchbackError(
        'refused',
        `${this.name} has no ${type} record of the name ${name}${there === '' ? '' : `, only ${there}`}`,
        {
          remedy: `create it with a low TTL, leading where the application's database is now; or correct the router's record, type and zone`,
        },
      );
    }
    const policy = policyOf(set);
    if (policy === null) return set;
    throw new SwitchbackError(
      'refused',
      `${type} record ${name} in ${this.name} is ${policy}, which a router cannot lead by`,
      {
        remedy: 'let it be a CNAME to a record of its own without a policy, and name that one in the plan',
      },
    );
  }

  #open() {
    this.#opened ??= import('@aws-sdk/client-route-53').then((library) => ({
      library,
      client: new library.Route53Client(clientConfig(this.#region)),
    }));
    return this.#opened;
  }
}
