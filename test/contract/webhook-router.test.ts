import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SwitchbackError } from '../../src/domain/errors.ts';
import { sleep } from '../../src/platform/clock.ts';
import { type WebhookOptions, WebhookRouter } from '../../src/routers/webhook/router.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { type Fault, Receiver } from '../support/receiver.ts';
import { type RouterUnderTest, routerContract } from './router.ts';

const SECRET = 'c4nary-of-the-webhook';
const BUDGET_MS = 20_000;

const start = async (folder?: string): Promise<Receiver> => {
  const receiver = new Receiver(SECRET, folder);
  await receiver.start();
  return receiver;
};

const routerTo = (receiver: Receiver, options: Partial<WebhookOptions> = {}): WebhookRouter =>
  new WebhookRouter({
    url: receiver.url(),
    secret: SECRET,
    run: 'shop',
    observe: 'GET',
    holds: true,
    timeoutMs: 10_000,
    tls: {},
    ...options,
  });

for (const observe of ['GET', 'POST'] as const) {
  routerContract(`webhook, ${observe}`, async (): Promise<RouterUnderTest> => {
    const receiver = await start();
    return {
      open: () => routerTo(receiver, { observe }),
      edit: async (phase, primary) => receiver.edit(phase, primary),
      remove: () => receiver.close(),
    };
  });
}

const failureOf = async (work: Promise<unknown>): Promise<SwitchbackError> => {
  const error = await work.then(
    () => new Error('it did not fail'),
    (failure: unknown) => failure as SwitchbackError,
  );
  return error as SwitchbackError;
};

