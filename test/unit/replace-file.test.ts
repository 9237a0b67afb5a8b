import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tryReplacing } from '../../src/platform/replace-file.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'switchback-replace-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('trying whether a file can be replaced', () => {
  test('leaves the file as it is, and no other beside it', async () => {
    const path = join(folder, 'routes.ini');
    await writeFile(path, 'shop = host=a\n');
    await chmod(path, 0o600);
    const { ino, mtimeMs } = await stat(path);
    await tryReplacing(path);
    expect(await readdir(folder)).toEqual(['routes.ini']);
    expect(await readFile(path, 'utf8')).toBe('shop = host=a\n');
    expect(await stat(path)).toMatchObject({ ino, mtimeMs, nlink: 1 });
  });

  // Also root has no right to that one.
  test('fails where no other file can be made beside it', async () => {
    const path = join(folder, 'a'.repeat(250));
    await writeFile(path, '');
    await expect(tryReplacing(path)).rejects.toThrow('ENAMETOOLONG');
    expect(await readdir(folder)).toEqual(['a'.repeat(250)]);
  });
});
