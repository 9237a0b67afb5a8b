import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Objects } from '../../src/platform/objects/objects.ts';
import { openObjects } from '../../src/platform/objects/open.ts';
import { SealKey } from '../../src/platform/objects/seal-key.ts';
import { Catalogue, type CatalogueOptions } from '../../src/snapshots/local/catalogue.ts';
import { basisOf } from '../support/snapshots.ts';

const ID = 'shop-20261127-101500-ab12';
const KEY = SealKey.read('a1'.repeat(32), 'it');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchback-catalogue-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (more: Partial<CatalogueOptions> = {}): Catalogue =>
  new Catalogue({ objects: openObjects(folder), key: null, plan: 'shop', kind: 'pg_dump', ...more });

/** Makes a snapshot without anything in it. */
const make = async (catalogue = open(), id = ID): Promise<void> => {
  const basis = { ...basisOf(id), kind: 'pg_dump' };
  await catalogue.begin(id, basis);
  const position = { atLeast: '0/1', atMost: '0/1' } as never;
  const rest = { createdAt: '2026-11-27T10:15:00.000Z', bytes: 0, lanes: {}, digests: null, store: { objects: [] } };
  await catalogue.finish({ ...basis, ...rest, position });
};

const one = async function* (text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
};

const keysOf = async (root: string): Promise<readonly string[]> => {
  const keys: string[] = [];
  for await (const { key } of openObjects(root).list('')) keys.push(key);
  return keys;
};

const dies = (): Promise<never> => Promise.reject(new Error('died'));

const wrapped = (objects: Objects): Objects => ({
  label: objects.label,
  put: (key, bytes) => objects.put(key, bytes),
  get: (key, from) => objects.get(key, from),
  list: (prefix) => objects.list(prefix),
  remove: (key) => objects.remove(key),
});

describe('a snapshot in a place to which others can write', () => {
  it('is refused where it is not encrypted and the plan has a key', async () => {
    await make();
    const keyed = open({ key: KEY });
    const refused = { kind: 'refused', message: expect.stringContaining('is not encrypted, and the plan has a key') };
    await expect(keyed.manifest(ID)).rejects.toMatchObject(refused);
    expect(await keyed.list()).toMatchObject([{ id: ID, state: 'failed', manifest: null }]);
    expect(await open().list()).toMatchObject([{ id: ID, state: 'available' }]);
  });

  it('is taken where it was made with the key', async () => {
    await make(open({ key: KEY }));
    expect(await open({ key: KEY }).manifest(ID)).toMatchObject({ id: ID });
    await expect(open().manifest(ID)).rejects.toMatchObject({ kind: 'refused' });
  });
});

describe('a snapshot of another database whose plan has the same name', () => {
  const theirs = { ...basisOf(ID), kind: 'pg_dump', identity: 'identity-2' };

  it('is not gone on with while it is made: nothing of it is touched', async () => {
    await open().begin(ID, theirs);
    const objects = openObjects(folder);
    await objects.put(`${ID}/data/1`, one('row'));
    await expect(open().begin(ID, basisOf(ID))).rejects.toMatchObject({
      kind: 'refused',
      message: `snapshot ${ID} is of plan shop and database identity-2, not of shop and identity-1`,
    });
    expect(await keysOf(folder)).toContain(`${ID}/data/1`);
    expect(await open().look(ID)).toMatchObject({ state: 'creating', owner: { plan: 'shop', identity: 'identity-2' } });
    expect(await open().begin(ID, theirs)).toBeNull();
    expect(await keysOf(folder)).toEqual([`${ID}/begun.json`]);
  });

  it('is not taken for the one that is asked for when it is made', async () => {
    await make();
    await expect(open().begin(ID, theirs)).rejects.toMatchObject({ kind: 'refused' });
    expect(await open().begin(ID, basisOf(ID))).toMatchObject({ id: ID, state: 'available' });
  });
});

describe('a snapshot whose removal was broken off', () => {
  /** As a process leaves it that dies after it has removed all but the last objects. */
  const breakOff = async (): Promise<void> => {
    await make();
    const objects = openObjects(folder);
    const inner = new Catalogue({
      objects: { ...wrapped(objects), remove: (key) => (key.endsWith('begun.json') ? dies() : objects.remove(key)) },
      key: null,
      plan: 'shop',
      kind: 'pg_dump',
    });
    await expect(inner.remove(ID)).rejects.toThrow('died');
  };

  it('says whose it is, and is gone on with', async () => {
    await breakOff();
    const owner = { plan: 'shop', identity: 'identity-1', run: 'run-1' };
    expect(await open().list()).toMatchObject([{ id: ID, state: 'deleting', manifest: null, owner }]);
    await open().remove(ID);
    expect(await keysOf(folder)).toEqual([]);
  });

  it('is left alone by another plan', async () => {
    await breakOff();
    await expect(open({ plan: 'other' }).remove(ID)).rejects.toMatchObject({ kind: 'refused' });
    expect(await keysOf(folder)).toEqual([`${ID}/begun.json`, `${ID}/removing.json`]);
  });
});