describe('a webhook', () => {
  let receiver: Receiver;
  beforeEach(async () => {
    receiver = await start();
  });
  afterEach(() => receiver.close());

  const keys = (): readonly string[] => receiver.received.map(({ key }) => key);
  const repoint = (router: WebhookRouter, version = '0') =>
    router.repoint({ phases: ['orders'], to: 'target', epoch: 7n, expect: { orders: version } });

  it('is told what to do, for which run, and on what condition', async () => {
    const router = routerTo(receiver, { url: receiver.url('/route?team=a'), observe: null });
    const before = Date.now();
    await router.hold(['catalog', 'orders'], 4_000);
    await router.repoint({
      phases: ['catalog', 'orders'],
      to: 'target',
      epoch: 2n ** 60n,
      expect: { orders: '0', catalog: '0' },
    });
    await router.release(['catalog']);
    const bodies = receiver.received.map(({ body }) => JSON.parse(body) as unknown);
    const common = { format: 1, run: 'shop', key: expect.stringMatching(/^[0-9a-f-]{36}$/) };
    expect(bodies).toEqual([
      { ...common, action: 'hold', phases: ['catalog', 'orders'], untilMs: expect.any(Number) },
      {
        ...common,
        action: 'repoint',
        phases: ['catalog', 'orders'],
        side: 'target',
        epoch: '1152921504606846976',
        expect: { catalog: '0', orders: '0' },
      },
      { ...common, action: 'release', phases: ['catalog'] },
    ]);
    expect(bodies.map((body) => (body as { key: string }).key)).toEqual(keys());
    const [{ untilMs }] = bodies as [{ untilMs: number }];
    expect([untilMs >= before + 3_999, untilMs <= Date.now() + 4_000]).toEqual([true, true]);
    expect(new Set(receiver.received.map(({ method, path }) => `${method} ${path}`))).toEqual(
      new Set(['POST /route?team=a']),
    );
  });

  it('is asked by GET with a query of its own kept, and its signature over all of it', async () => {
    receiver.edit('orders', 'target');
    const router = routerTo(receiver, { url: receiver.url('/route?team=a') });
    expect(await router.observe('orders')).toEqual({ primary: 'target', held: false, version: '1' });
    expect(receiver.received[0]?.path).toBe('/route?team=a&run=shop&action=observe&phase=orders');
  });

  it('that does not know hold and observe is asked for neither', async () => {
    const router = routerTo(receiver, { holds: false, observe: null });
    await router.hold(['orders'], 0);
    await router.release(['orders']);
    expect(await router.observe('orders')).toEqual({ primary: null, held: false, version: '' });
    expect(receiver.received).toEqual([]);
    expect(await router.findings(['orders'])).toMatchObject([{ id: 'router/blind', severity: 'warns' }]);
  });

  it('that cannot be asked is not told to compare with a version that nobody knows', async () => {
    receiver.edit('orders', 'source');
    await repoint(routerTo(receiver, { observe: null }), '');
    expect(JSON.parse(receiver.received[0]?.body ?? '')).toMatchObject({ side: 'target', expect: {} });
    expect(receiver.done).toEqual(['repoint orders target']);
    const older = { phases: ['orders'], to: 'source', epoch: 6n, expect: { orders: '' } } as const;
    expect(await failureOf(routerTo(receiver, { observe: null }).repoint(older))).toMatchObject({ kind: 'refused' });
  });

  it('takes the lower epoch of a run that began anew, since its version is the one of now', async () => {
    await repoint(routerTo(receiver));
    const anew = { phases: ['orders'], to: 'source', epoch: 1n, expect: { orders: '1' } } as const;
    await routerTo(receiver).repoint(anew);
    expect(receiver.done).toEqual(['repoint orders target', 'repoint orders source']);
  });

  it('compares by itself, where it cannot be asked before', async () => {
    receiver.edit('orders', 'source');
    const error = await failureOf(repoint(routerTo(receiver, { observe: null })));
    expect(error).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('status 409: orders has moved on'),
    });
    expect(receiver.done).toEqual([]);
  });

  it('is not asked for a repoint, if it can be asked before and somebody has led the phase elsewhere', async () => {
    receiver.edit('orders', 'source');
    expect(await failureOf(repoint(routerTo(receiver)))).toMatchObject({ kind: 'refused' });
    expect(receiver.received.map(({ method }) => method)).toEqual(['GET']);
  });

  // Each of these is over before anybody has to know of it: the same key, and done once.
  it.each<[string, readonly Fault[]]>([
    ['drops the answer after acting', ['acts and drops']],
    ['drops the request', ['drops']],
    ['is not ready twice', [{ status: 503 }, { status: 503, retryAfter: '0' }]],
    ['is asked too often', [{ status: 429, retryAfter: 'Wed, 21 Oct 2015 07:28:00 GMT' }]],
    ['has a proxy that lost it, and then one that gave up', [{ status: 502 }, { status: 504 }]],
  ])('that %s is asked again with the same key, and acts once', async (_, faults) => {
    const router = routerTo(receiver, { observe: null });
    for (const act of [
      () => router.hold(['orders'], BUDGET_MS),
      () => repoint(router),
      () => router.release(['orders']),
    ]) {
      receiver.received.length = 0;
      receiver.breaks(...faults);
      await act();
      expect(receiver.received).toHaveLength(faults.length + 1);
      expect(new Set(keys()).size).toBe(1);
      expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
    }
    expect(receiver.done).toEqual(['hold orders', 'repoint orders target', 'release orders']);
  });

  it('is never taken to have done a second hold by its answer to the first', async () => {
    const router = routerTo(receiver);
    await router.hold(['orders'], BUDGET_MS);
    await router.release(['orders']);
    await router.hold(['orders'], BUDGET_MS);
    expect(receiver.done).toEqual(['hold orders', 'release orders', 'hold orders']);
    expect(await router.observe('orders')).toMatchObject({ held: true });
  });

  it('that forgets keys and refuses what it has done itself leaves the outcome unknown, never refused', async () => {
    receiver.breaks('acts and drops', { status: 409, says: 'orders has moved on' });
    const error = await failureOf(repoint(routerTo(receiver, { observe: null })));
    expect(error).toMatchObject({ kind: 'unknown', message: expect.stringContaining('status 409') });
    // Whoever looks again finds that it is done.
    await repoint(routerTo(receiver), 'stale');
    expect(receiver.done).toEqual(['repoint orders target']);
  });

  it.each<[Fault, string, RegExp]>([
    ['redirects', 'refused', /status 307$/],
    [{ status: 500, says: 'oh\u001b[31m' }, 'unknown', /answered with status 500: oh \[31m$/],
    [{ status: 400 }, 'refused', /status 400$/],
    [{ status: 403 }, 'refused', /status 403$/],
  ])('that fails by %j is not asked again', async (fault, kind, message) => {
    receiver.breaks(fault);
    const error = await failureOf(routerTo(receiver).hold(['orders'], BUDGET_MS));
    expect(error).toMatchObject({ kind, message: expect.stringMatching(message) });
    expect(receiver.received).toHaveLength(1);
    expect(receiver.done).toEqual([]);
  });

  it.each<[readonly Fault[], string, RegExp]>([
    [['silent'], 'unknown', /asked for hold of orders, gave no answer: no answer within \d+ ms$/],
    [[{ status: 503, retryAfter: '60' }], 'unreachable', /status 503$/],
  ])('that answers %j is given up within the budget, and nothing is done later', async (faults, kind, message) => {
    receiver.breaks(...faults);
    const error = await failureOf(routerTo(receiver).hold(['orders'], 400));
    expect(error).toMatchObject({ kind, message: expect.stringMatching(message) });
    expect(receiver.received).toHaveLength(1);
  });

  it('that comes to a hold when its time is over is told so, and holds nobody behind the release', async () => {
    const router = routerTo(receiver);
    receiver.breaks('late');
    expect(await failureOf(router.hold(['orders'], 200))).toMatchObject({ kind: 'unknown' });
    await router.release(['orders']);
    await sleep(50);
    expect(receiver.catchUp()).toEqual([409]);
    expect(await router.observe('orders')).toMatchObject({ held: false });
  });

  it.each<[Fault]>([['silent'], ['half an answer'], ['huge'], [{ status: 200, says: '{"primary":"left"}' }]])(
    'whose answer to a look is %j leaves nothing to be looked up',
    async (fault) => {
      receiver.breaks(fault);
      const error = await failureOf(routerTo(receiver, { timeoutMs: 500 }).observe('orders'));
      expect(error.kind).toBe(fault === 'silent' || fault === 'half an answer' ? 'unreachable' : 'refused');
      expect(error.message.length).toBeLessThan(1_000);
    },
  );

  it('that has done it is believed by its status, whatever it goes on to say', async () => {
    receiver.breaks('huge', 'half an answer');
    await routerTo(receiver).hold(['orders'], BUDGET_MS);
    await routerTo(receiver, { timeoutMs: 300 }).release(['orders']);
    expect(receiver.received).toHaveLength(2);
  });

  it('that is not there is unreachable, at once', async () => {
    const gone = await start();
    const router = routerTo(gone);
    await gone.close();
    const error = await failureOf(router.release(['orders']));
    expect(error).toMatchObject({
      kind: 'unreachable',
      message: expect.stringMatching(/could not be reached: .*ECONNREFUSED/),
    });
  });

  it('with another secret is refused, and check says so', async () => {
    const router = routerTo(receiver, { secret: 'another-c4nary-key' });
    expect(await failureOf(router.hold(['orders'], BUDGET_MS))).toMatchObject({
      kind: 'refused',
      remedy: /same secret/,
    });
    expect(await router.findings(['orders'])).toMatchObject([
      { id: 'router/refused', severity: 'blocks', fact: expect.stringContaining('status 401: bad signature') },
    ]);
    expect(await routerTo(receiver).findings(['orders'])).toEqual([]);
  });

  it('never has its secret, its path or its query told, whatever it answers', async () => {
    const router = routerTo(receiver, { url: receiver.url('/hooks/T0ken4PartOfThePath?key=T0ken-query') });
    const parts = 'no T0ken4PartOfThePath, T0ken-query';
    const says = `${SECRET} ${JSON.stringify({ s: SECRET })} cannot POST /hooks/T0ken4PartOfThePath?key=T0ken-query ${parts}`;
    receiver.breaks({ status: 400, says }, { status: 200, says });
    const errors = [await failureOf(router.hold(['orders'], BUDGET_MS)), await failureOf(router.observe('orders'))];
    for (const error of errors) {
      expect(`${error.message} ${error.remedy} ${error.stack}`).not.toMatch(/c4nary|T0ken/);
      expect(error.message).toContain('cannot POST …');
    }
  });
});

