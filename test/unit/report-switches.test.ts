import { describe, expect, it } from 'vitest';
import { reportSwitch, type SwitchFacts } from '../../src/stages/report-switches.ts';
import { isoAt, journalAbort, journalSwitch, SampleJournal } from '../support/sample-report.ts';

const facts: SwitchFacts = {
  id: 'cutover-1',
  direction: 'forward',
  phases: ['orders'],
  outcome: 'committed',
  at: isoAt(0),
  epoch: '3',
  fencedAt: null,
  reverseFrom: null,
};

const stepsOf = (journal: SampleJournal) => reportSwitch(facts, journal.lines).steps;

describe('the steps of a switch, from its journal', () => {
  it('pairs intents with outcomes and measures the window from the hold to the release', () => {
    const journal = new SampleJournal();
    journalSwitch(journal, 'cutover-1');
    const one = reportSwitch(facts, journal.lines);
    expect(one.steps.map(({ step }) => step)).toEqual([
      'checks',
      'hold',
      'fence',
      'position',
      'drain',
      'prove',
      'sequences',
      'way back',
      'commit',
      'lift',
      'repoint',
      'release',
      'retire',
    ]);
    expect(one.steps[4]).toEqual({ step: 'drain', status: 'done', at: isoAt(2_388), ms: 118, detail: null });
    // 347 ms of steps and 2 ms between two of them; `retire` is after the clients have gone on.
    expect(one.windowMs).toBe(347 + 10 * 2);
  });

  it('ends the window of an aborted switch where its hold is undone', () => {
    const journal = new SampleJournal();
    journalAbort(journal, 'cutover-1');
    const one = reportSwitch({ ...facts, outcome: 'aborted' }, journal.lines);
    expect(one.windowMs).toBe(7 + 5_006 + 14 + 4 + 3 * 2);
    expect(one.steps.find(({ step }) => step === 'fence')).toMatchObject({ status: 'failed', ms: 5_006 });
  });

  it('leaves out earlier checks that were refused under the same name', () => {
    const journal = new SampleJournal();
    journal.step('cutover-1', 'checks', { ms: 10, status: 'failed', detail: 'lane orders/forward is behind' });
    journal.step('cutover-1', 'checks', { ms: 20, status: 'failed', detail: 'again' });
    const second = journal.nowMs;
    journalSwitch(journal, 'cutover-1');
    expect(stepsOf(journal).filter(({ step }) => step === 'checks')).toEqual([
      { step: 'checks', status: 'done', at: isoAt(second), ms: 2_340, detail: null },
    ]);
  });

  it('keeps a step without an outcome, and the one that another worker repeats it with', () => {
    const journal = new SampleJournal();
    journal.line('cutover-1', { step: 'hold', status: 'begun' });
    journal.line('cutover-1', { step: 'lift', status: 'begun' });
    journal.nowMs = 60_000;
    journal.step('cutover-1', 'lift', { ms: 9 });
    expect(stepsOf(journal)).toMatchObject([
      { step: 'hold', status: 'begun', ms: null },
      { step: 'lift', status: 'begun', ms: null },
      { step: 'lift', status: 'done', ms: 9, at: isoAt(60_000) },
    ]);
  });

  it('has no window while clients are still held, and none when they never were', () => {
    const journal = new SampleJournal();
    expect(reportSwitch(facts, journal.lines)).toMatchObject({ windowMs: null, steps: [] });
    journal.step('cutover-1', 'checks', { ms: 10 });
    journal.step('cutover-1', 'hold', { ms: 10 });
    expect(reportSwitch(facts, journal.lines).windowMs).toBeNull();
  });

  it('keeps an outcome whose intent was cut off', () => {
    const journal = new SampleJournal();
    journal.line('cutover-1', { step: 'drain', status: 'done', ms: 5 });
    expect(stepsOf(journal)).toMatchObject([{ step: 'drain', status: 'done', ms: 5 }]);
  });
});
