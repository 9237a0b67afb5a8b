import { describe, expect, test } from 'vitest';
import { fitConstants } from '../../scripts/bench/fit/least-squares.ts';
import {
  estimateCatchUp,
  estimateMemory,
  estimatePhase,
  estimateWindow,
  stageMs,
} from '../../src/stages/estimate/estimate.ts';
import { FIT } from '../../src/stages/estimate/fit.ts';
import { compareEstimates } from '../../src/stages/report-estimates.ts';

describe('the model', () => {
  test('a stage is the sum of what phase, tables, rows and bytes take', () => {
    const cost = { msPerPhase: 10, msPerTable: 3, msPerMillionRows: 500, msPerGigabyte: 2_000 };
    expect(stageMs(cost, { tables: 4, rows: 2e6, bytes: 5e8 })).toBe(10 + 12 + 1_000 + 1_000);
  });

  test('nothing takes less for being larger', () => {
    const small = estimatePhase({ tables: 1, rows: 1e6, bytes: 1e8 });
    const large = estimatePhase({ tables: 10, rows: 1e7, bytes: 1e9 });
    for (const stage of ['prepare', 'copy', 'build', 'verify'] as const) {
      expect(large[stage]).toBeGreaterThanOrEqual(small[stage]);
    }
    expect(estimateMemory(200)).toBeGreaterThanOrEqual(estimateMemory(1));
    expect(estimateWindow({ tables: 1_000, lanes: 200 })).toBeGreaterThanOrEqual(
      estimateWindow({ tables: 1, lanes: 1 }),
    );
  });

  const applied = FIT.apply.changesPerSecond;

  test('at half the apply rate catching up takes as long as the copy did', () => {
    const caught = estimateCatchUp({ copyMs: 60_000, changesPerSecond: applied / 2 });
    expect(caught.ms).toBeCloseTo(60_000);
    expect(caught.backlog).toBeCloseTo((applied / 2) * 60);
    // The log of both: of the copy, and of the time it took to catch up.
    expect(caught.walBytes).toBeCloseTo((applied / 2) * 120 * FIT.apply.walBytesPerChange);
  });

  test('at the apply rate and beyond it never ends, and neither does the log', () => {
    for (const changesPerSecond of [applied, applied * 1.5]) {
      expect(estimateCatchUp({ copyMs: 1_000, changesPerSecond })).toMatchObject({ ms: null, walBytes: null });
    }
  });

  test('an idle source has nothing to catch up with', () => {
    expect(estimateCatchUp({ copyMs: 1_000, changesPerSecond: 0 })).toEqual({ ms: 0, backlog: 0, walBytes: 0 });
  });
});

describe('the fit', () => {
  const sizes = [1, 2, 4, 8];

  test('finds the constants that measurements were made with', () => {
    const observations = sizes.flatMap((tables) =>
      sizes.map((rows) => ({ inputs: [1, tables, rows * 1e6], outcome: 40 + 7 * tables + rows * 900 })),
    );
    const { constants, residuals } = fitConstants(observations);
    expect(constants[0]).toBeCloseTo(40, 3);
    expect(constants[1]).toBeCloseTo(7, 3);
    expect((constants[2] ?? 0) * 1e6).toBeCloseTo(900, 3);
    for (const residual of residuals) expect(Math.abs(residual)).toBeLessThan(0.01);
  });

  test('a constant that would be negative is zero, and the rest fits without it', () => {
    const observations = sizes.map((n) => ({ inputs: [1, n], outcome: 10 * n - 5 }));
    const { constants } = fitConstants(observations);
    expect(constants[0]).toBe(0);
    expect(constants[1]).toBeGreaterThan(5);
  });

  test('an input that is always zero has no constant', () => {
    expect(fitConstants(sizes.map((n) => ({ inputs: [0, n], outcome: 3 * n }))).constants[0]).toBe(0);
  });
});

describe('estimate and outcome', () => {
  test('steps are added up by stage; a stage without a step that succeeded has no outcome', () => {
    const times = [
      { phase: 'a', scope: 'prepare', step: 'checks', ms: 100 },
      { phase: 'a', scope: 'prepare', step: 'slot', ms: 50 },
      { phase: 'a', scope: 'copy', step: 'rows', ms: 900 },
      { phase: 'a', scope: 'copy', step: 'keys', ms: 30 },
      { phase: 'a', scope: 'copy', step: 'catch up', ms: 70 },
      { phase: 'a', scope: 'copy', step: 'indexes', ms: 20 },
      { phase: 'a,b', scope: 'prepare', step: 'checks', ms: 7 },
    ];
    const estimates = { a: { prepare: 140, copy: 800, build: 60, verify: 500 } };
    const phases = [
      { name: 'a', verifiedSeconds: 0.4 },
      { name: 'b', verifiedSeconds: null },
    ];
    const [a, b] = compareEstimates(phases, { estimates, times });
    expect(a?.stages.map(({ stage, estimatedMs, actualMs }) => [stage, estimatedMs, actualMs])).toEqual([
      ['prepare', 140, 150],
      ['copy', 800, 900],
      ['build', 60, 50],
      ['catch up', null, 70],
      ['verify', 500, 400],
    ]);
    expect(b?.stages.every(({ estimatedMs, actualMs }) => estimatedMs === null && actualMs === null)).toBe(true);
  });
});
