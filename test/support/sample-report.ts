import type { StepStatus } from '../../src/domain/event.ts';
import type { PhaseState } from '../../src/domain/phase.ts';
import type { Direction, Position, Side } from '../../src/domain/position.ts';
import type { Report, ReportLag, ReportPhase } from '../../src/stages/report-data.ts';
import { type ReportSwitch, reportSwitch } from '../../src/stages/report-switches.ts';
import type { ObservedRoute } from '../../src/stages/routes.ts';
import type { JournalLine } from '../../src/stages/status.ts';

/** Where the made-up run begins. */
const BEGIN_MS = Date.parse('2026-11-22T14:00:00.000Z');

/** An ISO time some milliseconds after the run's begin. */
export const isoAt = (ms: number): string => new Date(BEGIN_MS + ms).toISOString();

const position = (text: string): Position => text as Position;

/** A journal written by hand: each call of `step` adds an intent and, unless it never ended, its outcome. */
export class SampleJournal {
  readonly lines: JournalLine[] = [];
  nowMs = 0;

  line(
    scope: string,
    line: { step: string; status: StepStatus; ms?: number; detail?: string; phases?: readonly string[] },
  ): void {
    this.lines.push({
      id: String(this.lines.length + 1),
      at: isoAt(this.nowMs),
      epoch: '3',
      scope,
      phases: line.phases ?? ['orders'],
      step: line.step,
      status: line.status,
      detail: line.detail ?? null,
      ms: line.ms ?? null,
    });
  }

  step(
    scope: string,
    step: string,
    outcome: { ms: number; status?: StepStatus; detail?: string; phases?: readonly string[] },
  ): void {
    const { ms, status = 'done', ...rest } = outcome;
    this.line(scope, { step, status: 'begun', ...(rest.phases ? { phases: rest.phases } : {}) });
    this.nowMs += ms;
    this.line(scope, { step, status, ms, ...rest });
    this.nowMs += 2;
  }

  of(scope: string): readonly JournalLine[] {
    return this.lines.filter((line) => line.scope === scope);
  }
}

const WINDOW: readonly (readonly [step: string, ms: number, detail?: string])[] = [
  ['hold', 6],
  ['fence', 31, '8 tables on the source'],
  ['position', 3, '0/5A1F3C8'],
  ['drain', 118],
  ['prove', 64, '412 changed keys equal on both sides'],
  ['sequences', 9, '6 sequences'],
  ['way back', 87, 'from 0/1B22F40 on the target; a marker has travelled back'],
  ['commit', 5],
  ['lift', 8],
  ['repoint', 12],
  ['release', 4],
  ['retire', 22],
];

/** Writes the lines of a switch that committed. */
export const journalSwitch = (journal: SampleJournal, id: string, phases: readonly string[] = ['orders']): void => {
  journal.step(id, 'checks', { ms: 2_340, phases });
  for (const [step, ms, detail] of WINDOW)
    journal.step(id, step, { ms, phases, ...(detail === undefined ? {} : { detail }) });
};

/** Writes the lines of a switch whose fence could not be had. */
export const journalAbort = (journal: SampleJournal, id: string): void => {
  journal.step(id, 'checks', { ms: 1_980 });
  journal.step(id, 'hold', { ms: 7 });
  journal.step(id, 'fence', { ms: 5_006, status: 'failed', detail: BLOCKED });
  journal.step(id, 'undo fence', { ms: 14 });
  journal.step(id, 'undo hold', { ms: 4 });
  journal.step(id, 'undo way back', { ms: 19 });
};

const BLOCKED =
  'the window of 5000 ms has run out waiting for pid 41207 (shop, nightly-export, 812.4 s): SELECT * FROM public.orders FOR UPDATE';

/** A switch with its steps from a journal. */
export const sampleSwitch = (journal: SampleJournal, id: string, outcome: ReportSwitch['outcome']): ReportSwitch => {
  const lines = journal.of(id);
  const direction: Direction = id.startsWith('failback') ? 'reverse' : 'forward';
  return reportSwitch(
    {
      id,
      direction,
      phases: lines[0]?.phases ?? [],
      outcome,
      at: lines.find(({ step }) => step === 'hold')?.at ?? isoAt(0),
      epoch: '3',
      fencedAt: outcome === 'committed' ? position('0/5A1F3C8') : null,
      reverseFrom: outcome === 'committed' ? position('0/1B22F40') : null,
    },
    lines,
  );
};

