import type { ParameterMetadata, SSMClient } from '@aws-sdk/client-ssm';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { ask, clientConfig } from '../../platform/aws/request.ts';
import { failpoint } from '../../platform/failpoint.ts';
import type { Replacement, StoredValue, TakeBack, ValueStore } from './value-store.ts';

/** On the version that the last repoint has replaced. */
const BEFORE = 'switchback-before';
/** Somebody who writes more often than so while one request of ours is under way is not waited for. */
const MOST_VERSIONS = 20;

type Library = typeof import('@aws-sdk/client-ssm');

type Written = Pick<Replacement, 'id' | 'was' | 'text'>;

interface Made {
  readonly made: number;
  readonly overwritten: StoredValue | null;
}

/**
 * Parameters in AWS Systems Manager's Parameter Store. Its PutParameter knows no condition: the version is compared before it,
 * and the number of the version that it made tells afterwards whether somebody wrote in between. Their value is then made the
 * current one again and the repoint is refused; between the two, for the time of two or three requests, ours was to be read.
 * The version that is replaced gets a label beforehand, so that the previous value can be found by whoever looks. What PutParameter would
 * otherwise set to what the account has by default (type, key, tier) is sent along as it is.
 */
export class ParameterStore implements ValueStore {
  readonly #region: string | undefined;
  #opened: Promise<{ readonly library: Library; readonly client: SSMClient }> | undefined;

  constructor(region: string | undefined) {
    this.#region = region;
  }

  nameOf(id: string): string {
    return `parameter ${id}`;
  }

  read(id: string): Promise<StoredValue> {
    return this.#get(id, id);
  }

  async replace({ id, was, text }: Replacement): Promise<TakeBack> {
    const metadata = await this.#describe(id);
    await this.#label(id, Number(was.version));
    // The last look is as near to the write as can be.
    const last = await this.read(id);
    if (last.version !== was.version && last.text !== text) {
      throw changedMeanwhile(id, `nothing of it was overwritten; see who wrote its version ${last.version}`);
    }
    const { made, overwritten } = await this.#write(metadata, { id, was, text });
    if (overwritten === null) return () => this.#takeBack(id, { metadata, made, was });
    // What came after ours, or comes now, is newer than what we would bring back.
    if (Number((await this.read(id)).version) === made) await this.#put(metadata, overwritten.text);
    throw changedMeanwhile(
      id,
      `their value, version ${overwritten.version}, is the current one again after ours, version ${made}; see who writes it`,
    );
  }

  async findings(id: string): Promise<readonly Finding[]> {
    await this.#describe(id);
    return [
      {
        id: 'router/not-held',
        severity: 'warns',
        subject: this.nameOf(id),
        fact: 'its readers are not held: in a switch they get 25006 until they read it again',
        remedy: 'let the application read it again when it is refused with 25006, and give its cache a short lifetime',
      },
    ];
  }

