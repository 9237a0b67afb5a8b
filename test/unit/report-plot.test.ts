import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { downsample, lagPlot, PLOT_POINTS, type PlotPoint, scaleOf, stepBar } from '../../src/cli/report-plot.ts';
import { isoAt } from '../support/sample-report.ts';

const every5s = (count: number, ms: (index: number) => number): PlotPoint[] =>
  Array.from({ length: count }, (_, index) => ({ t: index * 5_000, ms: ms(index) }));

const pathOf = (points: readonly PlotPoint[]): string => / d="([^"]*)"/.exec(lagPlot(points, []).toString())?.[1] ?? '';

describe('the lag plot', () => {
  it('keeps the greatest and the least of everything when it thins out', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4_000_000), { minLength: 1, maxLength: 3_000 }), (values) => {
        const points = every5s(values.length, (index) => values[index] ?? 0);
        const thin = downsample(points);
        expect(thin.length).toBeLessThanOrEqual(PLOT_POINTS);
        expect(Math.max(...thin.map(({ ms }) => ms))).toBe(Math.max(...values));
        expect(Math.min(...thin.map(({ ms }) => ms))).toBe(Math.min(...values));
        expect(thin.every(({ t }, index) => index === 0 || t > (thin[index - 1]?.t ?? 0))).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('breaks the line where nothing was measured, also after thinning out', () => {
    const before = every5s(5_000, () => 40);
    const after = before.map(({ t, ms }) => ({ t: t + 30_000_000, ms }));
    expect(pathOf(before).match(/M/g)).toHaveLength(1);
    expect(pathOf([...before, ...after]).match(/M/g)).toHaveLength(2);
  });

  it('draws a single sample, equal ones and none of a millisecond within its frame', () => {
    for (const points of [[{ t: 0, ms: 0 }], every5s(3, () => 7), every5s(3, () => 10), every5s(2, () => 1e12)]) {
      const ys = [...pathOf(points).matchAll(/[ML][\d.-]+ ([\d.-]+)/g)].map((match) => Number(match[1]));
      expect(ys.length).toBeGreaterThan(0);
      expect(ys.every((y) => y >= 0 && y <= 140)).toBe(true);
    }
  });

  it('marks the switches near its samples and no others', () => {
    const one = {
      direction: 'forward',
      phases: ['a'],
      outcome: null,
      epoch: '1',
      fencedAt: null,
      reverseFrom: null,
      windowMs: null,
      steps: [],
    } as const;
    const points = every5s(100, () => 40).map(({ t, ms }) => ({ t: t + Date.parse(isoAt(0)), ms }));
    const plot = lagPlot(points, [
      { ...one, id: 'cutover-1', at: isoAt(502_000) },
      { ...one, id: 'failback-2', at: isoAt(5_000_000) },
    ]).toString();
    expect(plot).toContain('>cutover-1<');
    expect(plot).not.toContain('failback-2');
  });
});

describe('the bars of steps', () => {
  it('stay within their scale, and the shortest can be seen', () => {
    const step = (at: number, ms: number | null) => ({
      step: 's',
      status: 'done' as const,
      at: isoAt(at),
      ms,
      detail: null,
    });
    const steps = [step(0, 0), step(10, 90_000), step(90_010, 1), step(90_011, null)];
    const scale = scaleOf(steps);
    expect(scale.toMs - scale.fromMs).toBe(90_011);
    for (const one of steps) {
      const [, x, width] = /x="([\d.]+)%" width="([\d.]+)%"/.exec(stepBar(one, scale).toString()) ?? [];
      expect(Number(width)).toBeGreaterThan(0.3);
      expect(Number(x) + Number(width)).toBeLessThanOrEqual(100.01);
    }
  });
});
