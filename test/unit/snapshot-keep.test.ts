import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { drillPlace, isIdOf, snapshotId } from '../../src/domain/snapshot-id.ts';
import { judge, type KeepCandidate } from '../../src/stages/snapshots/keep.ts';

const one = (id: string, at: string, more: Partial<KeepCandidate> = {}): KeepCandidate => ({
  id,
  at,
  state: 'available',
  isOurs: true,
  ...more,
});

const NONE = new Map<string, string>();
const kept = (...args: Parameters<typeof judge>) => judge(...args).flatMap(({ id, keeps }) => (keeps ? [id] : []));

// 2026-11-22 is a Sunday and 2026-11-23 a Monday: two days that follow each other, and two weeks.
const WEEK = [
  one('mon-b', '2026-11-23T23:59:59.999Z'),
  one('mon-a', '2026-11-23T00:00:00.000Z'),
  one('sun-b', '2026-11-22T23:59:59.999Z'),
  one('sun-a', '2026-11-22T01:00:00.000Z'),
  one('fri', '2026-11-20T12:00:00.000Z'),
  one('old', '2026-11-02T12:00:00.000Z'),
];

describe('which snapshots stay', () => {
  it.each([
    [{ last: 1, daily: 0, weekly: 0 }, ['mon-b']],
    [{ last: 3, daily: 0, weekly: 0 }, ['mon-b', 'mon-a', 'sun-b']],
    [{ last: 1, daily: 3, weekly: 0 }, ['mon-b', 'sun-b', 'fri']],
    [{ last: 1, daily: 0, weekly: 2 }, ['mon-b', 'sun-b']],
    [{ last: 1, daily: 0, weekly: 3 }, ['mon-b', 'sun-b', 'old']],
    [{ last: 9, daily: 9, weekly: 9 }, ['mon-b', 'mon-a', 'sun-b', 'sun-a', 'fri', 'old']],
  ])('by %j', (rules, expected) => {
    expect(kept(WEEK, rules, NONE)).toEqual(expected);
    // The order in which a store lists them means nothing.
    expect(new Set(kept(WEEK.toReversed(), rules, NONE))).toEqual(new Set(expected));
  });

  it('whatever the rules say: others, unfinished ones, the newest, and what a run refers to', () => {
    const all = [
      one('theirs', '2026-11-27T00:00:00Z', { isOurs: false }),
      one('half', '2026-11-26T00:00:00Z', { state: 'creating' }),
      one('broken', '2026-11-26T00:00:00Z', { state: 'failed' }),
      one('going', '2026-11-26T00:00:00Z', { state: 'deleting' }),
      one('their-going', '2026-11-26T00:00:00Z', { state: 'deleting', isOurs: false }),
      one('newest', '2026-11-25T00:00:00Z'),
      one('referred', '2026-11-02T00:00:00Z'),
      one('goes', '2026-11-01T00:00:00Z'),
    ];
    expect(judge(all, { last: 1, daily: 0, weekly: 0 }, new Map([['referred', 'it is being drilled']]))).toEqual([
      { id: 'theirs', keeps: true, why: 'not one of this plan and its database' },
      { id: 'half', keeps: true, why: 'creating, not available' },
      { id: 'broken', keeps: true, why: 'failed, not available' },
      { id: 'going', keeps: false, why: 'its removal was begun' },
      { id: 'their-going', keeps: true, why: 'not one of this plan and its database' },
      { id: 'newest', keeps: true, why: 'the newest' },
      { id: 'referred', keeps: true, why: 'it is being drilled' },
      { id: 'goes', keeps: false, why: 'no rule keeps it' },
    ]);
  });

  const candidates = fc.uniqueArray(
    fc.record({
      id: fc.string({ minLength: 1, maxLength: 4 }),
      at: fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }).map((date) => date.toISOString()),
      state: fc.constantFrom('available' as const, 'creating' as const, 'failed' as const, 'deleting' as const),
      isOurs: fc.boolean(),
    }),
    { selector: ({ id }) => id, maxLength: 30 },
  );
  const rules = fc.record({ last: fc.integer({ min: 1, max: 5 }), daily: fc.nat(5), weekly: fc.nat(5) });

  it('holds for any snapshots and rules: what may never go stays, no fewer than `last` are left, more rules keep more', () => {
    fc.assert(
      fc.property(candidates, rules, fc.nat(), (all, keep, pick) => {
        const referred = new Map(all.length === 0 ? [] : [[all[pick % all.length]?.id ?? '', 'a run']]);
        const stays = new Set(kept(all, keep, referred));
        const ours = all.filter(({ state, isOurs }) => state === 'available' && isOurs);
        const newest = Math.max(...ours.map(({ at }) => Date.parse(at)));
        const going = all.filter(({ state, isOurs }) => state === 'deleting' && isOurs);
        const untouched = all.filter((c) => !ours.includes(c) && !going.includes(c));
        expect(untouched.every(({ id }) => stays.has(id))).toBe(true);
        expect(going.some(({ id }) => stays.has(id))).toBe(false);
        expect([...referred.keys()].every((id) => stays.has(id) || going.some((c) => c.id === id))).toBe(true);
        expect(ours.length === 0 || ours.some((c) => Date.parse(c.at) === newest && stays.has(c.id))).toBe(true);
        expect(ours.filter(({ id }) => stays.has(id)).length).toBeGreaterThanOrEqual(Math.min(keep.last, ours.length));
        const more = new Set(kept(all, { ...keep, daily: keep.daily + 1, weekly: keep.weekly + 1 }, referred));
        expect([...stays].every((id) => more.has(id))).toBe(true);
        // What is left after a prune stays in the next one.
        const left = all.filter(({ id }) => stays.has(id));
        expect(new Set(kept(left, keep, referred))).toEqual(stays);
      }),
    );
  });
});

describe('the id of a snapshot', () => {
  const at = new Date('2026-03-04T05:06:07.999Z');

  it.each([
    ['shop', 'shop-20260304-050607-0a1b'],
    ['shop_13--to_-18-', 'shop-13-to-18-20260304-050607-0a1b'],
  ])('of plan %s is an identifier of RDS', (plan, id) => {
    expect(snapshotId({ plan, at, random: '0a1b' })).toBe(id);
    expect(isIdOf(plan, id)).toBe(true);
    expect(isIdOf('other', id)).toBe(false);
    expect(isIdOf(plan, `${id}-x`)).toBe(false);
  });

  it('is one for every plan that there can be, and so is the name of its drill', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z][a-z0-9_-]{0,29}$/), (plan) => {
        const id = snapshotId({ plan, at, random: 'ffff' });
        for (const name of [id, drillPlace(id)]) expect(name).toMatch(/^[a-z](-?[a-z0-9]){0,62}$/);
        expect(isIdOf(plan, id)).toBe(true);
      }),
    );
  });
});
