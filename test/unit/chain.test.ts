import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CHAINED, type ChainedFields, hashEntry } from '../../src/sidecar/chain.ts';

const fields = (own: Partial<ChainedFields> = {}): ChainedFields => ({
  at: '2026-01-31T23:59:59.123456Z',
  epoch: '3',
  scope: 'cutover-3',
  phases: 'a,b',
  step: 'fence',
  status: 'begun',
  detail: null,
  ms: null,
  ...own,
});

const field = fc.option(fc.string({ unit: fc.constantFrom('a', ':', ',', '-', '1', 'é', '"') }), { nil: null });
const lines = fc.tuple(fc.string(), fc.record(Object.fromEntries(CHAINED.map((name) => [name, field]))));

describe("an entry's hash", () => {
  // Computed by hand with sha256sum over the netstrings, so that a change of the encoding is seen: old chains must verify.
  test('is the one that it has always been', () => {
    expect(hashEntry('run', fields({ detail: 'é' }))).toBe(
      'c70aaa997a6f6b444b3e06e6b961d010c5401a0c849c016b50a4880e5b59adda',
    );
  });

  test('depends on each field, on null or empty, and on the previous hash', () => {
    const hashes = CHAINED.flatMap((name) =>
      ['', 'x', null].map((value) => hashEntry('run', fields({ [name]: value }))),
    );
    const own = new Set([...hashes, hashEntry('run', fields()), hashEntry('other', fields())]);
    // `detail` and `ms` are null already.
    expect(own.size).toBe(CHAINED.length * 3 + 2 - 2);
  });

  test('is equal for equal entries only, wherever their fields end', () => {
    fc.assert(
      fc.property(lines, lines, (a, b) => {
        const [one, other] = [a, b].map(([previous, entry]) => hashEntry(previous, entry as ChainedFields));
        expect(one === other).toBe(JSON.stringify(a) === JSON.stringify(b));
      }),
    );
  });

  test('tells text that moved from one field to the next', () => {
    expect(hashEntry('r', fields({ scope: 'a', phases: 'bc' }))).not.toBe(
      hashEntry('r', fields({ scope: 'ab', phases: 'c' })),
    );
  });
});
