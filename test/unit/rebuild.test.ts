import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import type { PhaseState, PhaseStateName } from '../../src/domain/phase.ts';
import type { Position, Side } from '../../src/domain/position.ts';
import { conclude, strandedReaders } from '../../src/stages/rebuild/conclude.ts';
import type { Conclusion } from '../../src/stages/rebuild/conclusion.ts';
import type { PhaseEvidence, SideEvidence } from '../../src/stages/rebuild/evidence.ts';
import { isRightlyOpen } from '../../src/stages/rebuild/primary.ts';

/**
 * The rules of a rebuild, tried in two ways. First against the truth: every point of a phase's life is written down with what
 * both databases hold there and which of them has every acknowledged write; parts of that are taken away, in every
 * combination; what is concluded from the rest must agree with the truth or be left to a person. Then without any truth: all
 * combinations of what decides, possible or not, and random ones of everything else, must leave at most one side writable.
 */

type Row = SideEvidence['ownership'];
const PRIMARY: Row = { role: 'primary', fenced: false };
const PRIMARY_FENCED: Row = { role: 'primary', fenced: true };
const REPLICA: Row = { role: 'replica', fenced: true };
const REPLICA_OPEN: Row = { role: 'replica', fenced: false };

const at = (text: string) => text as Position;
const slot = (name: string, damage: string | null = null) => ({ name, damage, confirmed: at('0/10') });
const PROGRESS = { position: at('0/20'), strictFrom: at('0/15'), marker: 3n };
const COPYING = { position: at('0/20'), strictFrom: null, marker: 3n };

const stateOf = (name: PhaseStateName, direction: 'forward' | 'reverse' = 'forward'): PhaseState => {
  switch (name) {
    case 'switching':
      return { name, switchId: `${direction}-9`, direction };
    case 'soaking':
      return { name, since: '', switchId: 'forward-8' };
    case 'following':
      return { name, since: '' };
    case 'ready':
      return { name, since: '', certificate: 'c' };
    case 'finalised':
    case 'aborted':
      return { name, at: '' };
    default:
      return { name };
  }
};

/** A point in a phase's life. */
interface Truth {
  readonly point: string;
  readonly source: Row;
  readonly target: Row;
  readonly fences: Readonly<Record<Side, 'all' | 'none'>>;
  readonly router: Side;
  readonly held?: boolean;
  readonly state: PhaseState;
  readonly outcome?: 'committed' | 'aborted' | null;
  readonly direction?: 'forward' | 'reverse';
  /** Sides that have every acknowledged write. */
  readonly whole: readonly Side[];
  readonly lane?: 'forward' | 'reverse' | 'none';
  readonly isPrepared?: boolean;
}

const onSource = {
  source: PRIMARY,
  target: REPLICA,
  fences: { source: 'none', target: 'all' },
  router: 'source',
  whole: ['source'],
  lane: 'forward',
} as const;
const onTarget = {
  source: REPLICA,
  target: PRIMARY,
  fences: { source: 'all', target: 'none' },
  router: 'target',
  whole: ['target'],
  lane: 'reverse',
} as const;
const CUTOVER = { state: stateOf('switching', 'forward'), direction: 'forward', held: true, lane: 'forward' } as const;
const FAILBACK = { state: stateOf('switching', 'reverse'), direction: 'reverse', held: true, lane: 'reverse' } as const;
const STILL = { fences: { source: 'all', target: 'all' } } as const;
const BOTH = { whole: ['source', 'target'] } as const;
const NEVER = {
  source: null,
  target: null,
  fences: { source: 'none', target: 'none' },
  router: 'source',
  whole: ['source'],
  lane: 'none',
  isPrepared: false,
} as const;

