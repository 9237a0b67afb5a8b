import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Spool } from '../../src/snapshots/local/spool.ts';
import { failureOf } from '../contract/objects.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchback-spool-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a spool is a directory of ours, and never where a link leads', async () => {
  mkdirSync(join(folder, 'elsewhere'));
  symlinkSync(join(folder, 'elsewhere'), join(folder, 'spool'));
  let seen: readonly string[] | undefined;
  const work = async () => {
    seen = readdirSync(join(folder, 'elsewhere'));
  };
  expect(await failureOf(new Spool(join(folder, 'spool')).with('one', work))).toMatchObject({ kind: 'refused' });
  expect(seen).toBeUndefined();
  await new Spool(join(folder, 'own')).with('one', work);
  expect(seen).toEqual([]);
});
