import { fork } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, link, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readContent, replaceFile } from '../../src/platform/replace-file.ts';
import { FileRouter } from '../../src/routers/file.ts';
import { envText, jsonText } from '../../src/routers/route-text.ts';

const BUDGET_MS = 20_000;

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'switchback-file-'));
  path = join(folder, 'primary.json');
});
afterEach(() => rm(folder, { recursive: true }));

const json = (at = path): FileRouter => new FileRouter({ path: at, format: 'json' });
const env = (): FileRouter => new FileRouter({ path: join(folder, 'app.env'), format: 'env' });

const toTarget = async (router: FileRouter, phase = 'orders', epoch = 7n): Promise<void> => {
  const { version } = await router.observe(phase);
  await router.repoint({ phases: [phase], to: 'target', epoch, expect: { [phase]: version } });
};

describe('the file', () => {
  test('in json says what the application needs, and keeps what others wrote', async () => {
    await writeFile(path, '{"pool": {"max": 10}, "orders": {"comment": "ask Ada", "primary": "source"}}');
    await toTarget(json());
    expect(await readFile(path, 'utf8')).toBe(
      `${JSON.stringify(
        {
          pool: { max: 10 },
          orders: { comment: 'ask Ada', primary: 'target', held: false, epoch: '7' },
        },
        null,
        2,
      )}\n`,
    );
  });

  test('in env sets three variables where they stood, and keeps every other byte', async () => {
    const before = '# é\r\nexport SWITCHBACK_ORDERS="source"\r\nX=1\nSWITCHBACK_ORDERS=source\nnonsense \xff\nLAST=1';
    await writeFile(join(folder, 'app.env'), Buffer.from(before, 'latin1'));
    await env().hold(['orders'], BUDGET_MS);
    await toTarget(env());
    expect(await readFile(join(folder, 'app.env'), 'latin1')).toBe(
      '# é\r\nexport SWITCHBACK_ORDERS=target\r\nX=1\nnonsense \xff\nLAST=1\n' +
        'SWITCHBACK_ORDERS_HELD=1\nSWITCHBACK_ORDERS_EPOCH=7\n',
    );
  });

  test('takes an epoch that is older than one it has just shown: an earlier run has counted further', async () => {
    await toTarget(json(), 'orders', 7n);
    const { version } = await json().observe('orders');
    await json().repoint({ phases: ['orders'], to: 'source', epoch: 2n, expect: { orders: version } });
    expect(await json().observe('orders')).toMatchObject({ primary: 'source' });
  });

  test('keeps its mode and owner', async () => {
    await writeFile(path, '{}');
    await chmod(path, 0o640);
    const asRoot = process.getuid?.() === 0;
    if (asRoot) await chown(path, 12_345, 12_346);
    await toTarget(json());
    const { mode, uid, gid } = await stat(path);
    expect(mode & 0o7777).toBe(0o640);
    if (asRoot) expect([uid, gid]).toEqual([12_345, 12_346]);
  });

  test('is found behind links, also before it is there', async () => {
    await mkdir(join(folder, 'real'));
    await symlink('real/routes.json', join(folder, 'one.json'));
    await symlink(join(folder, 'one.json'), path);
    await toTarget(json());
    await toTarget(json(), 'catalog');
    expect(Object.keys(JSON.parse(await readFile(join(folder, 'real/routes.json'), 'utf8')))).toEqual([
      'orders',
      'catalog',
    ]);
    expect((await readdir(folder)).sort()).toEqual(['one.json', 'primary.json', 'real']);
    await symlink('loop', join(folder, 'loop'));
    await expect(json(join(folder, 'loop')).hold(['orders'], BUDGET_MS)).rejects.toMatchObject({ kind: 'unreachable' });
  });

  test('is replaced and never written to: who has the old one open or linked keeps it', async () => {
    await writeFile(path, '{"orders":{"primary":"source"}}');
    await link(path, join(folder, 'old'));
    await toTarget(json());
    expect(await readFile(join(folder, 'old'), 'utf8')).toBe('{"orders":{"primary":"source"}}');
    expect((await readdir(folder)).sort()).toEqual(['old', 'primary.json']);
  });

  test('is not touched by a release that has nothing to release', async () => {
    await json().release(['orders']);
    expect(await readdir(folder)).toEqual([]);
  });

  test('may be empty', async () => {
    await writeFile(path, '\n');
    await toTarget(json());
    expect((await json().observe('orders')).primary).toBe('target');
  });
});