const TRUTHS: readonly Truth[] = [
  { point: 'planned', ...NEVER, state: stateOf('planned') },
  { point: 'prepared', ...onSource, state: stateOf('prepared') },
  { point: 'copying', ...onSource, state: stateOf('copying') },
  { point: 'following', ...onSource, state: stateOf('following') },
  { point: 'ready', ...onSource, state: stateOf('ready') },
  {
    point: 'aborted',
    ...onSource,
    target: REPLICA_OPEN,
    fences: NEVER.fences,
    lane: 'none',
    isPrepared: false,
    state: stateOf('aborted'),
  },
  { point: 'cutover intended', ...onSource, ...CUTOVER, outcome: null },
  { point: 'cutover fenced', ...onSource, ...CUTOVER, ...STILL, source: PRIMARY_FENCED, outcome: null },
  { point: 'cutover drained', ...onSource, ...CUTOVER, ...STILL, ...BOTH, source: PRIMARY_FENCED, outcome: null },
  {
    point: 'cutover undone, not lifted',
    ...onSource,
    ...CUTOVER,
    ...STILL,
    source: PRIMARY_FENCED,
    outcome: 'aborted',
  },
  { point: 'cutover committed', ...onSource, ...CUTOVER, ...STILL, ...BOTH, source: REPLICA, outcome: 'committed' },
  {
    point: 'cutover repointed',
    ...onSource,
    ...CUTOVER,
    ...STILL,
    ...BOTH,
    source: REPLICA,
    router: 'target',
    outcome: 'committed',
  },
  { point: 'cutover lifted', ...onTarget, ...CUTOVER, outcome: 'committed', lane: 'reverse' },
  { point: 'soaking', ...onTarget, state: stateOf('soaking'), outcome: 'committed', direction: 'forward' },
  { point: 'failback intended', ...onTarget, ...FAILBACK, outcome: null },
  { point: 'failback fenced', ...onTarget, ...FAILBACK, ...STILL, target: PRIMARY_FENCED, outcome: null },
  { point: 'failback drained', ...onTarget, ...FAILBACK, ...STILL, ...BOTH, target: PRIMARY_FENCED, outcome: null },
  {
    point: 'failback undone, not lifted',
    ...onTarget,
    ...FAILBACK,
    ...STILL,
    target: PRIMARY_FENCED,
    outcome: 'aborted',
  },
  {
    point: 'failback committed',
    ...onTarget,
    ...FAILBACK,
    ...STILL,
    ...BOTH,
    source: PRIMARY_FENCED,
    target: PRIMARY_FENCED,
    outcome: 'committed',
  },
  {
    point: 'failback repointed',
    ...onTarget,
    ...FAILBACK,
    ...STILL,
    ...BOTH,
    source: PRIMARY_FENCED,
    target: PRIMARY_FENCED,
    router: 'source',
    outcome: 'committed',
  },
  { point: 'failback lifted', ...onSource, ...FAILBACK, target: PRIMARY_FENCED, outcome: 'committed', lane: 'forward' },
  { point: 'failed back', ...onSource, state: stateOf('following'), outcome: 'committed', direction: 'reverse' },
  {
    point: 'finalised',
    ...onTarget,
    state: stateOf('finalised'),
    lane: 'none',
    isPrepared: false,
    outcome: 'committed',
    direction: 'forward',
  },
  {
    point: 'finalised, unfenced',
    ...onTarget,
    source: REPLICA_OPEN,
    fences: NEVER.fences,
    state: stateOf('finalised'),
    lane: 'none',
    isPrepared: false,
    outcome: 'committed',
    direction: 'forward',
  },
];

