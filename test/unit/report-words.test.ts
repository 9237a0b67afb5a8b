import { describe, expect, it } from 'vitest';
import { pathsFor } from '../../src/cli/report.ts';
import { headline, spanText, timeText } from '../../src/cli/report-words.ts';
import type { Report } from '../../src/stages/report-data.ts';
import { emptyReport, isoAt, samplePhase, sampleReport } from '../support/sample-report.ts';

const soaking = { name: 'soaking', since: isoAt(0), switchId: 'cutover-1' } as const;
const worker = { holder: 'a', host: 'b', epoch: '1', alive: true };
const halt = {
  lane: 'orders/reverse',
  at: isoAt(0),
  finding: { id: 'a/b', severity: 'blocks', subject: 's', fact: 'f', remedy: 'r' },
} as const;

const said = (report: Partial<Report>): string =>
  Object.values(headline({ ...emptyReport, worker, ...report }))
    .filter((part) => part !== null)
    .join(' ');

describe('the headline', () => {
  it('groups phases by what is true of them', () => {
    const phases = [
      samplePhase('catalog', soaking, []),
      samplePhase('orders', { name: 'ready', since: isoAt(0), certificate: 'c' }, []),
      samplePhase('users', soaking, []),
    ];
    expect(said({ phases })).toBe(
      'Phases catalog and users are on the target, and the way back is open; phase orders is on the source, verified and ready to be cut over.',
    );
  });

  it('does not call a way back open that is halted', () => {
    const phase = samplePhase('orders', soaking, []);
    const lane = phase.lane && { ...phase.lane, halt };
    expect(said({ phases: [{ ...phase, lane }], halts: [halt] })).toBe(
      'Phase orders is on the target, and the way back is halted. Lane orders/reverse is halted.',
    );
  });

  it('tells a switch under way from one in doubt', () => {
    const [one] = sampleReport().switches;
    if (!one) throw new Error('the sample has switches');
    const report = {
      phases: [samplePhase('a', { name: 'switching', switchId: 'cutover-1', direction: 'forward' }, [])],
      switches: [{ ...one, outcome: null }],
    } as const;
    expect(said(report)).toBe('Phase a is in the middle of a switch. Switch cutover-1 is under way.');
    expect(said({ ...report, worker: null })).toBe(
      'Phase a is in the middle of a switch. Switch cutover-1 is in doubt.',
    );
  });

  it('says when nobody follows, except where nothing has to be followed', () => {
    expect(said({ phases: [samplePhase('a', soaking, [])], worker: null })).toMatch(
      /No worker was running when this was written/,
    );
    expect(said({ phases: [samplePhase('a', { name: 'finalised', at: isoAt(0) }, [])], worker: null })).toBe(
      'Phase a is on the target for good.',
    );
  });
});

describe('times', () => {
  it('are written without their zone, to the second or the millisecond', () => {
    expect(timeText('2026-11-22T14:02:11.123456Z')).toBe('2026-11-22 14:02:11');
    expect(timeText('2026-11-22T14:02:11.1Z', 'milliseconds')).toBe('2026-11-22 14:02:11.100');
    expect(timeText('2026-11-22T14:02:11Z', 'milliseconds')).toBe('2026-11-22 14:02:11.000');
    expect(spanText(isoAt(0), isoAt(60_000))).toBe('2026-11-22 14:00:00 to 14:01:00');
    expect(spanText(isoAt(0), isoAt(86_400_000))).toBe('2026-11-22 14:00:00 to 2026-11-23 14:00:00');
  });
});

describe('where a report goes', () => {
  it('is the working folder, a folder, or the page itself with the JSON next to it', () => {
    const here = process.cwd();
    expect(pathsFor('shop', undefined)).toEqual({ page: `${here}/shop-report.html`, json: `${here}/shop-report.json` });
    expect(pathsFor('shop', '/srv/reports')).toEqual({
      page: '/srv/reports/shop-report.html',
      json: '/srv/reports/shop-report.json',
    });
    expect(pathsFor('shop', '/srv/now.html')).toEqual({ page: '/srv/now.html', json: '/srv/now.json' });
    expect(() => pathsFor('shop', '')).toThrow('--out names nothing');
  });
});
