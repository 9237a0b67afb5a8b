import { SWITCH_STEPS } from '../../src/domain/protocol.ts';

/** The steps of which one must stand in the journal, begun and not ended, before an effect (S12). */
export interface Cause {
  /** Of the effect's label; a fence's is `fence` or `lift`, with its side. */
  readonly effect: RegExp;
  /** `<kind of work>/<step>`; a switch's kind is `switch` in both directions. */
  readonly steps: readonly string[];
}

const SWITCH = [...new Set(['checks', ...SWITCH_STEPS.map(({ name }) => name)])].map((step) => `switch/${step}`);

/**
 * Which steps may cause which effect. Left out: effects that only read or wait, the sidecar's own rows, and slots that no lane
 * reads, which are swept up at any time. One release may come from any step of a switch: whoever finds itself deposed in the
 * middle of one lets go of what it may have held.
 */
const CAUSES: readonly Cause[] = [
  { effect: /^router hold$/, steps: ['switch/hold'] },
  { effect: /^router repoint$/, steps: ['switch/repoint', 'reads/repoint'] },
  // Of several, those that lead right let go when another one does not yet.
  {
    effect: /^router release$/,
    steps: ['switch/release', 'switch/undo hold', 'switch/release pooler', 'switch/release dns'],
  },
  { effect: /^router release, deposed$/, steps: SWITCH },
  { effect: /^source create slot$/, steps: ['prepare/slot', 'switch/checks'] },
  { effect: /^target create slot$/, steps: ['switch/checks'] },
  // Keys and plain indexes are built while other tables' rows are still being copied.
  {
    effect: /COMMIT dropped index/,
    steps: ['prepare/defer indexes', 'copy/rows', 'copy/keys', 'copy/indexes', 'abort/rows'],
  },
  { effect: /COMMIT publication/, steps: ['prepare/publish', 'abort/lane', 'finalise/lane'] },
  { effect: /COMMIT rows:/, steps: ['abort/rows'] },
  { effect: /^commit record$/, steps: ['switch/commit'] },
  { effect: /^fence on the source$/, steps: ['switch/fence'] },
  { effect: /^fence on the target$/, steps: ['prepare/fence target', 'switch/fence'] },
  {
    effect: /^lift on the source$/,
    steps: ['abort/fence source', 'finalise/unfence source', 'switch/lift', 'switch/undo fence'],
  },
  {
    effect: /^lift on the target$/,
    steps: ['abort/fence target', 'finalise/target', 'switch/lift', 'switch/undo fence'],
  },
];

/** The steps that may cause an effect; null for one that needs none. */
export const causesOf = (effect: string): readonly string[] | null =>
  CAUSES.find((cause) => cause.effect.test(effect))?.steps ?? null;

/** How a step of the journal is called here: `switch/drain` for the drain of `cutover-7`. */
export const intentOf = (scope: string, step: string): string =>
  `${scope.replace(/-\d+$/, '').replace(/^(cutover|failback)$/, 'switch')}/${step}`;
