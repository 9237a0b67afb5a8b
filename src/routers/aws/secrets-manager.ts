import { createHash } from 'node:crypto';
import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { ask, clientConfig } from '../../platform/aws/request.ts';
import { failpoint } from '../../platform/failpoint.ts';
import type { Replacement, StoredValue, TakeBack, ValueStore } from './value-store.ts';

const CURRENT = 'AWSCURRENT';
/** On the last version that a switch has made. Without a label of its own a new version would be the current one at once. */
const OURS = 'switchback';

type Library = typeof import('@aws-sdk/client-secrets-manager');

/**
 * Secrets in AWS Secrets Manager. A secret's versions are never changed, so the id of the one that has AWSCURRENT is the
 * version. A repoint makes a version with a label of its own and moves AWSCURRENT to it from the version that was read: Secrets
 * Manager refuses that when AWSCURRENT is not there any more. The id of the new version is derived from the one that it
 * replaces, the side and the epoch, so that a repeated request finds what the first one made. Going back makes a new version
 * too: the old one may hold a password that was rotated since. AWSPREVIOUS stays on what was replaced, as after every move.
 */
export class SecretStore implements ValueStore {
  readonly #region: string | undefined;
  #opened: Promise<{ readonly library: Library; readonly client: SecretsManagerClient }> | undefined;

  constructor(region: string | undefined) {
    this.#region = region;
  }

  nameOf(id: string): string {
    return `secret ${id}`;
  }

  async read(id: string): Promise<StoredValue> {
    const { library, client } = await this.#open();
    const command = new library.GetSecretValueCommand({ SecretId: id, VersionStage: CURRENT });
    const value = await ask({ what: `reading secret ${id}` }, (options) => client.send(command, options));
    const { SecretString: text, VersionId: version } = value;
    if (text !== undefined && version !== undefined) return { text, version };
    throw new SwitchbackError('refused', `secret ${id} does not say where it leads: it is binary`, {
      remedy: 'name a secret that is text',
    });
  }

  async replace({ id, was, text, to, epoch }: Replacement): Promise<TakeBack> {
    const { library, client } = await this.#open();
    const made = createHash('sha256')
      .update(JSON.stringify([id, was.version, to, String(epoch)]))
      .digest('hex');
    const put = new library.PutSecretValueCommand({
      SecretId: id,
      ClientRequestToken: made,
      SecretString: text,
      VersionStages: [OURS],
    });
    await ask({ what: `making a version of secret ${id}`, writes: true }, (options) => client.send(put, options));
    failpoint('secrets-manager:made');
    await this.#move(id, { from: was.version, to: made });
    return () => this.#move(id, { from: made, to: was.version });
  }

  async findings(id: string): Promise<readonly Finding[]> {
    const { library, client } = await this.#open();
    const command = new library.DescribeSecretCommand({ SecretId: id });
    const secret = await ask({ what: `looking at secret ${id}` }, (options) => client.send(command, options));
    const subject = this.nameOf(id);
    const notHeld: Finding = {
      id: 'router/not-held',
      severity: 'warns',
      subject,
      fact: 'its readers are not held: in a switch they get 25006 until they read it again, which caching clients of AWS do once an hour unless they are told otherwise',
      remedy: 'let the application read it again when it is refused with 25006, and give its cache a short lifetime',
    };
    if (secret.RotationEnabled !== true) return [notHeld];
    const next = secret.NextRotationDate === undefined ? '' : `, next on ${secret.NextRotationDate.toISOString()}`;
    const fact = `it is rotated${next}; a rotation in the middle of a switch counts as an edit by somebody else, and the switch parks`;
    const remedy = 'switch at another time than it rotates';
    return [notHeld, { id: 'router/rotates', severity: 'warns', subject, fact, remedy }];
  }

  async #move(id: string, { from, to }: { readonly from: string; readonly to: string }): Promise<void> {
    const { library, client } = await this.#open();
    const move = new library.UpdateSecretVersionStageCommand({
      SecretId: id,
      VersionStage: CURRENT,
      RemoveFromVersionId: from,
      MoveToVersionId: to,
    });
    try {
      const what = `moving ${CURRENT} of secret ${id}`;
      await ask({ what, writes: true }, (options) => client.send(move, options));
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      // Also the answer to a second attempt of the SDK, whose first one has been done.
      const { version } = await this.read(id);
      if (version === to) return;
      // It is where it was read: something else is wrong.
      if (version === from) throw error;
      throw new SwitchbackError('refused', `secret ${id} was changed by somebody in the middle of a repoint`, {
        remedy: `nothing of it was overwritten; see who made its version ${version}`,
        cause: error,
      });
    }
  }

  #open() {
    this.#opened ??= import('@aws-sdk/client-secrets-manager').then((library) => ({
      library,
      client: new library.SecretsManagerClient(clientConfig(this.#region)),
    }));
    return this.#opened;
  }
}