const evidenceOf = (truth: Truth): PhaseEvidence => {
  const { state, direction } = truth;
  const isPublished = truth.isPrepared !== false;
  const isEarly = state.name === 'prepared' || state.name === 'copying';
  const side = (name: Side): SideEvidence => ({
    ownership: truth[name],
    fence: truth.fences[name],
    hasTriggers: name === 'source' ? truth.fences.source === 'all' : isPublished,
    isPublished,
    slots: truth.lane === (name === 'source' ? 'forward' : 'reverse') ? [slot(`slot_${name}`)] : [],
    progress: truth.lane === (name === 'source' ? 'reverse' : 'forward') ? (isEarly ? COPYING : PROGRESS) : null,
    holdsRows: name === 'source' || !['planned', 'prepared', 'aborted'].includes(state.name),
  });
  const last = direction === undefined ? null : { id: `${direction}-9`, direction, outcome: truth.outcome ?? null };
  return {
    phase: 'all',
    source: side('source'),
    target: side('target'),
    recorded: state,
    switch: last,
    mirrored: state.name,
    namedSlots: { forward: ['slot_source'], reverse: ['slot_target'] },
    hasChunks: state.name !== 'planned' && state.name !== 'prepared',
    isKeyed: true,
    routers: [{ primary: truth.router, held: truth.held ?? false }],
    readers: [],
    stated: null,
  };
};

const gone = (side: SideEvidence): SideEvidence => ({ ...side, ownership: null, progress: null });
/** The function of the fence goes with the schema, and with it every trigger. */
const dropped = (side: SideEvidence): SideEvidence => ({ ...gone(side), fence: 'none', hasTriggers: false });

/** What can be taken away, each by itself. */
const LOSSES: Readonly<Record<string, (e: PhaseEvidence) => PhaseEvidence>> = {
  'source sidecar': (e) => ({ ...e, source: dropped(e.source), recorded: null, switch: null }),
  'target sidecar': (e) => ({ ...e, target: dropped(e.target), mirrored: null, hasChunks: false }),
  'source ownership': (e) => ({ ...e, source: { ...e.source, ownership: null } }),
  'target ownership': (e) => ({ ...e, target: { ...e.target, ownership: null } }),
  states: (e) => ({ ...e, recorded: null }),
  switches: (e) => ({ ...e, switch: null }),
  outcomes: (e) => ({ ...e, switch: e.switch && { ...e.switch, outcome: null } }),
  mirror: (e) => ({ ...e, mirrored: null }),
  progress: (e) => ({ ...e, source: { ...e.source, progress: null }, target: { ...e.target, progress: null } }),
  slots: (e) => ({ ...e, source: { ...e.source, slots: [] }, target: { ...e.target, slots: [] } }),
  lanes: (e) => ({ ...e, namedSlots: { forward: [], reverse: [] } }),
  router: (e) => ({ ...e, routers: [null] }),
};

/** Every subset, by the bits of a number. */
const subsets = (names: readonly string[]): readonly (readonly string[])[] =>
  Array.from({ length: 2 ** names.length }, (_, bits) => names.filter((_name, at) => (bits >> at) % 2 === 1));

const lose = (e: PhaseEvidence, losses: readonly string[]): PhaseEvidence =>
  losses.reduce((left, name) => LOSSES[name]?.(left) ?? left, e);

/** Who has every acknowledged write once the loss has opened a side: clients that are led there go on writing. */
const wholeAfter = (truth: Truth, e: PhaseEvidence): readonly Side[] =>
  e[truth.router].fence === 'all' ? truth.whole : [truth.router];

/** The side that `resume` lifts afterwards: it takes the recorded outcome, and a missing one for an abort. Null for none. */
const liftedLater = (e: PhaseEvidence, conclusion: Extract<Conclusion, { kind: 'settled' }>): Side | null => {
  if (conclusion.complete) return conclusion.primary;
  if (conclusion.state !== 'recorded' || e.recorded?.name !== 'switching') return null;
  const isForward = e.recorded.direction === 'forward';
  return isForward === (e.switch?.outcome === 'committed') ? 'target' : 'source';
};

/** Sides that an application can write to after the conclusion has been carried out, `resume` included. */
const writableAfter = (e: PhaseEvidence, conclusion: Conclusion): readonly Side[] => {
  const open = (['source', 'target'] as const).filter((side) => e[side].fence !== 'all' && conclusion.fence !== side);
  const lifted = conclusion.kind === 'settled' ? liftedLater(e, conclusion) : null;
  return lifted === null ? open : [...new Set([...open, lifted])];
};

