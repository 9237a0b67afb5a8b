import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Side } from '../../src/domain/position.ts';
import type { Route } from '../../src/routers/router.ts';
import { askHere, startDoomed, writableSides } from '../support/crash-points.ts';
import { describeWithEtcd, type StartEtcd } from '../support/etcd.ts';
import { Receiver } from '../support/receiver.ts';
import { makeScene, type Scene } from '../support/scene.ts';
import { useServerPair } from '../support/servers.ts';
import { ITEM, untilReady, WIDE } from './runbook/begin.ts';

/**
 * Routers that are asked over the network, in whole switches of a plan: what a worker that died left at them is completed or
 * undone by whoever comes next, and what a person does to them in the middle is not overwritten. The way back each time is a
 * failback that nothing disturbs.
 */
const servers = useServerPair();
const SECRET = 'c4nary-of-the-scenario';
const SLOW_MS = 120_000;

/** Something that leads clients, and that a person can edit. */
interface Led {
  /** YAML. */
  readonly router: string;
  edit(primary: Side): Promise<void>;
}

/** Where a worker dies, and to which side clients are led then, who are held at both points. */
const POINTS: readonly (readonly [point: string, side: Side])[] = [
  ['acted cutover/hold', 'source'],
  ['acted cutover/repoint', 'target'],
];

const switches = (name: string, make: () => Promise<Led>): void => {
  describe(name, () => {
    let scene: Scene;
    let led: Led;

    beforeAll(async () => {
      process.env.TEST_ROUTE_SECRET = SECRET;
      led = await make();
      scene = await makeScene(servers(), { ...ITEM, more: WIDE, router: led.router });
      await led.edit('source');
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    const route = async (): Promise<Pick<Route, 'primary' | 'held'> | undefined> => {
      const { context, close } = await scene.run.compose();
      try {
        return await context.routers.get('app')?.observe('all');
      } finally {
        await close();
      }
    };
    const dies = async (point: string): Promise<void> => {
      const doomed = startDoomed(scene.run, ['cutover', scene.run.plan, 'all', '--confirm', 'all'], `${point}:kill`);
      expect(await doomed.ended).toMatchObject({ signal: 'SIGKILL' });
    };
    const expectBack = async (): Promise<void> => {
      expect(await askHere(scene.run, 'failback')).toMatchObject({ exitCode: 0 });
      expect(await route()).toMatchObject({ primary: 'source', held: false });
      expect(await writableSides(scene, 'item')).toEqual(['source']);
    };

    it.each(POINTS)(
      'lets clients go on by whoever comes after a worker that died at "%s"',
      async (point, side) => {
        await dies(point);
        expect(await route()).toMatchObject({ primary: side, held: true });
        expect(await askHere(scene.run, 'resume')).toMatchObject({ exitCode: 0 });
        expect(await route()).toMatchObject({ primary: side, held: false });
        expect(await writableSides(scene, 'item')).toEqual([side]);
        if (side === 'target') await expectBack();
      },
      SLOW_MS,
    );

    it(
      'is led nowhere against the will of a person who edits it in the middle',
      async () => {
        await dies('acted cutover/commit');
        await led.edit('source');
        const parked = await askHere(scene.run, 'resume');
        expect(parked).toMatchObject({ exitCode: 6 });
        expect(parked.message).toContain('was changed by somebody since it was looked at');
        expect(await route()).toMatchObject({ primary: 'source' });
        await led.edit('target');
        expect(await askHere(scene.run, 'resume')).toMatchObject({ exitCode: 0 });
        expect(await route()).toMatchObject({ primary: 'target', held: false });
        await expectBack();
      },
      SLOW_MS,
    );
  });
};

describe('a webhook', () => {
  const receiver = new Receiver(SECRET);
  afterAll(() => receiver.close());
  switches('in whole switches', async () => {
    await receiver.start();
    return {
      router: `{ kind: webhook, url: "${receiver.url()}", secret: "\${TEST_ROUTE_SECRET}", observe: POST, hold: true }`,
      edit: async (primary) => receiver.edit('all', primary),
    };
  });
});

describeWithEtcd('keys of etcd', (start: StartEtcd) => {
  switches('in whole switches', async () => {
    const [member] = await start();
    return {
      router: `{ kind: etcd, endpoints: "${member.url}", prefix: /scenario/ }`,
      edit: async (primary) => {
        const held = ((await member.get('/scenario/all')) ?? '').includes('"held":true');
        await member.put('/scenario/all', JSON.stringify({ primary, held }));
      },
    };
  });
});