/** Lag that falls from a long catch-up to a steady level with a spike now and then. */
export const sampleLag = (
  lane: string,
  options: { from: number; count: number; everyMs?: number; catchUpMs?: number },
): ReportLag => ({
  lane,
  samples: Array.from({ length: options.count }, (_, index) => {
    const settled = 35 + ((index * 7_919) % 53) + (index % 97 === 96 ? 900 : 0);
    const behind = (options.catchUpMs ?? 0) * Math.exp(-index / 12);
    return {
      at: isoAt(options.from + index * (options.everyMs ?? 5_000)),
      ms: Math.round(settled + behind),
      changes: index * 800,
    };
  }),
});

/** A phase in a state, on the side that the state says. */
export const samplePhase = (name: string, state: PhaseState, tables: readonly string[]): ReportPhase => {
  const onTarget = state.name === 'soaking' || state.name === 'finalised';
  const direction = onTarget ? 'reverse' : 'forward';
  const rows = tables.map((table, index) => ({
    table,
    rows: 1_204 * (index * index * 57 + 1),
    digest: String(9_007_199_254_740_991n * BigInt(index * 31 + 17)),
  }));
  const total = rows.reduce((sum, row) => sum + row.rows, 0);
  return {
    name,
    state,
    source: { role: onTarget ? 'replica' : 'primary', fenced: onTarget },
    target: { role: onTarget ? 'primary' : 'replica', fenced: !onTarget },
    lane: {
      name: `${name}/${direction}`,
      direction,
      slot: `switchback_${name}_1a2b_r_cutover_1`,
      position: position('0/1C04A98'),
      strictFrom: position('0/1B22F40'),
      lagMs: 42,
      lagAgeMs: 1_200,
      halt: null,
    },
    readers: null,
    proof: [],
    stuck: null,
    copied: { rows: total, bytes: total * 182 },
    certificate: {
      id: 'c-5e0f19aa',
      at: isoAt(300_000),
      ageMs: 1_260_000,
      tables: rows.length,
      rows: total,
      clean: true,
    },
    certified: {
      id: 'c-5e0f19aa',
      phase: name,
      direction: 'forward',
      tables: rows,
      position: position('0/5A00148'),
      clean: true,
      seconds: 8.412,
    },
    next: [
      'switchback run shop.yaml',
      `switchback failback shop.yaml ${name} --confirm ${name}`,
      `switchback finalise shop.yaml ${name} --confirm ${name}`,
    ],
  };
};

const sampleRoute = (phase: string, router: string, primary: Side = 'target'): ObservedRoute => ({
  phase,
  router,
  led: 'writers',
  label: `${phase} (${router})`,
  primary,
  held: false,
  due: 'target',
  trouble: primary === 'target' ? null : { fact: `leads to the ${primary}`, remedy: 'lead it to the target' },
});

/** A run of which nothing has happened. */
export const emptyReport: Report = {
  generatedAt: isoAt(0),
  answeredBy: 'source',
  sourceError: null,
  mirroredAt: null,
  run: { id: '8f3a90c1', name: 'shop-13-to-18', planHash: 'b7c1'.repeat(16), createdAt: isoAt(-60_000) },
  servers: { source: 'PostgreSQL 13.23', target: 'PostgreSQL 18.4' },
  worker: null,
  phases: [],
  unended: null,
  snapshots: null,
  routes: [],
  switches: [],
  halts: [],
  findings: [],
  findingsError: null,
  journal: { complete: true, lines: [] },
  lag: [],
  outcomes: [],
};

const SHOP = [
  'customers',
  'addresses',
  'orders',
  'order_lines_2025',
  'order_lines_2026',
  'payments',
  'shipments',
  'returns',
];

