import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isPrivateFolder } from '../../src/platform/code-cache.ts';

// Code is loaded from the cache as it lies there: whoever can write to it runs as this user.
describe('a folder for compiled code', () => {
  let base = '';
  const folder = (path: string, mode: number): string => {
    const full = join(base, path);
    mkdirSync(full);
    chmodSync(full, mode);
    return full;
  };
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'switchback-cache-'));
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  test('is private below a folder where everybody may make their own, such as /tmp', () => {
    folder('shared', 0o1777);
    expect(isPrivateFolder(folder('shared/mine', 0o700))).toBe(true);
  });

  test('is not where others can write to it, or read what it is', () => {
    expect(isPrivateFolder(folder('written', 0o770))).toBe(false);
    expect(isPrivateFolder(folder('sticky', 0o1777))).toBe(false);
    expect(isPrivateFolder(folder('read', 0o755))).toBe(false);
  });

  test('is not where others can put their own in its place', () => {
    folder('open', 0o777);
    folder('open/cache', 0o700);
    expect(isPrivateFolder(folder('open/cache/switchback', 0o700))).toBe(false);
  });

  test('is judged by where a link leads', () => {
    folder('open', 0o777);
    folder('open/real', 0o700);
    symlinkSync(join(base, 'open/real'), join(base, 'link'));
    expect(isPrivateFolder(join(base, 'link'))).toBe(false);
  });

  test.runIf(process.getuid?.() === 0)("is not another user's, nor in a home of theirs", () => {
    const theirs = folder('theirs', 0o700);
    const home = folder('home', 0o755);
    const ours = folder('home/cache', 0o700);
    for (const path of [theirs, home]) chownSync(path, 65_534, 65_534);
    expect(isPrivateFolder(theirs)).toBe(false);
    expect(isPrivateFolder(ours)).toBe(false);
  });

  test('is an error where there is none', () => {
    expect(() => isPrivateFolder(join(base, 'none'))).toThrow('ENOENT');
  });
});
