import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type Look,
  lookProblem,
  plantInRouting,
  type RoutingEnd,
  routingProblems,
} from '../../scripts/chaos/checkers/routing.ts';
import { agreedRoute } from '../../scripts/chaos/route.ts';
import { FIRST_ACCOUNTS, FIRST_BALANCE } from '../../scripts/chaos/workloads.ts';

const looks: readonly Look[] = [
  { phase: 'lists', side: 'target', rows: 1, total: 0 },
  { phase: 'accounts', side: 'source', rows: FIRST_ACCOUNTS, total: FIRST_ACCOUNTS * FIRST_BALANCE },
];
const ends: readonly RoutingEnd[] = [
  {
    phase: 'lists',
    primary: 'target',
    writers: [
      { router: 'app', side: 'target', held: false },
      { router: 'other', side: 'target', held: false },
    ],
    readers: { side: 'source', to: null, isDone: true },
  },
  {
    phase: 'accounts',
    primary: 'source',
    writers: [{ router: 'app', side: 'source', held: false }],
    readers: { side: 'target', to: 'target', isDone: true },
  },
];
const [lists, accounts] = ends as readonly [RoutingEnd, RoutingEnd];

describe('what readers find', () => {
  it('is all rows of whole transactions, on whichever side', () => {
    expect(looks.map(lookProblem)).toEqual([undefined, undefined]);
  });

  it('is reported when tables were emptied, rows are missing, or a transfer is there by half', () => {
    const [some, all] = looks as readonly [Look, Look];
    expect(lookProblem({ ...some, rows: 0 })).toBe('readers of lists are led to the target, where there are no rows');
    expect(lookProblem({ ...all, rows: 0, total: 0 })).toMatch(/^readers of accounts are led to the source, where/);
    expect(lookProblem({ ...all, rows: FIRST_ACCOUNTS - 1 })).toMatch(/where 11 accounts hold 12000$/);
    expect(lookProblem({ ...all, total: all.total + 5 })).toMatch(/where 12 accounts hold 12005$/);
  });
});

describe('where clients are led in the end', () => {
  it('is well when every router leads to the primary, and readers are where they were last moved', () => {
    expect(routingProblems(ends)).toEqual([]);
    expect(routingProblems([{ ...lists, readers: null }])).toEqual([]);
  });

  it('is reported router by router, readers too', () => {
    const second = (change: object): RoutingEnd => ({
      ...lists,
      writers: lists.writers.map((led, index) => (index === 1 ? { ...led, ...change } : led)),
    });
    expect(routingProblems([second({ side: 'source' })])).toEqual([
      'at the end router other leads lists to source, and the target is its primary',
    ]);
    expect(routingProblems([second({ held: true })])).toEqual(['at the end router other still holds lists']);
    expect(routingProblems([{ ...accounts, readers: { side: 'source', to: 'target', isDone: false } }])).toEqual([
      'at the end readers of accounts are led to source, and were to be on the target',
      'at the end the move of readers of accounts to the target has not ended',
    ]);
  });

  it('has controls that are all reported: of routers, of readers, and of what they saw', () => {
    const controls = plantInRouting(ends, looks);
    expect(controls).toHaveLength(11);
    expect(controls.filter(({ isReported }) => !isReported)).toEqual([]);
    const wrong = ends.map((end) => ({ ...end, primary: 'target' as const }));
    expect(plantInRouting(wrong, looks)).toEqual(controls);
    const one = ends.map((end) => ({ ...end, readers: null }));
    expect(plantInRouting(one, []).map(({ isReported }) => isReported)).toEqual([true, true, true, true]);
  });
});

describe('a route of several routers', () => {
  const directory = mkdtempSync(join(tmpdir(), 'switchback-chaos-routing-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const fileOf = (name: string, entry: object): string => {
    const path = join(directory, name);
    writeFileSync(path, JSON.stringify({ lists: entry }));
    return path;
  };

  it('is where all of them lead, held while one holds, and none in the middle of a repoint', () => {
    const first = fileOf('first.json', { primary: 'target', epoch: 3 });
    const held = fileOf('held.json', { primary: 'target', held: true, epoch: 3 });
    const late = fileOf('late.json', { primary: 'source', epoch: 2 });
    expect(agreedRoute([first], 'lists')).toMatchObject({ primary: 'target', held: false });
    expect(agreedRoute([first, held], 'lists')).toMatchObject({ primary: 'target', held: true });
    expect(agreedRoute([first, late], 'lists')).toBeUndefined();
    expect(agreedRoute([first, join(directory, 'none.json')], 'lists')).toBeUndefined();
  });
});
