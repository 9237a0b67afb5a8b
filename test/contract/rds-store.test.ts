import * as rds from '@aws-sdk/client-rds';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { RdsStoreOptions } from '../../src/snapshots/rds/store.ts';
import { describeWithMoto, useEndpoint } from '../support/moto.ts';
import { RdsProxy } from '../support/rds-proxy.ts';
import { ELSEWHERE, freshId, freshName, RdsWorld, REGION, rdsStore, specOf, waiting } from '../support/rds-world.ts';

const KINDS = ['instance', 'cluster'] as const;

describeWithMoto('snapshots by RDS', () => {
  let world: RdsWorld;
  let proxy: RdsProxy;
  beforeAll(async () => {
    const moto = process.env.AWS_ENDPOINT_URL ?? '';
    world = new RdsWorld(moto);
    proxy = new RdsProxy(moto);
    useEndpoint(await proxy.listen());
    await world.groups();
    await world.instance('shop-old');
    await world.cluster('shop-cluster');
  });
  afterEach(() => proxy.reset());
  afterAll(() => proxy.close());

  const ofKind = (kind: (typeof KINDS)[number]): RdsStoreOptions['of'] => ({
    kind,
    id: kind === 'instance' ? 'shop-old' : 'shop-cluster',
  });

  it.each(KINDS)('of an %s: made, listed, restored, removed', async (kind) => {
    const store = rdsStore(ofKind(kind));
    const id = freshId();
    const made = await store.create(specOf(id), waiting());
    expect(made).toMatchObject({ id, state: 'available', detail: null });
    const manifest = made.manifest;
    expect(manifest).toMatchObject({
      id,
      plan: { name: 'shop' },
      phases: { orders: ['public.product', 'public.order'] },
    });
    expect(Number(`0x${manifest?.position.atMost.slice(2)}`)).toBeGreaterThan(
      Number(`0x${manifest?.position.atLeast.slice(2)}`),
    );
    expect(manifest?.lanes['orders-reverse']?.position).toBe(manifest?.position.atLeast);
    expect(JSON.stringify(manifest)).not.toContain('canary');
    expect((await store.list()).find((one) => one.id === id)).toEqual(made);

    const name = freshName();
    const place = await store.restore(id, { name, purpose: 'drill', at: null }, waiting());
    expect(place.url).toMatch(
      new RegExp(
        `^postgresql://app:pa%23ss@${name}\\.[a-z0-9.-]+\\.rds\\.amazonaws\\.com:5433/shop\\?sslmode=require$`,
      ),
    );
    expect(place.differences).toEqual([]);
    await place.remove(waiting());
    await expect(
      world.client.send(new rds.DescribeDBInstancesCommand({ DBInstanceIdentifier: name })),
    ).rejects.toThrow();
    const { DBInstances = [] } = await world.client.send(new rds.DescribeDBInstancesCommand({}));
    expect(DBInstances.filter(({ DBInstanceIdentifier = '' }) => DBInstanceIdentifier.startsWith(name))).toEqual([]);
    await store.remove(id, waiting());
    expect((await store.list()).map((one) => one.id)).not.toContain(id);
    await store.remove(id, waiting());
  });

  const into = (name: string, purpose: 'restore' | 'drill' = 'restore') => ({ name, purpose, at: null }) as const;
  const madeBy = async (of = ofKind('instance'), more: Partial<RdsStoreOptions> = {}) => {
    const store = rdsStore(of, more);
    const id = freshId();
    await store.create(specOf(id), waiting());
    return { store, id };
  };
  const described = async (name: string) => {
    const command = new rds.DescribeDBInstancesCommand({ DBInstanceIdentifier: name });
    return (await world.client.send(command)).DBInstances?.[0];
  };
  const setTags = async (arn: string | undefined, tags: Readonly<Record<string, string>>): Promise<void> => {
    const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
    await world.client.send(new rds.AddTagsToResourceCommand({ ResourceName: arn, Tags }));
  };
  const heldAt = async (id: string) => {
    const command = new rds.DescribeDBSnapshotsCommand({ DBSnapshotIdentifier: id });
    return (await world.client.send(command)).DBSnapshots?.[0];
  };

  it('is restored with all that the manifest has, protected at the very end', async () => {
    const { store, id } = await madeBy();
    const name = freshName();
    proxy.reset();
    const place = await store.restore(id, into(name), waiting());
    expect(place.differences).toEqual([]);
    const asked = proxy.calls.find(({ action }) => action === 'RestoreDBInstanceFromDBSnapshot')?.parameters;
    const given = Object.fromEntries([...(asked ?? [])].filter(([key]) => !key.startsWith('Tags.')));
    expect(given).toMatchObject({
      DBInstanceClass: 'db.m6g.large',
      MultiAZ: 'true',
      DeletionProtection: 'false',
      DBSubnetGroupName: 'shop',
      DBParameterGroupName: 'shop-13',
      'VpcSecurityGroupIds.VpcSecurityGroupId.1': 'sg-0a',
      'VpcSecurityGroupIds.VpcSecurityGroupId.2': 'sg-0b',
      EnableIAMDatabaseAuthentication: 'true',
      StorageType: 'gp3',
      Iops: '12000',
      StorageThroughput: '500',
      Port: '5433',
    });
    const changes = proxy.calls.filter(({ action }) => action === 'ModifyDBInstance').map((call) => call.parameters);
    expect(changes).toHaveLength(2);
    expect(changes[0]?.get('PreferredBackupWindow')).toBe('01:00-01:30');
    expect(changes[0]?.get('PreferredMaintenanceWindow')).toBe('tue:02:00-tue:02:30');
    expect(changes[0]?.get('BackupRetentionPeriod')).toBe('14');
    expect(changes[0]?.has('DeletionProtection')).toBe(false);
    expect(changes[1]?.get('DeletionProtection')).toBe('true');
    const stands = await described(name);
    expect(stands).toMatchObject({ MultiAZ: true, DeletionProtection: true, PreferredBackupWindow: '01:00-01:30' });
    const tags = new Map(stands?.TagList?.map(({ Key, Value }) => [Key, Value]));
    expect(tags.get('team')).toBe('shop');
    expect(tags.get('switchback:restored-from')).toBe(id);
    // It may be in use by now.
    await expect(place.remove(waiting())).rejects.toMatchObject({
      kind: 'refused',
      message: /has deletion protection/,
    });
    expect(await described(name)).toBeDefined();
  });

  it('tells what stands otherwise than the manifest has it, and what RDS refused', async () => {
    await world.instance('shop-roles', { ManageMasterUserPassword: true, MasterUserPassword: undefined });
    const { store, id } = await madeBy({ kind: 'instance', id: 'shop-roles' });
    const name = freshName();
    proxy.faults.push(
      { action: 'ModifyDBInstance', times: 1, refuse: { code: 'InvalidParameterCombination', said: 'not these two' } },
      {
        action: 'DescribeDBInstances',
        rewrite: (xml) => xml.replace('<DBInstanceClass>db.m6g.large<', '<DBInstanceClass>db.t4g.micro<'),
      },
    );
    const { differences } = await store.restore(id, into(name), waiting());
    expect(differences.map(({ id: what, fact }) => `${what}: ${fact}`)).toEqual([
      expect.stringMatching(/^snapshot\/setting-refused: .*not these two/),
      expect.stringMatching(/^snapshot\/setting-differs: class is "db.t4g.micro", and was "db.m6g.large"/),
      expect.stringMatching(/^snapshot\/setting-differs: backups kept, in days is 1, and was 14/),
      expect.stringMatching(/^snapshot\/setting-differs: backup window is /),
      expect.stringMatching(/^snapshot\/setting-differs: maintenance window is /),
      expect.stringMatching(/^snapshot\/not-restored: .*master password is kept by Secrets Manager/),
    ]);
  });

  it('gives no figures for a volume that takes none, whatever RDS tells of it', async () => {
    await world.instance('shop-small', {
      AllocatedStorage: 100,
      StorageType: 'gp3',
      Iops: 3_000,
      StorageThroughput: 125,
    });
    const { store, id } = await madeBy({ kind: 'instance', id: 'shop-small' });
    await store.restore(id, into(freshName()), waiting());
    const asked = proxy.calls.find(({ action }) => action === 'RestoreDBInstanceFromDBSnapshot')?.parameters;
    expect(['StorageType', 'Iops', 'StorageThroughput'].map((name) => asked?.get(name) ?? null)).toEqual([
      'gp3',
      null,
      null,
    ]);
  });

  it('leaves alone what somebody changed of a place that is finished', async () => {
    const { store, id } = await madeBy();
    const name = freshName();
    await store.restore(id, into(name), waiting());
    const change = { DBInstanceIdentifier: name, DBInstanceClass: 'db.m6g.4xlarge', ApplyImmediately: true };
    await world.client.send(new rds.ModifyDBInstanceCommand(change));
    proxy.reset();
    const { differences } = await store.restore(id, into(name), waiting());
    expect(proxy.writes).toEqual([]);
    expect(differences).toMatchObject([{ id: 'snapshot/setting-differs', severity: 'warns', subject: name }]);
  });

  it.each(KINDS)('of an %s as it was at a point in time', async (kind) => {
    const { store, id } = await madeBy(ofKind(kind));
    const name = freshName();
    const time = '2026-11-27T12:00:00Z';
    proxy.reset();
    const place = await store.restore(id, { ...into(name, 'drill'), time }, waiting());
    const action = kind === 'instance' ? 'RestoreDBInstanceToPointInTime' : 'RestoreDBClusterToPointInTime';
    const { parameters } = proxy.calls.find((call) => call.action === action) ?? {};
    expect(parameters?.get(kind === 'instance' ? 'RestoreTime' : 'RestoreToTime')).toBe(time);
    const other = store.restore(id, into(name, 'drill'), waiting());
    await expect(other).rejects.toMatchObject({ kind: 'refused', message: /restored from .* for drill \(2026/ });
    await place.remove(waiting());
    const wrong = store.restore(id, { ...into(freshName()), time: 'yesterday' }, waiting());
    await expect(wrong).rejects.toMatchObject({ kind: 'usage', message: 'yesterday is no point in time' });
  });

  it('does not touch what has the name and is not its own', async () => {
    const { store, id } = await madeBy();
    const taken = freshName();
    await world.instance(taken);
    proxy.reset();
    const refused = { kind: 'refused', message: expect.stringContaining('is taken by somebody else') };
    await expect(store.restore(id, into(taken), waiting())).rejects.toMatchObject(refused);
    const byHand = freshId();
    const command = { DBSnapshotIdentifier: byHand, DBInstanceIdentifier: 'shop-old' };
    await world.client.send(new rds.CreateDBSnapshotCommand(command));
    await expect(store.create(specOf(byHand), waiting())).rejects.toMatchObject(refused);
    const other = rdsStore(ofKind('instance'), { owner: { plan: 'other', identity: null } });
    for (const [whose, what] of [
      [store, byHand],
      [other, id],
    ] as const) {
      const error = { kind: 'refused', message: expect.stringContaining('is not ours') };
      await expect(whose.restore(what, into(freshName()), waiting())).rejects.toMatchObject(error);
      await expect(whose.remove(what, waiting())).rejects.toMatchObject(error);
    }
    expect((await store.list()).find((one) => one.id === byHand)).toMatchObject({ manifest: null, state: 'available' });
    expect((await other.list()).find((one) => one.id === id)).toMatchObject({ manifest: null });
    for (const name of ['shop-old', 'Place', 'a--b']) {
      await expect(store.restore(id, into(name), waiting())).rejects.toThrow(/never over it|is no name that RDS takes/);
      const chosen = { ...into(freshName()), at: 'postgresql://scratch.example/shop' };
      const refused = { kind: 'usage', message: expect.stringContaining('nowhere else') };
      await expect(store.restore(id, chosen, waiting())).rejects.toMatchObject(refused);
    }
    expect(proxy.writes).toEqual([]);
  });

  it.each(KINDS)('of an %s does not remove a place whose tags are not ours any more', async (kind) => {
    const { store, id } = await madeBy(ofKind(kind));
    const name = freshName();
    const place = await store.restore(id, into(name, 'drill'), waiting());
    const arn = `arn:aws:rds:${REGION}:123456789012:${kind === 'instance' ? 'db' : 'cluster'}:${name}`;
    await setTags(arn, { 'switchback:plan': 'other' });
    proxy.reset();
    const error = {
      kind: 'refused',
      message: `the name of ${kind} ${name} is taken by somebody else: its tags say plan other`,
    };
    await expect(place.remove(waiting())).rejects.toMatchObject({
      ...error,
      message: expect.stringContaining(error.message),
    });
    expect(proxy.writes).toEqual([]);
  });

  it('refuses a manifest that was changed, is newer or is not closed, before anything is touched', async () => {
    const cases = [
      [{ 'switchback:m0': 'AAAA' }, /do not give the checksum/],
      [{ 'switchback:end': 'AAAA' }, /switchback:end is not as it was written/],
      [{ 'switchback:format': '2' }, /has format 2, of a newer Switchback/],
    ] as const;
    for (const [tags, message] of cases) {
      const { store, id } = await madeBy();
      await setTags((await heldAt(id))?.DBSnapshotArn, tags);
      proxy.reset();
      const restored = store.restore(id, into(freshName()), waiting());
      await expect(restored).rejects.toMatchObject({ kind: 'refused', message });
      await expect(store.remove(id, waiting())).rejects.toMatchObject({ kind: 'refused', message });
      await expect(store.create(specOf(id), waiting())).rejects.toMatchObject({ kind: 'refused', message });
      expect(proxy.writes).toEqual([]);
      const [listed] = (await store.list()).filter((one) => one.id === id);
      expect(listed?.manifest).toBeNull();
      expect(listed?.detail).toMatch(message);
    }
    const { store, id } = await madeBy();
    const gone = { ResourceName: (await heldAt(id))?.DBSnapshotArn, TagKeys: ['switchback:end'] };
    await world.client.send(new rds.RemoveTagsFromResourceCommand(gone));
    expect((await store.list()).find((one) => one.id === id)).toMatchObject({ state: 'creating', manifest: null });
    await expect(store.restore(id, into(freshName()), waiting())).rejects.toMatchObject({ kind: 'refused' });
    expect(await store.create(specOf(id), waiting())).toMatchObject({ state: 'available' });
  });

  it('is refused before anything is made when its manifest has no room in tags', async () => {
    const store = rdsStore(ofKind('instance'));
    const name = () => crypto.randomUUID();
    const many = Array.from({ length: 1_000 }, name);
    await expect(store.create(specOf(freshId(), many), waiting())).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/takes \d+ tags of 256 characters, and RDS keeps 44/),
    });
    expect(proxy.writes).toEqual([]);
    // As tables are named in plans.
    const usual = Array.from({ length: 2_000 }, (_, index) => `public.customer_order_${index}`);
    const made = await store.create(specOf(freshId(), usual), waiting());
    expect(made.manifest?.phases.orders).toEqual(usual);
  });

  it('is not shared with the default key of RDS, which is seen before it is made', async () => {
    const [key, mine, there] = [await world.defaultKey(), await world.key(), await world.key(ELSEWHERE)];
    proxy.defaultKeys.add(key);
    await world.instance('shop-default', { StorageEncrypted: true, KmsKeyId: key });
    await world.instance('shop-mine', { StorageEncrypted: true, KmsKeyId: mine });
    const shareWith = ['123456789012'];
    const of = { kind: 'instance', id: 'shop-default' } as const;
    const refused = rdsStore(of, { shareWith });
    const error = { kind: 'refused', message: expect.stringContaining('cannot be shared') };
    await expect(refused.create(specOf(freshId()), waiting())).rejects.toMatchObject(error);
    expect(await refused.findings()).toMatchObject([
      { id: 'snapshot/other-host' },
      { id: 'snapshot/key-not-shared', severity: 'blocks' },
    ]);
    const keyless = rdsStore(of, { copyTo: [{ region: ELSEWHERE, kmsKey: null }] });
    await expect(keyless.create(specOf(freshId()), waiting())).rejects.toMatchObject({
      kind: 'refused',
      message: `the snapshot is encrypted, and \`copy_to\` names no key of ${ELSEWHERE}`,
    });
    const home = rdsStore(ofKind('instance'), { copyTo: [{ region: REGION, kmsKey: mine }] });
    await expect(home.create(specOf(freshId()), waiting())).rejects.toThrow('where the snapshot itself is');
    expect(proxy.writes).toEqual([]);

    const copyTo = [{ region: ELSEWHERE, kmsKey: there }];
    await madeBy(of, { shareWith, copyTo });
    const shared = () =>
      proxy.calls.filter(({ action }) => action === 'ModifyDBSnapshotAttribute').map(({ region }) => region);
    expect(shared()).toEqual([ELSEWHERE]);
    proxy.reset();
    const { id } = await madeBy({ kind: 'instance', id: 'shop-mine' }, { shareWith, copyTo });
    expect(shared()).toEqual([REGION, ELSEWHERE]);
    const attributes = new rds.DescribeDBSnapshotAttributesCommand({ DBSnapshotIdentifier: id });
    const { DBSnapshotAttributesResult } = await world.in(ELSEWHERE).send(attributes);
    expect(DBSnapshotAttributesResult?.DBSnapshotAttributes).toMatchObject([{ AttributeValues: shareWith }]);
    // A copy that has failed keeps nothing from being removed.
    const { id: old } = await madeBy(of, { copyTo });
    proxy.reset();
    proxy.faults.push({
      action: 'DescribeDBSnapshots',
      rewrite: (xml, { region }) => (region === ELSEWHERE ? xml.replace('<Status>available<', '<Status>failed<') : xml),
    });
    await rdsStore(of, { copyTo }).remove(old, waiting());
    expect(proxy.count('DeleteDBSnapshot', old)).toBe(2);
    proxy.reset();
    // The region of the source is lost: the plan names the other one, and nothing else is asked.
    const afar = rdsStore({ kind: 'instance', id: 'shop-mine' }, { region: ELSEWHERE });
    expect((await afar.list()).find((one) => one.id === id)).toMatchObject({ state: 'available', manifest: { id } });
  });

  it('is looked at beforehand', async () => {
    proxy.quotas = { ManualSnapshots: [100, 100], ManualClusterSnapshots: [3, 100] };
    expect(await rdsStore(ofKind('instance')).findings()).toMatchObject([
      { id: 'snapshot/other-host', severity: 'warns', fact: expect.stringContaining('old.internal') },
      { id: 'snapshot/quota', severity: 'blocks', fact: expect.stringContaining('100 of at most 100') },
    ]);
    const { Endpoint } = (await described('shop-old')) ?? {};
    const url = `postgresql://app@${Endpoint?.Address}/shop`;
    proxy.quotas = { ManualSnapshots: [99, 100] };
    expect(await rdsStore(ofKind('instance'), { url }).findings()).toEqual([]);
    expect(await rdsStore({ kind: 'cluster', id: 'nothing' }).findings()).toMatchObject([
      { id: 'snapshot/source-unfit', severity: 'blocks', fact: 'there is no cluster nothing in eu-central-1' },
    ]);
    expect(proxy.writes).toEqual([]);
  });
});
