import { randomBytes } from 'node:crypto';
import * as rds from '@aws-sdk/client-rds';
import type { Position } from '../../src/domain/position.ts';
import type { Pace } from '../../src/snapshots/rds/pace.ts';
import { RdsStore, type RdsStoreOptions } from '../../src/snapshots/rds/store.ts';
import type { CreateSnapshot, WaitOptions } from '../../src/snapshots/store.ts';

/** Nothing is waited for in tests for longer than it takes to ask again. */
export const QUICK: Pace = { pollMs: 2, stuckLooks: 4, settleLooks: 3, attempts: 3, pauseMs: 1, longestPauseMs: 2 };

/** Options of a wait that nobody ends, and the lines that it told. */
export const waiting = (signal = new AbortController().signal): WaitOptions & { readonly told: string[] } => {
  const told: string[] = [];
  return {
    signal,
    told,
    progress: ({ text, percent }) => void told.push(percent === null ? text : `${text} ${percent}%`),
  };
};

export const REGION = 'eu-central-1';
export const ELSEWHERE = 'eu-west-1';
const IDENTITY = 'postgresql:7301234567890123456/16384';

/** A request to moto that is not for RDS, as its own SDK would send it. */
const askMoto = async (
  moto: string,
  { service, region, body, target }: { service: string; region: string; body: string; target?: string },
): Promise<string> => {
  const answer = await fetch(moto, {
    method: 'POST',
    headers: {
      authorization: `AWS4-HMAC-SHA256 Credential=test/20261127/${region}/${service}/aws4_request, SignedHeaders=host, Signature=0`,
      'content-type': target === undefined ? 'application/x-www-form-urlencoded' : 'application/x-amz-json-1.1',
      ...(target === undefined ? {} : { 'x-amz-target': target }),
    },
    body,
  });
  return await answer.text();
};

/** What the tests set up in moto by themselves, beside the store. */
export class RdsWorld {
  readonly #moto: string;
  readonly client: rds.RDSClient;
  readonly #clients = new Map<string, rds.RDSClient>();

  constructor(moto: string) {
    this.#moto = moto;
    this.client = this.in(REGION);
  }

