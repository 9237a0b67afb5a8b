import { describe, expect, it } from 'vitest';
import { reportPage } from '../../src/cli/report-page.ts';
import type { Report } from '../../src/stages/report-data.ts';
import { reportSwitch } from '../../src/stages/report-switches.ts';
import { emptyReport, isoAt, SampleJournal, sampleLag, sampleReport } from '../support/sample-report.ts';

/** Without a space, because commands are marked up word by word. */
const HOSTILE = `"><img/src=x/onerror=alert(1)>'&amp;</style></details><script>alert(2)</script>`;

/** Fields whose values are ours alone: words of a closed set, and times. */
const OURS = new Set([
  'at',
  'primary',
  'due',
  'since',
  'generatedAt',
  'createdAt',
  'direction',
  'outcome',
  'status',
  'severity',
  'answeredBy',
  'role',
]);

/** The same report with something hostile at the end of every text that a database, a plan or a person could have chosen. */
const poisoned = (value: unknown, key = ''): unknown => {
  if (typeof value === 'string') return OURS.has(key) ? value : value + HOSTILE;
  if (Array.isArray(value)) return value.map((item) => poisoned(item, key));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, name === 'state' ? inner : poisoned(inner, name)]),
  );
};

/** What a browser would take for tags, without their attributes' values. */
const tagsOf = (page: string): readonly string[] =>
  (page.match(/<[!/a-z][^>]*>/gi) ?? []).map((tag) => tag.replace(/"[^"]*"/g, '""'));

describe('the page of a report', () => {
  it('is one file that needs nothing and runs nothing', () => {
    const page = reportPage(sampleReport());
    expect(page).toContain(
      `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    );
    expect(page).not.toMatch(/<script|<link|<img|\ssrc=|\shref=|url\(|@import|https?:|\son[a-z]+=/i);
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
  });

  it('shows where each router of a phase leads, and which of them is wrong', () => {
    const page = reportPage(sampleReport());
    expect(page).toContain('<dt>router pooler</dt><dd>leads to the target</dd>');
    expect(page).toContain(
      '<dt>router dns</dt><dd>leads to the source <span class="bad">leads to the source</span></dd>',
    );
  });

  it('says how old the newest snapshot is, what the last drill found and what restoring took', () => {
    const page = reportPage(sampleReport());
    expect(page).toContain('<li>snapshot  shop-20261127-020304-0a1b, 2.0 h old (while soaking)</li>');
    expect(page).toContain(
      'shop-20261127-140000-4d2e was begun 60.0 s ago and is not finished: the store did not answer',
    );
    expect(page).toContain('<li>drill     failed 11 min ago: public.orders is not there; restoring took 3 min</li>');
    expect(reportPage(emptyReport)).not.toContain('Snapshots');
  });

  it('has the same markup whatever the texts in it say', () => {
    const report = sampleReport();
    // Some names mean something to the page: which steps are before the commit record, which switch belongs to a lane.
    const switches = report.switches.map((one) => ({
      ...one,
      phases: ['none'],
      steps: one.steps.map((step) => ({ ...step, step: 'fence' })),
    }));
    const plain: Report = { ...report, switches };
    const page = reportPage(poisoned(plain) as Report);
    expect(tagsOf(page)).toEqual(tagsOf(reportPage(plain)));
    expect(page).not.toContain('<script');
    expect(page).not.toContain('<img');
    expect(page).toContain('public.orders&quot;&gt;&lt;img/src=x/onerror=alert(1)&gt;&#39;&amp;amp;&lt;/style&gt;');
  });

  it('escapes what stands in attributes', () => {
    const journal = new SampleJournal();
    journal.step('cutover-1', `hold" onload="alert(1)`, { ms: 5 });
    const one = reportSwitch({ ...facts, id: 'cutover-1' }, journal.lines);
    expect(reportPage({ ...emptyReport, switches: [one] })).toContain(
      'aria-label="hold&quot; onload=&quot;alert(1): 5 ms"',
    );
  });

  it('shows characters that would hide or reorder a name', () => {
    const finding = {
      id: 'table/x',
      severity: 'warns' as const,
      subject: 'public.a\u202eb\u0000c\u200bd\ud800e\u2028f',
      fact: 'two\nlines\tkept',
      remedy: '名前 café 😀',
    };
    const page = reportPage({ ...emptyReport, findings: [finding] });
    expect(page).toContain('public.a⟨U+202E⟩b⟨U+0000⟩c⟨U+200B⟩d⟨U+D800⟩e⟨U+2028⟩f');
    expect(page).toContain('two\nlines\tkept');
    expect(page).toContain('名前 café 😀');
  });

  it('says so when nothing has happened yet', () => {
    const page = reportPage(emptyReport);
    expect(page).toContain('The run has no phases yet.');
    expect(page).not.toMatch(/NaN|Infinity|undefined|null/);
    expect(page).not.toContain('<svg');
  });

  it('has no figure that is not one', () => {
    expect(reportPage(sampleReport())).not.toMatch(/NaN|Infinity|undefined|\bnull\b/);
  });

  it('tells what it had to leave out', () => {
    const report = sampleReport();
    const one = report.switches[0];
    const phase = report.phases[0];
    if (!one || !phase?.certified) throw new Error('the sample has both');
    const tables = Array.from({ length: 10_000 }, (_, n) => ({ table: `public.t${n}`, rows: n, digest: String(n) }));
    const page = reportPage({
      ...report,
      phases: [{ ...phase, certified: { ...phase.certified, tables } }],
      switches: Array.from({ length: 1_000 }, (_, n) => ({ ...one, id: `cutover-${n + 1}` })),
      findings: Array.from({ length: 700 }, (_, n) => ({
        id: 'a/b',
        severity: 'warns',
        subject: `s${n}`,
        fact: 'f',
        remedy: 'r',
      })),
      journal: { complete: false, lines: report.journal.lines },
    });
    expect(page).toContain('The other 9,500 tables are in the JSON.');
    expect(page).toContain('960 older ones are in the JSON.');
    expect(page).toContain('The other 200 are in the JSON.');
    expect(page).toContain('older ones are left out');
    expect(page).toContain('public.t499<');
    expect(page).not.toContain('public.t500<');
    expect(page).toContain('cutover-1000:');
  });

  it('compares what each stage was thought to take with what it took', () => {
    const page = reportPage(sampleReport());
    const cells = (stage: string) =>
      new RegExp(`<tr><td>orders</td><td>${stage}</td>(.*?)</tr>`).exec(page)?.[1]?.match(/(?<=>)[^<]+/g);
    expect(cells('copy')).toEqual(['7 min', '7 min', '1.08']);
    // What has not ended has no ratio, and neither has what cannot be estimated.
    expect(cells('build')).toEqual(['90.0 s', '–', '–']);
    expect(cells('catch up')).toEqual(['–', '12.0 s', '–']);
    expect(reportPage(emptyReport)).not.toContain('Estimate and outcome');
  });

  it('stays bounded for the longest journal and the longest lag', () => {
    const journal = new SampleJournal();
    for (let n = 0; n < 2_500; n++) {
      journal.step('cutover-1', 'lift', { ms: 3, status: 'failed', detail: `&${'<'.repeat(3_998)}&` });
    }
    const page = reportPage({
      ...emptyReport,
      switches: [reportSwitch({ ...facts, id: 'cutover-1' }, journal.lines)],
      journal: { complete: false, lines: journal.lines },
      lag: [sampleLag('orders/forward', { from: 0, count: 25_000 })],
    });
    expect(page).toContain('5,000 lines');
    expect(page).toContain('2440 more steps are in the JSON.');
    // Each character of these details becomes four or five: the worst case of 2,500 outcomes, and little besides.
    expect(page.length).toBeLessThan(2_500 * 4_000 * 5 + 2_000_000);
    expect(page.match(/[ML]\d/g)?.length).toBeLessThanOrEqual(600);
  });

  it('says that it is from the mirror, and offers no command that the source would have to carry out', () => {
    const report: Report = {
      ...sampleReport(),
      answeredBy: 'target',
      sourceError: 'the source cannot be reached: connect ECONNREFUSED',
      mirroredAt: isoAt(1_800_000),
      findingsError: 'the source does not answer: connect ECONNREFUSED',
    };
    const page = reportPage(report);
    expect(page).toContain('The source does not answer; this is what the target knew at 2026-11-22 14:30:00 UTC.');
    expect(page).toContain('Preflight could not look: the source does not answer');
    expect(page).not.toContain('what can be done now');
  });
});

const facts = {
  direction: 'forward',
  phases: ['orders'],
  outcome: 'committed',
  at: isoAt(0),
  epoch: '3',
  fencedAt: null,
  reverseFrom: null,
} as const;