/** What is wrong with a conclusion, given the truth; null when nothing is. */
const error = (e: PhaseEvidence, conclusion: Conclusion, whole: readonly Side[]): string | null => {
  const writable = writableAfter(e, conclusion);
  if (conclusion.kind === 'parked') return writable.length > 1 ? 'parked with two writable sides' : null;
  const loser = conclusion.primary === 'source' ? 'target' : 'source';
  if (writable.includes(loser) && !isRightlyOpen(e, loser)) return 'the loser stays writable';
  if (!whole.includes(conclusion.primary)) return `the ${conclusion.primary} does not have every write`;
  return conclusion.anew && !whole.includes('source') ? 'a side with writes of its own is emptied' : null;
};

describe('against the truth', () => {
  test.each(TRUTHS)('$point: whatever is lost, no write is, and at most one side is writable', (truth) => {
    const errors: string[] = [];
    let settled = 0;
    for (const losses of subsets(Object.keys(LOSSES))) {
      const e = lose(evidenceOf(truth), losses);
      const whole = wholeAfter(truth, e);
      const first = conclude(e);
      if (first.kind === 'settled') settled += 1;
      // A person who is asked knows a side that has everything, and states it.
      const asked = first.kind === 'parked' ? whole.map((stated) => conclude({ ...e, stated })) : [];
      if (asked.some(({ kind }) => kind === 'parked')) errors.push(`parked for good without ${losses}`);
      for (const conclusion of [first, ...asked]) {
        const found = error(e, conclusion, whole);
        if (found !== null) errors.push(`without ${losses}: ${found}: ${JSON.stringify(conclusion)}`);
      }
    }
    expect(errors.slice(0, 5)).toEqual([]);
    // Parking always would be safe, and useless.
    expect(settled).toBeGreaterThan(500);
  });

  it.each(TRUTHS)('$point: with nothing lost, the record stands', (truth) => {
    const e = evidenceOf(truth);
    expect(conclude(e)).toMatchObject({
      kind: 'settled',
      state: 'recorded',
      anew: false,
      fence: null,
      complete: false,
    });
  });

  it.each(TRUTHS.filter(({ point }) => !point.startsWith('failback')))(
    '$point: the sidecar of the source is not needed to know the primary',
    (truth) => {
      const conclusion = conclude(lose(evidenceOf(truth), ['source sidecar']));
      expect(conclusion).toMatchObject({ kind: 'settled', anew: false });
    },
  );
});

const EACH_ROW: readonly Row[] = [null, PRIMARY, PRIMARY_FENCED, REPLICA, REPLICA_OPEN];
const EACH_FENCE = ['all', 'some', 'none'] as const;
const EACH_STATE: readonly (PhaseState | null)[] = [
  null,
  ...(['planned', 'prepared', 'copying', 'following', 'ready', 'soaking', 'finalised', 'aborted'] as const).map((n) =>
    stateOf(n),
  ),
  stateOf('switching', 'forward'),
  stateOf('switching', 'reverse'),
];
const EACH_SWITCH: readonly PhaseEvidence['switch'][] = [
  null,
  ...(['forward', 'reverse'] as const).flatMap((direction) =>
    ([null, 'committed', 'aborted'] as const).map((outcome) => ({ id: `${direction}-9`, direction, outcome })),
  ),
];
const EACH_ROUTER: readonly PhaseEvidence['routers'][] = [
  [null],
  [{ primary: null, held: false }],
  [{ primary: 'source', held: false }],
  [{ primary: 'target', held: false }],
  [{ primary: 'source', held: true }],
  [{ primary: 'target', held: true }],
];
/** The others follow from these: what one of several says counts as if it were the only one. */
const SEVERAL_ROUTERS: readonly PhaseEvidence['routers'][] = [
  [{ primary: 'source', held: false }, null],
  [
    { primary: 'target', held: false },
    { primary: 'source', held: false },
  ],
  [
    { primary: 'target', held: false },
    { primary: 'target', held: true },
  ],
];
const EACH_STATED = [null, 'source', 'target'] as const;

