import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as s3 from '@aws-sdk/client-s3';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { DirectoryObjects } from '../../src/platform/objects/directory.ts';
import { openObjects } from '../../src/platform/objects/open.ts';
import { S3Objects } from '../../src/platform/objects/s3.ts';
import { type Fault, FaultyProxy } from '../support/faulty-proxy.ts';
import { describeWithMoto } from '../support/moto.ts';
import { failureOf, listed, type ObjectsUnderTest, objectsContract, piecesOf, wholeOf } from './objects.ts';

/** Other than root, whom no mode of a file keeps out. */
const ORDINARY = 65_534;
const isRoot = process.getuid?.() === 0;
const limitFiles = (bytes: string): void => {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`]);
};

const makeDirectory = async (): Promise<ObjectsUnderTest & { readonly root: string }> => {
  const folder = mkdtempSync(join(tmpdir(), 'switchback-objects-'));
  const root = join(folder, 'shop');
  return {
    root,
    open: () => new DirectoryObjects(root),
    deny: async () => {
      if (isRoot) process.seteuid?.(ORDINARY);
      else chmodSync(folder, 0);
    },
    // What the system says then is not what a failing disk says, but it is as little an answer that we know.
    fail: async () => limitFiles('0'),
    fill: async () => limitFiles(String(1024 * 1024)),
    heal: async () => {
      if (isRoot) process.seteuid?.(0);
      else chmodSync(folder, 0o700);
      limitFiles('unlimited');
    },
    leftOvers: async () =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /(^|\/)\./.test(name)),
    remove: async () => rmSync(folder, { recursive: true, force: true }),
  };
};

objectsContract('a directory', makeDirectory);

describe('objects in a directory', () => {
  let place: Awaited<ReturnType<typeof makeDirectory>>;
  beforeEach(async () => {
    place = await makeDirectory();
  });
  afterEach(() => place.remove());

  it('are not made where the folder of their place is missing: its disk is not mounted', async () => {
    renameSync(join(place.root, '..'), `${join(place.root, '..')}-elsewhere`);
    const missing = { kind: 'refused', remedy: expect.stringContaining('mounted') };
    expect(await failureOf(place.open().put('a', piecesOf('x')))).toMatchObject(missing);
    expect(await failureOf(listed(place.open().list('')))).toMatchObject(missing);
    renameSync(`${join(place.root, '..')}-elsewhere`, join(place.root, '..'));
  });

  it('are not those of others: names with a dot before them, folders, links', async () => {
    const objects = place.open();
    await objects.put('a/one', piecesOf('1'));
    writeFileSync(join(place.root, 'a', '.nfs0001'), 'x');
    mkdirSync(join(place.root, 'a', 'folder'));
    expect((await listed(objects.list(''))).map(({ key }) => key)).toEqual(['a/one']);
    expect(await failureOf(wholeOf(objects.get('a/folder')))).toMatchObject({ kind: 'refused' });
    expect(await failureOf(objects.put('a/one/below', piecesOf('x')))).toMatchObject({ kind: 'refused' });
  });

  it('leave nothing of a process that was killed in the middle, once they are put again', async () => {
    const url = new URL('../../src/platform/objects/directory.ts', import.meta.url).pathname;
    const program = `import { DirectoryObjects } from ${JSON.stringify(url)};
      const bytes = async function* () { yield Buffer.alloc(1000); process.kill(process.pid, 'SIGKILL'); };
      await new DirectoryObjects(${JSON.stringify(place.root)}).put('a/one', bytes());`;
    const [, signal] = await once(spawn(process.execPath, ['--input-type=module', '-e', program]), 'exit');
    expect(signal).toBe('SIGKILL');
    expect(await place.leftOvers()).toHaveLength(1);
    expect(await listed(place.open().list(''))).toEqual([]);
    await place.open().put('a/one', piecesOf('1'));
    expect(await place.leftOvers()).toEqual([]);
  });

  it('are opened by an absolute path, or as those of S3, and by nothing else', () => {
    expect(openObjects('/backups/shop').label).toBe('/backups/shop');
    expect(openObjects('s3://backups/shop/').label).toBe('s3://backups/shop');
    expect(openObjects('s3://backups').label).toBe('s3://backups');
    for (const to of ['backups', 's3://B/x', 's3://', 'http://x/y', '']) {
      expect(() => openObjects(to)).toThrow(expect.objectContaining({ kind: 'usage' }));
    }
  });
});

let buckets = 0;

describeWithMoto('S3', () => {
  let behind = '';
  beforeAll(() => {
    behind = process.env.AWS_ENDPOINT_URL ?? '';
  });

  /** Faults for every request to an object; what is asked about parts passes. */
  const makeBucket = async (): Promise<ObjectsUnderTest & { readonly proxy: FaultyProxy; readonly bucket: string }> => {
    const client = new s3.S3Client({ endpoint: behind, forcePathStyle: true });
    const bucket = `shop-${++buckets}`;
    await client.send(
      new s3.CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: 'eu-central-1' } }),
    );
    const proxy = new FaultyProxy(behind);
    vi.stubEnv('AWS_ENDPOINT_URL', await proxy.start());
    const plant = (fault: Fault) => async (): Promise<void> => {
      proxy.fault = () => fault;
    };
    return {
      proxy,
      bucket,
      open: () => new S3Objects({ bucket, prefix: 'of/ours', region: undefined }),
      deny: plant({ status: 403, code: 'AccessDenied' }),
      fail: plant({ status: 500, code: 'InternalError' }),
      fill: async () => {
        proxy.fault = ({ method }) => (method === 'PUT' ? { status: 507, code: 'XMinioStorageFull' } : undefined);
      },
      heal: plant(undefined),
      leftOvers: async () => {
        const { Uploads = [] } = await client.send(new s3.ListMultipartUploadsCommand({ Bucket: bucket }));
        return Uploads.map(({ Key }) => Key ?? '');
      },
      remove: async () => {
        await proxy.close();
        vi.stubEnv('AWS_ENDPOINT_URL', behind);
      },
    };
  };

  objectsContract('S3', makeBucket);

  describe('objects in S3', () => {
    let place: Awaited<ReturnType<typeof makeBucket>>;
    beforeEach(async () => {
      place = await makeBucket();
    });
    afterEach(() => place.remove());
    const MIB = Buffer.alloc(1024 * 1024, 'switchback');
    const large = () => piecesOf(...Array<Buffer>(20).fill(MIB));

    it.each([
      ['in one request', () => piecesOf('x'), ({ method }: { method: string }) => method === 'PUT'],
      [
        'in parts',
        large,
        ({ method, url }: { method: string; url: string }) => method === 'POST' && !url.includes('uploads'),
      ],
    ] as const)('are there once when the answer to their last request is lost: %s', async (_how, bytes, isLast) => {
      let lost = 0;
      place.proxy.fault = (seen) => (isLast(seen) && lost++ < 4 ? 'lost' : undefined);
      await place
        .open()
        .put('one', bytes())
        .catch(() => undefined);
      expect(lost).toBeGreaterThan(0);
      place.proxy.fault = () => undefined;
      const objects = place.open();
      await objects.put('one', bytes());
      expect((await listed(objects.list(''))).length).toBe(1);
      expect((await wholeOf(objects.get('one'))).equals(await wholeOf(bytes()))).toBe(true);
      expect(await place.leftOvers()).toEqual([]);
    });

    it('in parts are known to be there when the first answer to their last request is lost', async () => {
      let lost = false;
      place.proxy.fault = ({ method, url }) => {
        if (lost || method !== 'POST' || url.includes('uploads')) return undefined;
        lost = true;
        return 'lost';
      };
      expect(await place.open().put('one', large())).toEqual({ key: 'one', bytes: 20 * MIB.length });
      expect(lost).toBe(true);
    });

    it('go on from where their bytes broke off, and are refused as not whole when that does not help', async () => {
      const objects = place.open();
      await objects.put('one', large());
      place.proxy.seen.length = 0;
      let cuts = 0;
      place.proxy.fault = ({ method }) => (method === 'GET' && cuts++ < 2 ? 'cut' : undefined);
      expect((await wholeOf(objects.get('one'))).equals(await wholeOf(large()))).toBe(true);
      expect(place.proxy.seen.length).toBe(3);
      await objects.put('few', piecesOf('xy'));
      place.proxy.fault = ({ method }) => (method === 'GET' ? 'cut' : undefined);
      expect(await failureOf(wholeOf(objects.get('few', 1)))).toMatchObject({ kind: 'unreachable' });
    });

    it('are those of the prefix, and names that are no keys are not among them', async () => {
      const client = new s3.S3Client({ endpoint: behind, forcePathStyle: true });
      for (const Key of ['of/ours/../x', 'of/ours/a b', 'of/oursnot', 'of/other/a']) {
        await client.send(new s3.PutObjectCommand({ Bucket: place.bucket, Key, Body: 'x' }));
      }
      await place.open().put('a/b', piecesOf('1'));
      expect((await listed(place.open().list(''))).map(({ key }) => key)).toEqual(['a/b']);
    });

    it('say which bucket is missing', async () => {
      const objects = new S3Objects({ bucket: 'nobody', prefix: '', region: undefined });
      expect(await failureOf(objects.put('a', piecesOf('x')))).toMatchObject({
        kind: 'refused',
        message: expect.stringContaining('s3://nobody/a failed: NoSuchBucket'),
        remedy: expect.stringContaining('correct bucket'),
      });
    });

    it('leave no parts of a process that was killed, once they are put again', async () => {
      const client = new s3.S3Client({ endpoint: behind, forcePathStyle: true });
      const Key = 'of/ours/one';
      await client.send(new s3.CreateMultipartUploadCommand({ Bucket: place.bucket, Key }));
      expect(await place.leftOvers()).toEqual([Key]);
      await place.open().put('one', large());
      expect(await place.leftOvers()).toEqual([]);
    });
  });
});