describe('a webhook with TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchback-webhook-'));
  let certificates: Certificates | null;
  let receiver: Receiver | undefined;

  beforeAll(async () => {
    certificates = makeCertificates();
    certificates?.issue(folder, { names: 'IP:127.0.0.1', days: 2 });
    if (certificates !== null) receiver = await start(folder);
  });
  afterAll(async () => {
    await receiver?.close();
    certificates?.remove();
    rmSync(folder, { recursive: true });
  });

  it('is asked where its certificate is the one that the plan trusts, and told nothing elsewhere', async (test) => {
    if (certificates === null || receiver === undefined) return test.skip('no openssl');
    await routerTo(receiver, { tls: { ca: certificates.authority('ours') } }).hold(['orders'], BUDGET_MS);
    expect(receiver.done).toEqual(['hold orders']);
    const { length } = receiver.received;
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    try {
      for (const [options, why] of [
        [{ tls: {} }, /could not be reached: /],
        [{ tls: { ca: certificates.authority('other') } }, /could not be reached: /],
        [{ tls: { ca: certificates.authority('ours') }, url: receiver.url('/', 'localhost') }, /does not match/],
        [{ tls: { ca: join(folder, 'none.pem') } }, /ENOENT/],
      ] as const) {
        const error = await failureOf(routerTo(receiver, options).hold(['orders'], BUDGET_MS));
        expect(error).toMatchObject({ kind: 'unreachable', message: expect.stringMatching(why) });
      }
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
    expect(receiver.received).toHaveLength(length);
  });
});