describe('what it cannot read or write', () => {
  test.each([
    ['primary', '{"orders":{"primary":"left"}}'],
    ['held', '{"orders":{"primary":"source","held":"no"}}'],
    ['epoch', '{"orders":{"primary":"source","epoch":1.5}}'],
    ['an object', '{"orders":"source"}'],
    ['not a JSON object', '[]'],
    ['not JSON', '{"orders":'],
    ['lose digits', '{"id":12345678901234567890}'],
  ])('is refused and left alone: %s', async (word, text) => {
    await writeFile(path, text);
    const tries = [json().observe('orders'), json().hold(['orders'], BUDGET_MS), toTarget(json())];
    for (const one of await Promise.allSettled(tries)) {
      expect(one).toMatchObject({ status: 'rejected', reason: { kind: 'refused' } });
      expect(String(one.status === 'rejected' && one.reason)).toContain(word);
    }
    expect(await readFile(path, 'utf8')).toBe(text);
  });

  test('is refused and left alone in env', async () => {
    for (const line of ['SWITCHBACK_ORDERS=left', 'SWITCHBACK_ORDERS_HELD=maybe', 'SWITCHBACK_ORDERS_EPOCH=-1']) {
      await writeFile(join(folder, 'app.env'), `${line}\n`);
      await expect(env().hold(['orders'], BUDGET_MS)).rejects.toMatchObject({ kind: 'refused' });
    }
  });

  test('is unreachable: no folder, a folder, a device', async () => {
    for (const at of [join(folder, 'none/p.json'), folder, '/dev/null']) {
      await expect(json(at).hold(['orders'], BUDGET_MS), at).rejects.toMatchObject({ kind: 'unreachable' });
    }
  });
});

describe('who writes at the same time', () => {
  test('between the look and the replacement is noticed, and nothing is left behind', async () => {
    await writeFile(path, '{}');
    const content = await readContent(path);
    await writeFile(path, '{"by":"hand"}');
    expect(await replaceFile(content, Buffer.from('{}'))).toEqual({ stillAsRead: false });
    expect(await readFile(path, 'utf8')).toBe('{"by":"hand"}');
    expect(await readdir(folder)).toEqual(['primary.json']);
    await rm(path);
    expect(await replaceFile(content, Buffer.from('{}'))).toEqual({ stillAsRead: false });
  });

  test('in this process waits for its turn: many phases, many routers', async () => {
    const phases = Array.from({ length: 20 }, (_, index) => `p${index}`);
    await Promise.all(phases.map((phase) => toTarget(json(), phase)));
    const routes = JSON.parse(await readFile(path, 'utf8')) as Record<string, { primary: string }>;
    expect(phases.filter((phase) => routes[phase]?.primary === 'target')).toEqual(phases);
  });

  // A reader must see a whole file whenever it looks, and so must whoever comes after a worker that was killed.
  test('is killed, and leaves a whole file for readers and for the next one', async () => {
    const script = fileURLToPath(new URL('../support/route-writer.ts', import.meta.url));
    await json().hold(['orders'], BUDGET_MS);
    for (let round = 0; round < 5; round++) {
      const writer = fork(script, [path], { stdio: 'ignore' });
      await once(writer, 'message');
      for (let look = 0; look < 50; look++) {
        expect(JSON.parse(await readFile(path, 'utf8'))).toHaveProperty('orders');
        await delay(1);
      }
      writer.kill('SIGKILL');
      await once(writer, 'exit');
      expect((await json().observe('orders')).held).toBeTypeOf('boolean');
    }
    await json().release(['orders']);
    expect(await json().observe('orders')).toMatchObject({ held: false });
  });
});

describe('both forms', () => {
  const route = fc.record({
    primary: fc.constantFrom('source' as const, 'target' as const),
    held: fc.boolean(),
    epoch: fc.bigInt({ min: 0n, max: 2n ** 62n }),
  });
  const phases = fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/), route, { minKeys: 1 });

  test.each([
    ['json', jsonText],
    ['env', envText],
  ])('%s: what is written is read again, beside what was there', (_, text) => {
    fc.assert(
      fc.property(phases, phases, (first, second) => {
        const one = text.write(Buffer.alloc(0), new Map(Object.entries(first)));
        const two = text.write(one, new Map(Object.entries(second)));
        for (const [phase, expected] of Object.entries({ ...first, ...second })) {
          expect(text.read(two, phase)).toEqual(expected);
        }
        expect(text.write(two, new Map(Object.entries(second)))).toEqual(two);
      }),
    );
  });

  test('env keeps any bytes of other people', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const before = Buffer.from(bytes);
        const after = envText.write(before, new Map([['orders', { primary: 'source', held: false, epoch: 1n }]]));
        expect(after.subarray(0, before.length).equals(before)).toBe(true);
      }),
    );
  });
});
