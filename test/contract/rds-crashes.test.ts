import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import * as rds from '@aws-sdk/client-rds';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { describeWithMoto, useEndpoint } from '../support/moto.ts';
import { nameIn, type RdsCall, RdsProxy } from '../support/rds-proxy.ts';
import { ELSEWHERE, freshId, freshName, RdsWorld, rdsStore, specOf, waiting } from '../support/rds-world.ts';

const PROGRAM = fileURLToPath(new URL('../support/rds-program.ts', import.meta.url));
const KINDS = ['instance', 'cluster'] as const;
type Kind = (typeof KINDS)[number];

/** What may be asked for only once, whatever dies. */
const BEGINS = /^(Create|Copy|Restore)/;
/** More deaths than any command has calls that change something. */
const MOST_DEATHS = 12;

// A process is ended as by kill -9 as soon as AWS has done what it asked for, and before it hears of that: after each of its
// calls that change something, one after the other, and the next process goes on. At the end everything is as after one command
// that nobody disturbed, and what must not be begun twice was not even asked for twice.
describeWithMoto('snapshots by RDS whose commands are killed', () => {
  let world: RdsWorld;
  let proxy: RdsProxy;
  let keys: { readonly here: string; readonly there: string };
  beforeAll(async () => {
    const moto = process.env.AWS_ENDPOINT_URL ?? '';
    world = new RdsWorld(moto);
    proxy = new RdsProxy(moto);
    useEndpoint(await proxy.listen());
    await world.groups();
    keys = { here: await world.key(), there: await world.key(ELSEWHERE) };
    const encrypted = { StorageEncrypted: true, KmsKeyId: keys.here };
    await world.instance('shop-old', encrypted);
    await world.cluster('shop-cluster', encrypted);
  });
  afterEach(() => proxy.reset());
  afterAll(() => proxy.close());

  const sourceOf = (kind: Kind): string => (kind === 'instance' ? 'shop-old' : 'shop-cluster');
  const storeOf = (kind: Kind) =>
    rdsStore(
      { kind, id: sourceOf(kind) },
      { copyTo: [{ region: ELSEWHERE, kmsKey: keys.there }], shareWith: ['123456789012'] },
    );

  /** Runs a command until it ends by itself; the calls after which it was killed. */
  const killedAtEach = async (args: readonly string[]): Promise<readonly string[]> => {
    const deaths: string[] = [];
    let running: ChildProcess | undefined;
    const kill = (call: RdsCall): void => {
      const death = `${call.action} ${nameIn(call)} ${call.region} ${[...call.parameters.keys()].join()}`;
      if (call.action.startsWith('Describe') || deaths.includes(death)) return;
      deaths.push(death);
      running?.kill('SIGKILL');
    };
    proxy.faults.push({ afterwards: kill });
    for (let run = 0; run < MOST_DEATHS; run++) {
      running = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      running.stderr?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      const [code, signal] = (await once(running, 'exit')) as [number | null, string | null];
      if (code === 0) return deaths.map((death) => death.split(' ')[0] ?? '');
      expect(signal, said).toBe('SIGKILL');
    }
    throw new Error('it does not end');
  };

  const begunTwice = (): readonly string[] => {
    const begun = proxy.calls
      .filter(({ action }) => BEGINS.test(action))
      .map((call) => `${call.action} ${nameIn(call)} in ${call.region}`);
    return begun.filter((one, index) => begun.indexOf(one) !== index);
  };

  it.each(KINDS)('of an %s: nothing is begun twice, and nothing is left', async (kind) => {
    const [id, name] = [freshId(), freshName()];
    const args = (command: string) => [kind, sourceOf(kind), command, id, name, ELSEWHERE, keys.there];
    const many = kind === 'instance' ? 'DB' : 'DBCluster';
    if (kind === 'instance') proxy.waitForReboot.add(name);
    else proxy.waitForReboot.add(`${name}-2`);

    expect(await killedAtEach(args('create'))).toEqual([
      `Create${many}Snapshot`,
      'AddTagsToResource',
      `Modify${many}SnapshotAttribute`,
      `Copy${many}Snapshot`,
      `Modify${many}SnapshotAttribute`,
    ]);
    expect(begunTwice()).toEqual([]);
    const [snapshot] = await storeOf(kind).list();
    expect(snapshot).toMatchObject({ id, state: 'available' });
    expect(snapshot?.manifest?.lanes).toBeDefined();
    // A rerun of what is done changes nothing.
    proxy.calls.length = 0;
    await storeOf(kind).create(specOf(id), waiting());
    expect(proxy.writes.filter((action) => BEGINS.test(action) || action === 'AddTagsToResource')).toEqual([]);

    proxy.reset();
    expect(await killedAtEach(args('restore'))).toEqual(
      kind === 'instance'
        ? [
            'RestoreDBInstanceFromDBSnapshot',
            'ModifyDBInstance',
            'RebootDBInstance',
            'ModifyDBInstance',
            'AddTagsToResource',
          ]
        : [
            'RestoreDBClusterFromSnapshot',
            'CreateDBInstance',
            'CreateDBInstance',
            'ModifyDBCluster',
            'RebootDBInstance',
            'ModifyDBCluster',
            'AddTagsToResource',
          ],
    );
    expect(begunTwice()).toEqual([]);
    proxy.calls.length = 0;
    const into = { name, purpose: 'restore', at: null } as const;
    const place = await storeOf(kind).restore(id, into, waiting());
    expect(place.differences).toEqual([]);
    expect(proxy.writes).toEqual([]);

    proxy.reset();
    expect(await killedAtEach(args('remove'))).toEqual([`Delete${many}Snapshot`, `Delete${many}Snapshot`]);
    for (const region of [ELSEWHERE, 'eu-central-1']) {
      const left = await rdsStore({ kind, id: sourceOf(kind) }, { region }).list();
      expect(left.map((one) => one.id)).not.toContain(id);
    }
  });

  it.each(KINDS)('of an %s: a removal of what was restored goes on', async (kind) => {
    const [id, name] = [freshId(), freshName()];
    const store = rdsStore({ kind, id: sourceOf(kind) });
    await store.create(specOf(id), waiting());
    const place = await store.restore(id, { name, purpose: 'drill', at: null }, waiting());
    // As whoever dies after the first of the removals.
    const stop = new AbortController();
    proxy.faults.push({ action: 'DeleteDBInstance', times: 1, afterwards: () => stop.abort(new Error('ended')) });
    await expect(place.remove(waiting(stop.signal))).rejects.toThrow();
    await place.remove(waiting());
    await place.remove(waiting());
    const { DBInstances = [] } = await world.client.send(new rds.DescribeDBInstancesCommand({}));
    expect(DBInstances.filter(({ DBInstanceIdentifier = '' }) => DBInstanceIdentifier.startsWith(name))).toEqual([]);
    const { DBClusters = [] } = await world.client.send(new rds.DescribeDBClustersCommand({}));
    expect(DBClusters.filter(({ DBClusterIdentifier }) => DBClusterIdentifier === name)).toEqual([]);
    await store.remove(id, waiting());
  });
});
