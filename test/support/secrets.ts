import {
  CreateSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager';

/** What an administrator does with secrets, past every router. */
export class Secrets {
  readonly #client = new SecretsManagerClient({});

  async create(id: string, text: string): Promise<void> {
    await this.#client.send(new CreateSecretCommand({ Name: id, SecretString: text }));
  }

  /** What has AWSCURRENT. */
  async current(id: string): Promise<{ readonly text: string; readonly version: string }> {
    const command = new GetSecretValueCommand({ SecretId: id, VersionStage: 'AWSCURRENT' });
    const { SecretString = '', VersionId = '' } = await this.#client.send(command);
    return { text: SecretString, version: VersionId };
  }

  /** The labels of each version. */
  async stages(id: string): Promise<Readonly<Record<string, readonly string[]>>> {
    return (await this.#client.send(new DescribeSecretCommand({ SecretId: id }))).VersionIdsToStages ?? {};
  }

  /** In two steps, since moto loses track of AWSCURRENT when a version is put on top of one that was moved. */
  async write(id: string, text: string): Promise<void> {
    const { version: from } = await this.current(id);
    const put = new PutSecretValueCommand({ SecretId: id, SecretString: text, VersionStages: ['edited'] });
    const { VersionId: to } = await this.#client.send(put);
    const move = { SecretId: id, VersionStage: 'AWSCURRENT', RemoveFromVersionId: from, MoveToVersionId: to };
    await this.#client.send(new UpdateSecretVersionStageCommand(move));
  }
}
