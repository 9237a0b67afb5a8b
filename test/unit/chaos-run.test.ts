import { describe, expect, it } from 'vitest';
import { judge } from '../../scripts/chaos/checkers/judge.ts';
import { plantAll } from '../../scripts/chaos/checkers/plant.ts';
import { violationsIn } from '../../scripts/chaos/checkers/verdict.ts';
import { Deck } from '../../scripts/chaos/faults/deck.ts';
import { type Choose, Dice, STEPS, type World } from '../../scripts/chaos/faults/fault.ts';
import type { Operation, Told } from '../../scripts/chaos/history.ts';
import { FIRST_BALANCE } from '../../scripts/chaos/workloads.ts';
import { randomOf } from '../../src/demo/operations.ts';

const kind = (name: string, moments?: readonly ['hold']): Choose => {
  return () => ({
    kind: name,
    detail: '',
    lastsMs: 0,
    ...(moments ? { moments } : {}),
    inject: async () => undefined,
    heal: async () => undefined,
  });
};

describe('the deck', () => {
  const deal = (seed: number, cards: number) => {
    const deck = new Deck([kind('a'), kind('b'), kind('only at hold', ['hold'])], new Dice(randomOf(seed)));
    return Array.from({ length: cards }, () => {
      const { fault, moment } = deck.deal({} as World);
      return { kind: fault.kind, moment };
    });
  };

  it('deals the same cards for the same seed, and others for another', () => {
    expect(deal(7, 60)).toEqual(deal(7, 60));
    expect(deal(7, 60)).not.toEqual(deal(8, 60));
  });

  it('deals every kind before one of them again, every moment in time, and keeps to the moments of a kind', () => {
    const cards = deal(3, 60);
    for (let i = 0; i < cards.length; i += 3) {
      expect(new Set(cards.slice(i, i + 3).map((card) => card.kind)).size).toBe(3);
    }
    const moments = new Set(cards.map(({ moment }) => moment));
    expect([...moments].sort()).toEqual(['between', 'before', 'after', ...STEPS].sort());
    expect(cards.filter((card) => card.kind === 'only at hold' && card.moment !== 'hold')).toEqual([]);
  });
});

describe('negative controls', () => {
  const told = (op: number): Told => ({
    op,
    client: 1,
    outcome: 'acknowledged',
    invokedMs: op * 10,
    completedMs: op * 10 + 5,
    code: '',
    isCurrent: true,
  });
  const operations: readonly Operation[] = [
    { ...told(1), kind: 'append', key: 1 },
    { ...told(2), kind: 'append', key: 1 },
    { ...told(3), kind: 'read-list', key: 1, items: [1, 2] },
    { ...told(4), kind: 'insert' },
    { ...told(5), kind: 'transfer', from: 1, to: 2, amount: 5 },
    { ...told(6), kind: 'compare-and-set', key: 1, from: 0, isApplied: true },
    { ...told(7), kind: 'read-register', key: 1, version: 1, writer: 6 },
  ];
  const ends = {
    lists: new Map([[1, [1, 2]]]),
    ids: [4],
    bank: {
      balances: [FIRST_BALANCE - 5, FIRST_BALANCE + 5],
      transfers: [{ op: 5, from: 1, to: 2, amount: 5 }],
    },
    registers: [{ key: 1, version: 1, writer: 6 }],
  };

  it('are all reported in a history that is clean without them', () => {
    const verdicts = judge(operations, ends);
    expect(Object.values(verdicts).map(violationsIn)).toEqual([0, 0, 0, 0]);
    const controls = plantAll(operations, ends, verdicts);
    expect(controls.length).toBeGreaterThanOrEqual(15);
    expect(controls.filter(({ isReported }) => !isReported)).toEqual([]);
  });

  it('are not controls in a history that has no place for them', () => {
    const nothing = { ...ends, lists: new Map(), ids: [], bank: { balances: [], transfers: [] }, registers: [] };
    const controls = plantAll([], nothing, judge([], nothing));
    expect(controls.filter(({ isReported }) => !isReported).length).toBeGreaterThan(10);
  });
});
