import * as rds from '@aws-sdk/client-rds';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Position } from '../../src/domain/position.ts';
import { describeWithMoto, useEndpoint } from '../support/moto.ts';
import { type Fault, RdsProxy } from '../support/rds-proxy.ts';
import { freshId, freshName, QUICK, RdsWorld, rdsStore, specOf, waiting } from '../support/rds-world.ts';

const INSTANCE = { kind: 'instance', id: 'shop-old' } as const;
const CLUSTER = { kind: 'cluster', id: 'shop-cluster' } as const;
/** The SDK asks so often by itself. */
const ATTEMPTS = 3;

const isCreating = (percent: number, times?: number): Fault => ({
  action: 'DescribeDBSnapshots',
  ...(times === undefined ? {} : { times }),
  rewrite: (xml) =>
    xml.replaceAll(
      '<Status>available</Status>',
      `<Status>creating</Status><PercentProgress>${percent}</PercentProgress>`,
    ),
});

describeWithMoto('faults of RDS', () => {
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

  const manual = async (id: string) => {
    const { DBSnapshots = [] } = await world.client.send(new rds.DescribeDBSnapshotsCommand({}));
    return DBSnapshots.filter(({ DBSnapshotIdentifier }) => DBSnapshotIdentifier === id);
  };

  it('that throttle, or come from within, are waited over', async () => {
    proxy.faults.push(
      { action: 'CreateDBSnapshot', times: ATTEMPTS + 1, refuse: { code: 'Throttling', said: 'Rate exceeded' } },
      { action: 'AddTagsToResource', times: ATTEMPTS + 1, refuse: { code: 'InternalFailure', status: 500 } },
    );
    const id = freshId();
    expect(await rdsStore(INSTANCE).create(specOf(id), waiting())).toMatchObject({ state: 'available' });
    expect(proxy.count('CreateDBSnapshot')).toBe(ATTEMPTS + 2);
  });

  it('that throttle without an end are told, and nothing was made', async () => {
    proxy.faults.push({ action: 'CreateDBSnapshot', refuse: { code: 'Throttling', said: 'Rate exceeded' } });
    const id = freshId();
    const store = rdsStore(INSTANCE, { pace: { ...QUICK, attempts: 1 } });
    await expect(store.create(specOf(id), waiting())).rejects.toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining(`CreateDBSnapshot of ${id} failed: Throttling`),
      remedy: expect.stringContaining('asked again'),
    });
    expect(await manual(id)).toEqual([]);
    proxy.reset();
    expect(await store.create(specOf(id), waiting())).toMatchObject({ state: 'available' });
  });

  it.each([
    ['CreateDBSnapshot', INSTANCE],
    ['RestoreDBInstanceFromDBSnapshot', INSTANCE],
    ['CreateDBClusterSnapshot', CLUSTER],
    ['RestoreDBClusterFromSnapshot', CLUSTER],
    ['CreateDBInstance', CLUSTER],
  ] as const)('that lose the answer of %s: it is looked up, never begun by us again', async (action, of) => {
    proxy.faults.push({ action, times: ATTEMPTS, lose: true });
    const store = rdsStore(of);
    const [id, name] = [freshId(), freshName()];
    await store.create(specOf(id), waiting());
    const place = await store.restore(id, { name, purpose: 'drill', at: null }, waiting());
    expect(place.differences).toEqual([]);
    // The SDK's own attempts are of one call; a cluster of two instances has two.
    expect(proxy.count(action)).toBe(ATTEMPTS + (action === 'CreateDBInstance' ? 1 : 0));
    await place.remove(waiting());
    await store.remove(id, waiting());
  });

  it.each([
    ['CreateDBSnapshot', 'AccessDenied', { message: /not authorized/, remedy: /rds:CreateDBSnapshot/ }],
    ['DescribeDBSnapshots', 'ExpiredToken', { message: /ExpiredToken/, remedy: /new credentials/ }],
    ['CreateDBSnapshot', 'SnapshotQuotaExceeded', { message: /SnapshotQuotaExceeded/, remedy: /snapshot prune/ }],
    ['AddTagsToResource', 'AccessDenied', { message: /AddTagsToResource/, remedy: /rds:AddTagsToResource/ }],
    ['CreateDBSnapshot', 'InvalidDBInstanceState', { message: /InvalidDBInstanceState/, remedy: /wait/ }],
    ['CreateDBSnapshot', 'KMSKeyNotAccessibleFault', { message: /KMSKey/, remedy: /kms:CreateGrant/ }],
  ] as const)('are told with their remedy, and a rerun is safe: %s, %s', async (action, code, told) => {
    proxy.faults.push({ action, refuse: { code, said: 'you are not authorized' } });
    const store = rdsStore(INSTANCE);
    const id = freshId();
    const refused = {
      kind: 'refused',
      message: expect.stringMatching(told.message),
      remedy: expect.stringMatching(told.remedy),
    };
    await expect(store.create(specOf(id), waiting())).rejects.toMatchObject(refused);
    proxy.reset();
    expect(await store.create(specOf(id), waiting())).toMatchObject({ id, state: 'available' });
    expect(await manual(id)).toHaveLength(1);
  });

  it('that fill the disk of the source are seen before anything is made', async () => {
    const rewrite = (xml: string) => xml.replace('<DBInstanceStatus>available<', '<DBInstanceStatus>storage-full<');
    proxy.faults.push({ action: 'DescribeDBInstances', rewrite });
    const store = rdsStore(INSTANCE);
    await expect(store.create(specOf(freshId()), waiting())).rejects.toMatchObject({
      kind: 'refused',
      message: 'shop-old: RDS says that it is storage-full',
      remedy: expect.stringContaining('--allocated-storage'),
    });
    const [found] = await store.findings();
    expect(found).toMatchObject({ id: 'snapshot/source-unfit', severity: 'blocks' });
    expect(proxy.writes).toEqual([]);
  });

  it('that fill the disk of what is restored are told with its events', async () => {
    const store = rdsStore(INSTANCE);
    const [id, name] = [freshId(), freshName()];
    await store.create(specOf(id), waiting());
    const rewrite = (xml: string) => xml.replace('<DBInstanceStatus>available<', '<DBInstanceStatus>storage-full<');
    proxy.faults.push({ action: 'DescribeDBInstances', rewrite });
    const into = { name, purpose: 'drill', at: null } as const;
    await expect(store.restore(id, into, waiting())).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringMatching(/^instance place-.* is storage-full; RDS says: /),
      remedy: expect.stringContaining('--allocated-storage'),
    });
    proxy.reset();
    const place = await store.restore(id, into, waiting());
    expect(proxy.count('RestoreDBInstanceFromDBSnapshot')).toBe(0);
    await place.remove(waiting());
  });

  it('by which a source is busy are waited for', async () => {
    const rewrite = (xml: string) => xml.replace('<DBInstanceStatus>available<', '<DBInstanceStatus>backing-up<');
    proxy.faults.push({ action: 'DescribeDBInstances', times: 2, rewrite });
    const options = waiting();
    await rdsStore(INSTANCE).create(specOf(freshId()), options);
    expect(options.told.slice(0, 2)).toEqual(['instance shop-old is backing-up', 'instance shop-old is backing-up']);
  });

  it('by which a snapshot sticks are told with its events, and it is waited for on', async () => {
    const id = freshId();
    proxy.faults.push(isCreating(40, QUICK.stuckLooks + 3));
    const options = waiting();
    expect(await rdsStore(INSTANCE).create(specOf(id), options)).toMatchObject({ state: 'available' });
    expect(options.told[0]).toBe(`snapshot ${id} is creating 40%`);
    const stuck = options.told.filter((line) => line.includes('has not moved for long'));
    expect(stuck).toEqual([expect.stringContaining(`snapshot ${id} is still creating`)]);
    expect(proxy.count('DescribeEvents')).toBe(1);
  });

  it('do not move its position: that is asked for before RDS is, and again only when RDS is done', async () => {
    const id = freshId();
    const looksBefore: (readonly [made: number, looks: number])[] = [];
    let positions = 0;
    const head = async () => {
      looksBefore.push([proxy.count('CreateDBSnapshot'), proxy.count('DescribeDBSnapshots')]);
      positions += 1;
      return `0/${positions}` as Position;
    };
    proxy.faults.push(isCreating(40, 6));
    const { manifest } = await rdsStore(INSTANCE, { head }).create(specOf(id), waiting());
    // One look for the name, one for what was begun, four that find it on its way and one that finds it done.
    expect(looksBefore).toEqual([
      [0, 1],
      [1, 7],
    ]);
    expect(manifest?.position).toEqual({ atLeast: '0/1', atMost: '0/2' });
  });

  it('that nobody waits for any more go on at AWS, and are found again', async () => {
    const id = freshId();
    const store = rdsStore(INSTANCE);
    proxy.faults.push(isCreating(10));
    const stop = new AbortController();
    const ended = new Error('Ctrl-C');
    const options = waiting(stop.signal);
    const stopped = store.create(specOf(id), { ...options, progress: () => stop.abort(ended) });
    await expect(stopped).rejects.toSatisfy((error) => error === ended || (error as Error).name === 'AbortError');
    expect((await store.list()).find((one) => one.id === id)).toMatchObject({ state: 'creating', manifest: null });
    await expect(store.remove(id, waiting())).rejects.toMatchObject({ kind: 'refused' });
    proxy.reset();
    expect(await store.create(specOf(id), waiting())).toMatchObject({ state: 'available' });
    expect(proxy.count('CreateDBSnapshot')).toBe(0);
  });

  it('by which a snapshot fails are told', async () => {
    const rewrite = (xml: string) => xml.replaceAll('<Status>available</Status>', '<Status>failed</Status>');
    proxy.faults.push({ action: 'DescribeDBSnapshots', rewrite });
    const id = freshId();
    await expect(rdsStore(INSTANCE).create(specOf(id), waiting())).rejects.toMatchObject({
      kind: 'refused',
      message: expect.stringContaining(`snapshot ${id} is failed`),
      remedy: expect.stringContaining('remove what is left of it by hand'),
    });
    expect((await rdsStore(INSTANCE).list()).find((one) => one.id === id)).toMatchObject({ state: 'failed' });
  });

  it('in the middle of a wait are told, and the wait goes on', async () => {
    const id = freshId();
    const store = rdsStore(INSTANCE, { pace: { ...QUICK, attempts: 1 } });
    proxy.faults.push(isCreating(10, 3));
    const options = waiting();
    let looks = 0;
    proxy.faults.push({
      action: 'CreateDBSnapshot',
      afterwards: () =>
        void proxy.faults.push({
          action: 'DescribeDBSnapshots',
          times: 0,
          refuse: { code: 'InternalFailure', status: 500 },
        }),
    });
    await store.create(specOf(id), {
      ...options,
      progress: (progress) => {
        options.progress(progress);
        looks += 1;
        const fault = proxy.faults.at(-1);
        if (looks === 1 && fault !== undefined) fault.times = ATTEMPTS;
      },
    });
    expect(options.told.filter((line) => line.includes('cannot be looked at'))).toHaveLength(1);
  });
});