  /** One version: `name` is the parameter's, which is its current one, or `NAME:NUMBER`. */
  async #get(id: string, name: string): Promise<StoredValue> {
    const { library, client } = await this.#open();
    const command = new library.GetParameterCommand({ Name: name, WithDecryption: true });
    const { Parameter } = await ask({ what: `reading parameter ${id}` }, (options) => client.send(command, options));
    if (Parameter?.Value !== undefined) return { text: Parameter.Value, version: String(Parameter.Version) };
    throw new SwitchbackError('refused', `parameter ${id} has no value`, { remedy: 'give it one' });
  }

  async #describe(id: string): Promise<ParameterMetadata> {
    const { library, client } = await this.#open();
    const filter = { Key: 'Name', Option: 'Equals', Values: [id] };
    let next: string | undefined;
    // A page may be empty and not the last.
    do {
      const command = new library.DescribeParametersCommand({ ParameterFilters: [filter], NextToken: next });
      const page = await ask({ what: `looking at parameter ${id}` }, (options) => client.send(command, options));
      const [metadata] = page.Parameters ?? [];
      if (metadata !== undefined) return metadata;
      next = page.NextToken;
    } while (next !== undefined);
    throw new SwitchbackError('refused', `parameter ${id} is not among those that our credentials may see`, {
      remedy: 'correct its name, and allow ssm:DescribeParameters',
    });
  }

  async #label(id: string, version: number): Promise<void> {
    const { library, client } = await this.#open();
    const command = new library.LabelParameterVersionCommand({ Name: id, ParameterVersion: version, Labels: [BEFORE] });
    await ask({ what: `labelling version ${version} of parameter ${id}`, writes: true }, (options) =>
      client.send(command, options),
    );
  }

  /** The number of the version that was made, and whose value it took the place of, if anybody's. */
  async #write(metadata: ParameterMetadata, { id, was, text }: Written): Promise<Made> {
    let made: number | null = null;
    const look = async (before: number): Promise<Made> => {
      const after = Number(was.version);
      return { made: before, overwritten: await this.#newestEdit(id, { after, before, ours: text }) };
    };
    try {
      made = await this.#put(metadata, text);
      failpoint('ssm:written');
      return await look(made);
    } catch (error) {
      // Whoever repeats it finds that it leads there and does not ask what was overwritten: it is looked for here or never.
      const current = await this.read(id).catch(() => null);
      made ??= current?.text === text && current.version !== was.version ? Number(current.version) : null;
      const seen = made === null ? null : await look(made).catch(() => null);
      if (seen === null) throw error;
      return seen;
    }
  }

  /** The number of the version that was made. */
  async #put(metadata: ParameterMetadata, text: string): Promise<number> {
    const { library, client } = await this.#open();
    const { Name, Type, KeyId, Tier, Description, AllowedPattern, DataType, Policies } = metadata;
    const policies = (Policies ?? []).flatMap(({ PolicyText }) => PolicyText ?? []);
    const command = new library.PutParameterCommand({
      Name,
      Value: text,
      Overwrite: true,
      Type,
      Tier,
      ...(Type === 'SecureString' ? { KeyId } : {}),
      Description,
      AllowedPattern,
      DataType,
      ...(policies.length === 0 ? {} : { Policies: `[${policies.join(',')}]` }),
    });
    const { Version } = await ask({ what: `writing parameter ${Name}`, writes: true }, (options) =>
      client.send(command, options),
    );
    if (Version !== undefined) return Version;
    throw new SwitchbackError('unknown', `writing parameter ${Name} was answered without a version`, {
      remedy: 'it is looked at, and asked again where it has not happened',
    });
  }

  /**
   * The newest version between two that says something else than ours, or null. One that says the same is an attempt of the
   * SDK's, or of a worker's that died, whose answer was lost.
   */
  async #newestEdit(
    id: string,
    { after, before, ours }: { readonly after: number; readonly before: number; readonly ours: string },
  ): Promise<StoredValue | null> {
    for (let version = before - 1; version > Math.max(after, before - MOST_VERSIONS); version--) {
      const value = await this.#get(id, `${id}:${version}`);
      if (value.text !== ours) return value;
    }
    return null;
  }

  async #takeBack(
    id: string,
    { metadata, made, was }: { readonly metadata: ParameterMetadata; readonly made: number; readonly was: StoredValue },
  ): Promise<void> {
    if (Number((await this.read(id)).version) === made) await this.#put(metadata, was.text);
  }

  #open() {
    this.#opened ??= import('@aws-sdk/client-ssm').then((library) => ({
      library,
      client: new library.SSMClient(clientConfig(this.#region)),
    }));
    return this.#opened;
  }
}

const changedMeanwhile = (id: string, remedy: string): SwitchbackError =>
  new SwitchbackError('refused', `parameter ${id} was changed by somebody in the middle of a repoint`, { remedy });