/** What must hold of any evidence, be it possible or not. */
const violation = (e: PhaseEvidence): string | null => {
  const conclusion = conclude(e);
  const open = (side: Side) => e[side].fence !== 'all' && conclusion.fence !== side;
  if (conclusion.kind === 'parked') return open('source') && open('target') ? 'parked with two open sides' : null;
  const { primary, lane } = conclusion;
  const loser = primary === 'source' ? 'target' : 'source';
  const lifted = liftedLater(e, conclusion);
  if (lifted === loser) return 'resume would lift the loser';
  if (lifted !== null && open(loser)) return 'lifts while the other side is open';
  if (open(loser) && !isRightlyOpen(e, loser)) return 'leaves the loser open';
  if (conclusion.fence === primary) return 'fences the primary';
  if (conclusion.anew && primary !== 'source') return 'empties a primary';
  if (conclusion.anew && open('target') && !isRightlyOpen(e, 'target')) return 'empties an open side';
  const isLedElsewhere = e.routers.some((router) => router?.primary !== primary);
  const mayHaveWrites = e[loser].fence !== 'all' && !isRightlyOpen(e, loser) && isLedElsewhere;
  if (mayHaveWrites && e.stated === null) return 'gives up a side that clients may have written to';
  if (e.stated !== null && conclude({ ...e, stated: null }).kind === 'parked' && primary !== e.stated)
    return 'ignores a statement';
  if (!lane) return null;
  const { slots } = lane.direction === 'forward' ? e.source : e.target;
  const chosen = slots.find(({ name }) => name === lane.slot);
  if (lane.halt === null && (!chosen || chosen.damage !== null)) return 'a lane goes on without a slot';
  return (lane.direction === 'forward') === (primary === 'source') ? null : 'the lane leads to the primary';
};

describe('any evidence', () => {
  it('all combinations of what decides leave at most one side writable', () => {
    const base = evidenceOf(TRUTHS[3] as Truth);
    let tried = 0;
    for (const ofSource of EACH_ROW)
      for (const ofTarget of EACH_ROW)
        for (const sourceFence of EACH_FENCE)
          for (const targetFence of EACH_FENCE)
            for (const recorded of EACH_STATE)
              for (const last of EACH_SWITCH)
                for (const routers of EACH_ROUTER)
                  for (const stated of EACH_STATED) {
                    tried += 1;
                    const e: PhaseEvidence = {
                      ...base,
                      source: { ...base.source, ownership: ofSource, fence: sourceFence },
                      target: { ...base.target, ownership: ofTarget, fence: targetFence },
                      recorded,
                      switch: last,
                      routers,
                      stated,
                    };
                    const found = violation(e);
                    if (found !== null)
                      throw new Error(
                        `${found}: ${JSON.stringify({ e, c: conclude(e) }, (_, v) => (typeof v === 'bigint' ? String(v) : v))}`,
                      );
                  }
    expect(tried).toBe(5 * 5 * 3 * 3 * 11 * 7 * 6 * 3);
  });

  it('so do random combinations of everything', () => {
    const sideArbitrary: fc.Arbitrary<SideEvidence> = fc.record({
      ownership: fc.constantFrom(...EACH_ROW),
      fence: fc.constantFrom(...EACH_FENCE),
      hasTriggers: fc.boolean(),
      isPublished: fc.boolean(),
      slots: fc.constantFrom([], [slot('a')], [slot('a', 'was invalidated')], [slot('a'), slot('b')]),
      progress: fc.constantFrom(null, COPYING, PROGRESS),
      holdsRows: fc.boolean(),
    });
    const named = fc.constantFrom([], ['a'], ['b'], ['x', 'a']);
    const evidence: fc.Arbitrary<PhaseEvidence> = fc.record({
      phase: fc.constant('all'),
      source: sideArbitrary,
      target: sideArbitrary,
      recorded: fc.constantFrom(...EACH_STATE),
      switch: fc.constantFrom(...EACH_SWITCH),
      mirrored: fc.constantFrom(null, 'copying' as const, 'ready' as const, 'soaking' as const, 'finalised' as const),
      namedSlots: fc.record({ forward: named, reverse: named }),
      hasChunks: fc.boolean(),
      isKeyed: fc.boolean(),
      routers: fc.constantFrom(...EACH_ROUTER, ...SEVERAL_ROUTERS),
      readers: fc.constant([]),
      stated: fc.constantFrom(...EACH_STATED),
    });
    fc.assert(
      fc.property(evidence, (e) => {
        expect(violation(e)).toBeNull();
      }),
      { numRuns: 50_000 },
    );
  });
});

