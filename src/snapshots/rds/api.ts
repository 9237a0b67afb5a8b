import { isKind } from '../../domain/errors.ts';
import { lacksCredentials } from '../../platform/aws/errors.ts';
import { ask, clientConfig } from '../../platform/aws/request.ts';
import { sleep } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { describeKey } from './key.ts';
import { isThrottled, serviceOf } from './meanings.ts';
import type { Pace } from './pace.ts';

/**
 * Every action of RDS that is asked for, and what a repetition of it does: `reads` changes nothing, `repeats` comes to the same,
 * `begins` makes something and is looked up first. The policy in the documentation allows exactly these.
 */
export const ACTIONS = {
  DescribeAccountAttributes: 'reads',
  DescribeDBInstances: 'reads',
  DescribeDBClusters: 'reads',
  DescribeDBSnapshots: 'reads',
  DescribeDBClusterSnapshots: 'reads',
  DescribeEvents: 'reads',
  CreateDBSnapshot: 'begins',
  CreateDBClusterSnapshot: 'begins',
  CopyDBSnapshot: 'begins',
  CopyDBClusterSnapshot: 'begins',
  RestoreDBInstanceFromDBSnapshot: 'begins',
  RestoreDBInstanceToPointInTime: 'begins',
  RestoreDBClusterFromSnapshot: 'begins',
  RestoreDBClusterToPointInTime: 'begins',
  CreateDBInstance: 'begins',
  AddTagsToResource: 'repeats',
  ModifyDBSnapshotAttribute: 'repeats',
  ModifyDBClusterSnapshotAttribute: 'repeats',
  ModifyDBInstance: 'repeats',
  ModifyDBCluster: 'repeats',
  RebootDBInstance: 'repeats',
  DeleteDBSnapshot: 'repeats',
  DeleteDBClusterSnapshot: 'repeats',
  DeleteDBInstance: 'repeats',
  DeleteDBCluster: 'repeats',
} as const satisfies Record<string, 'reads' | 'repeats' | 'begins'>;

/** The name of a row of {@link ACTIONS}. */
export type Action = keyof typeof ACTIONS;
type Repetition = (typeof ACTIONS)[Action];

type Library = typeof import('@aws-sdk/client-rds');
type Client = InstanceType<Library['RDSClient']>;
type CommandOf<A extends Action> = InstanceType<Library[`${A}Command`]>;

/** What an action is asked with. */
export type Input<A extends Action> = ConstructorParameters<Library[`${A}Command`]>[0];
/** What it answers. */
export type Output<A extends Action> = Awaited<ReturnType<ReturnType<CommandOf<A>['resolveMiddleware']>>>['output'];

/** Where and how RDS is asked. */
export interface ApiOptions {
  /** Null: the environment tells. */
  readonly region: string | null;
  readonly pace: Pace;
}

/** What one client needs to be made once. */
interface Connection {
  opened?: Promise<{ readonly library: Library; readonly client: Client }>;
}

/** RDS of one region. Connects at the first question, and loads the SDK then. */
export class RdsApi {
  readonly #options: ApiOptions;
  readonly #connection: Connection;
  readonly #signal: AbortSignal | undefined;

  constructor(options: ApiOptions, connection: Connection = {}, signal?: AbortSignal) {
    this.#options = options;
    this.#connection = connection;
    this.#signal = signal;
  }

  /** How long to wait between looks. */
  get pace(): Pace {
    return this.#options.pace;
  }

  /** RDS of another region. */
  in(region: string): RdsApi {
    return new RdsApi({ ...this.#options, region }, {}, this.#signal);
  }

  /** The same, for one piece of work: it asks no more when the signal is aborted, and rejects with its reason. */
  until(signal: AbortSignal): RdsApi {
    return new RdsApi(this.#options, this.#connection, signal);
  }

  /** The region that is asked, as the SDK finds it. */
  async region(): Promise<string> {
    return await (await this.#open()).client.config.region();
  }

  /**
   * Asks for an action; `about` names what it is done to, for messages. What RDS throttles is asked again after a pause that
   * grows and is drawn by lot, and so is what it did not answer where a repetition comes to the same. Throws as `ask` does.
   */
  async call<A extends Action>(action: A, about: string, input: Input<A>): Promise<Output<A>> {
    return await this.#repeating(ACTIONS[action], async () => {
      const output = await this.#once(action, about, input);
      if (ACTIONS[action] !== 'reads') failpoint(`rds:${action}`);
      return output;
    });
  }

  /** Waits before a further attempt: at random up to a bound that doubles, so that several of us do not ask at once again. */
  async pause(attempt: number): Promise<void> {
    const most = Math.min(this.pace.longestPauseMs, this.pace.pauseMs * 2 ** (attempt - 1));
    await sleep(most * (0.5 + Math.random() / 2), this.#signal);
  }

  /** Who manages a KMS key: `AWS` for the default key of RDS, whose snapshots cannot be shared. */
  async managerOf(key: string): Promise<string> {
    const { library } = await this.#open();
    // Of its own: a client goes on signing for the service that it signed for last.
    const client = new library.RDSClient(this.#clientConfig());
    const request = { what: `looking at KMS key ${key}`, service: serviceOf('kms:DescribeKey') };
    return await this.#repeating('reads', () =>
      ask(request, async ({ abortSignal }) => await describeKey(client, key, abortSignal)),
    );
  }

  async #repeating<T>(repetition: Repetition, once: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      this.#signal?.throwIfAborted();
      try {
        return await once();
      } catch (error) {
        if (attempt >= this.pace.attempts || !isWorthRepeating(repetition, error)) throw error;
        await this.pause(attempt);
      }
    }
  }

  async #once<A extends Action>(action: A, about: string, input: Input<A>): Promise<Output<A>> {
    const { library, client } = await this.#open();
    // One of the library's commands by name: its own types cannot tell which, and ours have.
    const Command = library[`${action}Command`] as unknown as new (input: Input<A>) => never;
    const request = {
      what: `${action} of ${about}`,
      writes: ACTIONS[action] !== 'reads',
      service: serviceOf(`rds:${action}`),
    };
    return await ask(request, (options) => client.send(new Command(input), options) as Promise<Output<A>>);
  }

  #open() {
    this.#connection.opened ??= import('@aws-sdk/client-rds').then((library) => ({
      library,
      client: new library.RDSClient(this.#clientConfig()),
    }));
    return this.#connection.opened;
  }

  #clientConfig() {
    return clientConfig(this.#options.region ?? undefined);
  }
}

const isWorthRepeating = (repetition: Repetition, error: unknown): boolean => {
  if (isThrottled(error)) return true;
  if (repetition === 'begins' || lacksCredentials(error)) return false;
  return isKind(error, 'unknown') || isKind(error, 'unreachable');
};
