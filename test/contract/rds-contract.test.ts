import * as rds from '@aws-sdk/client-rds';
import { afterAll, beforeAll } from 'vitest';
import { describeWithMoto, useEndpoint } from '../support/moto.ts';
import { RdsProxy } from '../support/rds-proxy.ts';
import { freshName, RdsWorld, rdsStore } from '../support/rds-world.ts';
import { basisOf, freshId } from '../support/snapshots.ts';
import { snapshotStoreContract } from './snapshot-store.ts';

describeWithMoto('snapshots by RDS keep to what every store promises', () => {
  let world: RdsWorld;
  let proxy: RdsProxy;
  beforeAll(async () => {
    const moto = process.env.AWS_ENDPOINT_URL ?? '';
    world = new RdsWorld(moto);
    proxy = new RdsProxy(moto);
    useEndpoint(await proxy.listen());
    await world.groups();
  });
  afterAll(() => proxy.close());

  snapshotStoreContract(
    'rds instance',
    async () => {
      const id = freshName();
      await world.instance(id, { DeletionProtection: false });
      // What RDS makes by itself is listed too, and moto has made one.
      const { DBSnapshots = [] } = await world.client.send(
        new rds.DescribeDBSnapshotsCommand({ DBInstanceIdentifier: id }),
      );
      for (const { DBSnapshotIdentifier } of DBSnapshots) {
        await world.client.send(new rds.DeleteDBSnapshotCommand({ DBSnapshotIdentifier }));
      }
      return {
        open: () => rdsStore({ kind: 'instance', id }, { owner: { plan: 'shop', identity: basisOf('').identity } }),
        destination: (name, purpose) => ({ name: `${id}-${name}`, purpose, at: null }),
        occupy: ({ name }) => world.instance(name),
        exists: async ({ name }) => {
          const { DBInstances = [] } = await world.client.send(new rds.DescribeDBInstancesCommand({}));
          return DBInstances.some(({ DBInstanceIdentifier }) => DBInstanceIdentifier === name);
        },
        makeForeign: async () => {
          const made = freshId();
          await world.client.send(
            new rds.CreateDBSnapshotCommand({ DBSnapshotIdentifier: made, DBInstanceIdentifier: id }),
          );
          return made;
        },
        close: async () => undefined,
      };
    },
    { exact: false },
  );

  snapshotStoreContract(
    'rds cluster',
    async () => {
      const id = freshName();
      await world.cluster(id, { DeletionProtection: false });
      const about = new rds.DescribeDBClusterSnapshotsCommand({ DBClusterIdentifier: id });
      for (const { DBClusterSnapshotIdentifier } of (await world.client.send(about)).DBClusterSnapshots ?? []) {
        await world.client.send(new rds.DeleteDBClusterSnapshotCommand({ DBClusterSnapshotIdentifier }));
      }
      return {
        open: () => rdsStore({ kind: 'cluster', id }, { owner: { plan: 'shop', identity: basisOf('').identity } }),
        destination: (name, purpose) => ({ name: `${id}-${name}`, purpose, at: null }),
        occupy: ({ name }) => world.cluster(name),
        exists: async ({ name }) => {
          const { DBInstances = [] } = await world.client.send(new rds.DescribeDBInstancesCommand({}));
          const { DBClusters = [] } = await world.client.send(new rds.DescribeDBClustersCommand({}));
          const names = [
            ...DBInstances.map(({ DBInstanceIdentifier }) => DBInstanceIdentifier),
            ...DBClusters.map(({ DBClusterIdentifier }) => DBClusterIdentifier),
          ];
          return names.some((one) => one?.startsWith(name));
        },
        makeForeign: async () => {
          const made = freshId();
          await world.client.send(
            new rds.CreateDBClusterSnapshotCommand({ DBClusterSnapshotIdentifier: made, DBClusterIdentifier: id }),
          );
          return made;
        },
        close: async () => undefined,
      };
    },
    { exact: false },
  );
});