describe('lanes', () => {
  const following = evidenceOf(TRUTHS.find(({ point }) => point === 'following') as Truth);
  const soaking = evidenceOf(TRUTHS.find(({ point }) => point === 'soaking') as Truth);
  const laneOf = (e: PhaseEvidence) => {
    const conclusion = conclude(e);
    return conclusion.kind === 'settled' ? conclusion.lane : null;
  };

  it('a slot that is gone or damaged halts its lane; none is made', () => {
    expect(laneOf(lose(following, ['slots']))).toMatchObject({ slot: null, halt: { id: 'lane/slot-lost' } });
    const damaged = { ...soaking, target: { ...soaking.target, slots: [slot('slot_target', 'was invalidated')] } };
    expect(laneOf(damaged)).toMatchObject({ slot: null, halt: { id: 'lane/slot-lost' } });
  });

  it('a publication that is gone halts its lane', () => {
    const e = { ...following, source: { ...following.source, isPublished: false } };
    expect(laneOf(e)).toMatchObject({ halt: { fact: expect.stringContaining('publication') } });
  });

  it('of several slots that no record names none is taken', () => {
    const e = lose({ ...soaking, target: { ...soaking.target, slots: [slot('a'), slot('b')] } }, ['lanes']);
    expect(laneOf(e)).toMatchObject({ slot: null, halt: { id: 'lane/slot-lost' } });
  });

  it('a lane without progress takes up again at its slot, unless a table has no key', () => {
    expect(laneOf(lose(soaking, ['progress']))).toMatchObject({ slot: 'slot_target', rejoin: { confirmed: '0/10' } });
    expect(laneOf(lose({ ...soaking, isKeyed: false }, ['progress']))).toMatchObject({ slot: null, rejoin: null });
    expect(conclude(lose({ ...following, isKeyed: false }, ['progress']))).toMatchObject({
      state: 'planned',
      anew: true,
    });
  });
});

describe('readers', () => {
  const following = evidenceOf(TRUTHS.find(({ point }) => point === 'following') as Truth);
  const READERS = [
    { router: 'here', primary: 'source', answers: true, isStatedAway: false },
    { router: 'there', primary: 'target', answers: true, isStatedAway: false },
    { router: 'gone', primary: null, answers: false, isStatedAway: false },
    { router: 'removed', primary: null, answers: false, isStatedAway: true },
    { router: 'blind', primary: null, answers: true, isStatedAway: false },
  ] as const;
  const stranded = (e: PhaseEvidence) => strandedReaders(e, conclude(e)).map(({ router }) => router);

  it('of a phase that is copied anew are named, and those that would find it empty are in the way', () => {
    const anew = lose({ ...following, readers: READERS, isKeyed: false }, ['progress']);
    expect(stranded(anew)).toEqual(['there', 'gone']);
    expect(conclude(anew)).toMatchObject({
      anew: true,
      findings: [
        {
          remedy: expect.stringContaining(
            'led by router here, to the source, router there, to the target, router gone, which does not answer, router removed, which leads nobody to the target, as you have stated, router blind, which does not say where',
          ),
        },
      ],
    });
  });

  it('of a phase that goes on are no matter', () => {
    expect(stranded({ ...following, readers: READERS })).toEqual([]);
    expect(stranded(lose({ ...following, readers: READERS }, ['progress']))).toEqual([]);
  });
});
