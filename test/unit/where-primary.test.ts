import { describe, expect, it } from 'vitest';
import type { Ownership } from '../../src/sidecar/ownership.ts';
import { type Said, wherePrimary } from '../../src/stages/snapshots/where-primary.ts';

const row = (phase: string, role: Ownership['role'], fenced: boolean): Ownership => ({
  phase,
  role,
  fenced,
  epoch: 7n,
  since: '',
  by: 'a worker',
});
const says = (...ownership: readonly Ownership[]): Said => ({ ownership, isInRun: true, trouble: null });
/** What a database without a sidecar says. */
const NOTHING: Said = { ownership: [], isInRun: false, trouble: null };
const SILENT: Said = { ownership: [], isInRun: false, trouble: 'connection refused' };

describe('which side the loss is stated against', () => {
  it.each([
    ['before the cutover', says(row('a', 'primary', false)), says(row('a', 'replica', true)), 'source'],
    ['while soaking', says(row('a', 'replica', true)), says(row('a', 'primary', false)), 'target'],
    ['while soaking, the source lost', SILENT, says(row('a', 'primary', false)), 'target'],
    ['before the cutover, the target lost', says(row('a', 'primary', false)), SILENT, 'source'],
    ['with a planned phase', says(), NOTHING, 'source'],
  ])('%s', (_, source, target, side) => {
    expect(wherePrimary(['a'], { source, target })).toEqual({ side });
  });

  it.each([
    ['while soaking, the target silent', says(row('a', 'replica', true)), SILENT, 'does not answer and may be'],
    ['when the run has ended', says(row('a', 'replica', true)), NOTHING, 'has no record of phase a and may be'],
    ['when both records are gone', NOTHING, NOTHING, 'has no record of phase a and may be'],
    ['when both are silent', SILENT, SILENT, 'does not answer and may be'],
    ['within a failback', says(row('a', 'replica', true)), says(row('a', 'primary', true)), 'has not ended'],
    ['within a cutover', says(row('a', 'replica', true)), says(row('a', 'replica', true)), 'has not ended'],
  ])('is none %s', (_, source, target, why) => {
    expect(wherePrimary(['a'], { source, target })).toEqual({ untold: expect.stringContaining(why) });
  });

  it('is none when phases are on both', () => {
    const source = says(row('a', 'primary', false), row('b', 'replica', true));
    const target = says(row('a', 'replica', true), row('b', 'primary', false));
    expect(wherePrimary(['a', 'b'], { source, target })).toEqual({ untold: expect.stringContaining('on both sides') });
  });
});