  /** Asks moto itself, past the proxy. */
  in(region: string): rds.RDSClient {
    const known = this.#clients.get(region);
    if (known !== undefined) return known;
    const client = new rds.RDSClient({ region, endpoint: this.#moto });
    this.#clients.set(region, client);
    return client;
  }

  /** A KMS key of ours. */
  async key(region = REGION): Promise<string> {
    const target = 'TrentService.CreateKey';
    const text = await askMoto(this.#moto, { service: 'kms', region, body: '{}', target });
    return (JSON.parse(text) as { KeyMetadata: { Arn: string } }).KeyMetadata.Arn;
  }

  /** The key that RDS encrypts with where it is given none. */
  async defaultKey(region = REGION): Promise<string> {
    const target = 'TrentService.DescribeKey';
    const text = await askMoto(this.#moto, { service: 'kms', region, body: '{"KeyId":"alias/aws/rds"}', target });
    return (JSON.parse(text) as { KeyMetadata: { Arn: string } }).KeyMetadata.Arn;
  }

  /** What every source of the tests stands on. */
  async groups(): Promise<void> {
    const body = 'Action=DescribeSubnets&Version=2016-11-15';
    const xml = await askMoto(this.#moto, { service: 'ec2', region: REGION, body });
    const subnets = [...xml.matchAll(/<subnetId>([^<]+)</g)].map(([, id = '']) => id);
    const { client } = this;
    await client.send(
      new rds.CreateDBSubnetGroupCommand({
        DBSubnetGroupName: 'shop',
        DBSubnetGroupDescription: 'shop',
        SubnetIds: subnets,
      }),
    );
    const family = { DBParameterGroupFamily: 'postgres13', Description: 'shop' };
    await client.send(new rds.CreateDBParameterGroupCommand({ DBParameterGroupName: 'shop-13', ...family }));
    await client.send(
      new rds.CreateDBClusterParameterGroupCommand({
        DBClusterParameterGroupName: 'shop-aurora-13',
        DBParameterGroupFamily: 'aurora-postgresql13',
        Description: 'shop',
      }),
    );
  }

  /** An instance with a value of its own for as much as moto keeps. */
  async instance(id: string, more: Partial<rds.CreateDBInstanceMessage> = {}): Promise<void> {
    await this.client.send(
      new rds.CreateDBInstanceCommand({
        DBInstanceIdentifier: id,
        Engine: 'postgres',
        EngineVersion: '13.23',
        DBInstanceClass: 'db.m6g.large',
        AllocatedStorage: 400,
        StorageType: 'gp3',
        Iops: 12_000,
        StorageThroughput: 500,
        MasterUsername: 'postgres',
        MasterUserPassword: 'secret-canary',
        Port: 5433,
        MultiAZ: true,
        DeletionProtection: true,
        DBSubnetGroupName: 'shop',
        DBParameterGroupName: 'shop-13',
        VpcSecurityGroupIds: ['sg-0b', 'sg-0a'],
        EnableIAMDatabaseAuthentication: true,
        BackupRetentionPeriod: 14,
        PreferredBackupWindow: '01:00-01:30',
        PreferredMaintenanceWindow: 'tue:02:00-tue:02:30',
        CopyTagsToSnapshot: true,
        EnableCloudwatchLogsExports: ['postgresql'],
        Tags: [{ Key: 'team', Value: 'shop' }],
        ...more,
      }),
    );
  }

  /** An Aurora cluster with a writer and a reader. */
  async cluster(id: string, more: Partial<rds.CreateDBClusterMessage> = {}): Promise<void> {
    await this.client.send(
      new rds.CreateDBClusterCommand({
        DBClusterIdentifier: id,
        Engine: 'aurora-postgresql',
        EngineVersion: '13.12',
        MasterUsername: 'postgres',
        MasterUserPassword: 'secret-canary',
        Port: 5433,
        DeletionProtection: true,
        DBSubnetGroupName: 'shop',
        DBClusterParameterGroupName: 'shop-aurora-13',
        VpcSecurityGroupIds: ['sg-0a'],
        EnableIAMDatabaseAuthentication: true,
        BackupRetentionPeriod: 14,
        PreferredBackupWindow: '01:00-01:30',
        PreferredMaintenanceWindow: 'tue:02:00-tue:02:30',
        Tags: [{ Key: 'team', Value: 'shop' }],
        ...more,
      }),
    );
    for (const [index, tier] of [0, 3].entries()) {
      await this.client.send(
        new rds.CreateDBInstanceCommand({
          DBInstanceIdentifier: `${id}-member-${index}`,
          DBClusterIdentifier: id,
          Engine: 'aurora-postgresql',
          DBInstanceClass: index === 0 ? 'db.r6g.xlarge' : 'db.r6g.large',
          PromotionTier: tier,
        }),
      );
    }
  }
}

let positions = 0x1000;

/** A store of a source as the tests name it; its source's history goes on with every look at it. */
export const rdsStore = (of: RdsStoreOptions['of'], more: Partial<RdsStoreOptions> = {}): RdsStore =>
  new RdsStore({
    of,
    region: REGION,
    copyTo: [],
    shareWith: [],
    owner: { plan: 'shop', identity: IDENTITY },
    url: 'postgresql://app:pa%23ss@old.internal:5432/shop?sslmode=require',
    head: async () => `0/${(positions++).toString(16).toUpperCase()}` as Position,
    pace: QUICK,
    ...more,
  });

/** An identifier as stages choose them. */
export const freshId = (): string => `shop-20261127-143000-${randomBytes(2).toString('hex')}`;

/** A name for a restored place. */
export const freshName = (): string => `place-${randomBytes(4).toString('hex')}`;

/** A snapshot to be made. */
export const specOf = (id: string, tables: readonly string[] = ['public.product', 'public.order']): CreateSnapshot => ({
  basis: {
    format: 1,
    id,
    kind: 'rds',
    run: 'shop',
    plan: { name: 'shop', hash: 'abc' },
    identity: IDENTITY,
    server: '13.23',
    by: 'somebody@somewhere',
    reason: 'by hand',
    phases: { orders: tables },
  },
  look: async (_, { atLeast }) => ({
    lanes: { 'orders-reverse': { phase: 'orders', direction: 'reverse', position: atLeast, marker: 'm1' } },
    digests: null,
  }),
});
