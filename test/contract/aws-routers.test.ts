import * as route53 from '@aws-sdk/client-route-53';
import * as ssm from '@aws-sdk/client-ssm';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import { Route53Router } from '../../src/routers/aws/route53.ts';
import { ParameterStore } from '../../src/routers/aws/ssm.ts';
import { ValueRouter } from '../../src/routers/aws/value-router.ts';
import type { ValueStore } from '../../src/routers/aws/value-store.ts';
import { freshIds, LED, toTarget } from '../support/led-values.ts';
import { describeWithMoto } from '../support/moto.ts';
import { type RouterUnderTest, routerContract } from './router.ts';

describeWithMoto('routers of AWS on moto', () => {
  describe('Parameter Store', () => {
    let client: ssm.SSMClient;
    beforeAll(() => {
      client = new ssm.SSMClient({});
    });
    const HOSTS: Readonly<Record<Side, string>> = { source: 'old.internal', target: 'new.internal' };
    const write = async (id: string, text: string, more: Partial<ssm.PutParameterRequest> = {}): Promise<void> => {
      await client.send(
        new ssm.PutParameterCommand({ Name: id, Value: text, Type: 'String', Overwrite: true, ...more }),
      );
    };
    const current = async (id: string) => {
      const { Parameter } = await client.send(new ssm.GetParameterCommand({ Name: id, WithDecryption: true }));
      return { text: Parameter?.Value, version: Parameter?.Version };
    };
    const metadataOf = async (id: string): Promise<ssm.ParameterMetadata | undefined> => {
      const filter = { Key: 'Name', Option: 'Equals', Values: [id] };
      const { Parameters } = await client.send(new ssm.DescribeParametersCommand({ ParameterFilters: [filter] }));
      return Parameters?.[0];
    };
    const routerOn = (ids: ReadonlyMap<string, string>, store: ValueStore = new ParameterStore('eu-central-1')) =>
      new ValueRouter(store, { ids, led: HOSTS });

    routerContract(
      'ssm',
      async (): Promise<RouterUnderTest> => {
        const ids = freshIds();
        for (const id of ids.values()) await write(id, 'nowhere.internal');
        return {
          open: () => routerOn(ids),
          edit: (phase, primary) => write(ids.get(phase) ?? '', HOSTS[primary]),
          remove: async () => undefined,
        };
      },
      { holds: false },
    );

    it('keeps type, key, tier and all else, and labels the version that it replaced', async () => {
      const ids = freshIds();
      const id = ids.get('orders') ?? '';
      const more = { Type: 'SecureString', KeyId: 'alias/shop', Tier: 'Advanced', Description: 'of the shop' } as const;
      await write(id, 'first', more);
      await write(id, HOSTS.source, more);
      const before = await metadataOf(id);
      await toTarget(routerOn(ids));
      const after = await metadataOf(id);
      expect(await current(id)).toEqual({ text: HOSTS.target, version: 3 });
      const kept = ({ Type, KeyId, Tier, Description, DataType }: ssm.ParameterMetadata = {}) => [
        Type,
        KeyId,
        Tier,
        Description,
        DataType,
      ];
      expect(kept(after)).toEqual(['SecureString', 'alias/shop', 'Advanced', 'of the shop', 'text']);
      expect(kept(after)).toEqual(kept(before));
      expect(await current(`${id}:switchback-before`)).toEqual({ text: HOSTS.source, version: 2 });
    });

    /** A store in which somebody writes right after its `at`th look, counted from the repoint's own. */
    const disturbed = (at: number, text: string): ParameterStore => {
      class Disturbed extends ParameterStore {
        #looks = 0;
        override async read(id: string) {
          const value = await super.read(id);
          this.#looks += 1;
          if (this.#looks === at) await write(id, text);
          return value;
        }
      }
      return new Disturbed('eu-central-1');
    };

    it.each([
      [2, 'theirs.internal', 2, 'nothing of it was overwritten; see who wrote its version 2'],
      [3, 'theirs.internal', 4, 'version 2, is the current one again after ours, version 3'],
    ])('is left or given back to whoever writes after look %i, and says so', async (at, theirs, version, said) => {
      const ids = freshIds();
      const id = ids.get('orders') ?? '';
      await write(id, HOSTS.source);
      await expect(toTarget(routerOn(ids, disturbed(at, theirs)))).rejects.toMatchObject({
        kind: 'refused',
        message: `parameter ${id} was changed by somebody in the middle of a repoint`,
        remedy: expect.stringContaining(said),
      });
      expect(await current(id)).toEqual({ text: theirs, version });
    });

    it('that was written twice by one request, whose first answer was lost, was written by nobody else', async () => {
      const ids = freshIds();
      const id = ids.get('orders') ?? '';
      await write(id, HOSTS.source);
      await toTarget(routerOn(ids, disturbed(3, HOSTS.target)));
      expect(await current(id)).toEqual({ text: HOSTS.target, version: 3 });
    });

    it('may be a JSON object, of which keys are replaced', async () => {
      const ids = freshIds();
      const id = ids.get('orders') ?? '';
      await write(id, '{"pool":10,"host":"old.internal","port":5432,"dbname":"shop"}');
      await toTarget(new ValueRouter(new ParameterStore(undefined), { ids, led: LED }));
      expect((await current(id)).text).toBe('{"pool":10,"host":"new.internal","port":5433,"dbname":"shop_new"}');
    });

    it('is looked at before a switch', async () => {
      const ids = freshIds();
      expect(await routerOn(ids).findings(['orders'])).toMatchObject([
        { id: 'router/refused', severity: 'blocks', fact: expect.stringContaining('ParameterNotFound') },
      ]);
      await write(ids.get('orders') ?? '', 'third.internal');
      expect(await routerOn(ids).findings(['orders'])).toMatchObject([
        { id: 'router/leads-elsewhere', severity: 'blocks' },
        { id: 'router/not-held', severity: 'warns' },
      ]);
    });
  });

  /**
   * What goes over the wire. Conditions are not looked at here: moto lets a DELETE pass whose values were there at any time, and
   * refuses a CREATE that was made once before, so that a third repoint fails on it whatever the router does.
   */
  it('Route 53 reads and changes a record, and back', async () => {
    const client = new route53.Route53Client({});
    const created = await client.send(
      new route53.CreateHostedZoneCommand({ Name: 'shop.internal', CallerReference: 'c' }),
    );
    const zone = (created.HostedZone?.Id ?? '').replace('/hostedzone/', '');
    const record = { Name: 'db.shop.internal', Type: 'CNAME', TTL: 7, ResourceRecords: [{ Value: 'old.internal' }] };
    const upsert: route53.Change = { Action: 'UPSERT', ResourceRecordSet: { ...record, Type: 'CNAME' } };
    await client.send(
      new route53.ChangeResourceRecordSetsCommand({ HostedZoneId: zone, ChangeBatch: { Changes: [upsert] } }),
    );
    const router = new Route53Router({
      zone,
      region: undefined,
      type: 'CNAME',
      records: new Map([['orders', 'db.shop.internal']]),
      values: { source: ['old.internal'], target: ['new.internal'] },
    });
    expect((await router.findings(['orders'], 10_000)).map(({ id }) => id)).toEqual(['router/not-held']);
    expect(await router.observe('orders')).toMatchObject({ primary: 'source' });
    await toTarget(router);
    const { version, primary } = await router.observe('orders');
    expect(primary).toBe('target');
    await router.repoint({ phases: ['orders'], to: 'source', epoch: 2n, expect: { orders: version } });
    const { ResourceRecordSets = [] } = await client.send(
      new route53.ListResourceRecordSetsCommand({ HostedZoneId: zone }),
    );
    const shown = ResourceRecordSets.filter(({ Type }) => Type === 'CNAME' || Type === 'TXT').map(
      ({ Name, TTL, ResourceRecords }) => [Name, TTL, ResourceRecords?.[0]?.Value],
    );
    expect(shown).toEqual([
      ['db.shop.internal.', 7, 'old.internal'],
      ['_switchback.db.shop.internal.', 60, '"switchback epoch=2 state=insync"'],
    ]);
  });
});