/** A run with two phases, a cutover that was undone, a failback, and a cutover again. */
export const sampleReport = (): Report => {
  const journal = new SampleJournal();
  for (const [step, ms] of [
    ['schema', 812],
    ['fence target', 64],
    ['defer indexes', 118],
    ['publish', 33],
    ['slot', 91],
  ] as const) {
    journal.step('prepare', step, { ms });
  }
  journal.step('copy', 'rows', { ms: 182_000 });
  journal.step('copy', 'indexes', { ms: 41_000, detail: '23 built' });
  journal.nowMs = 420_000;
  journalSwitch(journal, 'cutover-1', ['catalog']);
  journal.nowMs = 600_000;
  journalAbort(journal, 'cutover-2');
  journal.nowMs = 780_000;
  journalSwitch(journal, 'cutover-3');
  journal.nowMs = 1_260_000;
  journalSwitch(journal, 'failback-4');
  journal.nowMs = 1_500_000;
  journalSwitch(journal, 'cutover-5');
  return {
    ...emptyReport,
    generatedAt: isoAt(1_860_000),
    worker: { holder: '3fd01c22', host: 'ops-2', epoch: '8', alive: true },
    phases: [
      samplePhase('catalog', { name: 'soaking', since: isoAt(422_700), switchId: 'cutover-1' }, [
        'public.product',
        'public.category',
      ]),
      samplePhase(
        'orders',
        { name: 'soaking', since: isoAt(1_502_700), switchId: 'cutover-5' },
        SHOP.map((name) => `public.${name}`),
      ),
    ],
    snapshots: {
      newest: { id: 'shop-20261127-020304-0a1b', reason: 'while soaking', ageMs: 7_200_000 },
      unfinished: { id: 'shop-20261127-140000-4d2e', askedMs: 60_000, detail: 'the store did not answer' },
      drill: {
        snapshot: 'shop-20261127-020304-0a1b',
        by: 'mo@ops-2',
        at: isoAt(1_200_000),
        ageMs: 660_000,
        passed: false,
        problems: ['public.orders is not there'],
      },
      restoreMs: 184_000,
    },
    routes: [sampleRoute('catalog', 'app'), sampleRoute('orders', 'pooler'), sampleRoute('orders', 'dns', 'source')],
    switches: [
      sampleSwitch(journal, 'cutover-1', 'committed'),
      sampleSwitch(journal, 'cutover-2', 'aborted'),
      sampleSwitch(journal, 'cutover-3', 'committed'),
      sampleSwitch(journal, 'failback-4', 'committed'),
      sampleSwitch(journal, 'cutover-5', 'committed'),
    ],
    findings: [
      {
        id: 'table/no-identity',
        severity: 'warns',
        subject: 'public.returns',
        fact: 'has no primary key; its replica identity is FULL, so every change carries and compares whole rows',
        remedy: 'ALTER TABLE public.returns ADD PRIMARY KEY (…), or accept that applying its changes is slower',
      },
    ],
    journal: { complete: true, lines: journal.lines },
    outcomes: [
      {
        phase: 'orders',
        stages: [
          { stage: 'prepare', estimatedMs: 900, actualMs: 1_027 },
          { stage: 'copy', estimatedMs: 400_000, actualMs: 431_000 },
          { stage: 'build', estimatedMs: 90_000, actualMs: null },
          { stage: 'catch up', estimatedMs: null, actualMs: 12_000 },
          { stage: 'verify', estimatedMs: 60_000, actualMs: 41_000 },
        ],
      },
    ],
    lag: [
      sampleLag('catalog/forward', { from: 190_000, count: 46, catchUpMs: 4_000 }),
      sampleLag('catalog/reverse', { from: 424_000, count: 287 }),
      {
        lane: 'orders/forward',
        samples: [
          ...sampleLag('', { from: 230_000, count: 110, catchUpMs: 190_000 }).samples,
          ...sampleLag('', { from: 1_264_000, count: 47, catchUpMs: 300 }).samples,
        ],
      },
      {
        lane: 'orders/reverse',
        samples: [
          ...sampleLag('', { from: 784_000, count: 95 }).samples,
          ...sampleLag('', { from: 1_504_000, count: 71 }).samples,
        ],
      },
    ],
  };
};
