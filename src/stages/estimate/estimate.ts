import { FIT, type StageCost } from './fit.ts';

/** How large a phase is, by the source's statistics. */
export interface PhaseSize {
  readonly tables: number;
  readonly rows: number;
  /** Of heap and TOAST on the source. */
  readonly bytes: number;
}

/** Adds up what the catalogue says of a phase's tables. */
export const sizeOf = (phase: {
  readonly tables: readonly { readonly estimatedRows: number; readonly bytes: number }[];
}): PhaseSize => ({
  tables: phase.tables.length,
  rows: phase.tables.reduce((sum, table) => sum + table.estimatedRows, 0),
  bytes: phase.tables.reduce((sum, table) => sum + table.bytes, 0),
});

/** Stages whose time is estimated; catching up is not among them, because it depends on what is written meanwhile. */
export const ESTIMATED_STAGES = ['prepare', 'copy', 'build', 'verify'] as const;

/** One of {@link ESTIMATED_STAGES}: `build` is what is left of keys, indexes, foreign keys and statistics after the rows. */
export type EstimatedStage = (typeof ESTIMATED_STAGES)[number];

/** Milliseconds of each stage. */
export type PhaseEstimate = Readonly<Record<EstimatedStage, number>>;

const GIGABYTE = 1e9;

/** The model of one stage: a sum of what the phase, its tables, rows and bytes take. */
export const stageMs = (cost: StageCost, size: PhaseSize): number =>
  cost.msPerPhase +
  cost.msPerTable * size.tables +
  cost.msPerMillionRows * (size.rows / 1e6) +
  cost.msPerGigabyte * (size.bytes / GIGABYTE);

/** What a phase of this size takes on the machine of the fit, alone there, with the indexes that the fit's tables have. */
export const estimatePhase = (size: PhaseSize): PhaseEstimate => ({
  prepare: stageMs(FIT.stages.prepare, size),
  copy: stageMs(FIT.stages.copy, size),
  build: stageMs(FIT.stages.build, size),
  verify: stageMs(FIT.stages.verify, size),
});

/** How a phase catches up with what is written on the source all the time. */
export interface CatchUp {
  /** Milliseconds from the end of the copy until the lane is at the head; null when it never is. */
  readonly ms: number | null;
  /** Changes that have come by the end of the copy. */
  readonly backlog: number;
  /** Log that the slot holds back on the source at the most; null when it grows for ever. */
  readonly walBytes: number | null;
}

/**
 * A backlog b grows by the write rate w and shrinks by the apply rate a: it is gone after b / (a - w), and never where w >= a.
 * The slot holds back the log from before the copy until then.
 */
export const estimateCatchUp = (written: {
  /** From the making of the slot to the end of the copy, in milliseconds. */
  readonly copyMs: number;
  readonly changesPerSecond: number;
}): CatchUp => {
  const { changesPerSecond } = written;
  const { changesPerSecond: applied, walBytesPerChange } = FIT.apply;
  const backlog = changesPerSecond * (written.copyMs / 1000);
  if (changesPerSecond >= applied) return { ms: null, backlog, walBytes: null };
  const seconds = backlog / (applied - changesPerSecond);
  const walBytes = changesPerSecond * walBytesPerChange * (written.copyMs / 1000 + seconds);
  return { ms: seconds * 1000, backlog, walBytes };
};

/**
 * Resident memory of a worker that follows so many lanes of some 25 tables, in bytes, at its peak. Sizes of rows, of tables
 * and of transactions do not add to it.
 */
export const estimateMemory = (lanes: number): number => FIT.memory.bytes + FIT.memory.bytesPerLane * lanes;

/**
 * Milliseconds of a switch's window with a source that is idle but for it. The fence is a change of the catalogue for each
 * table, which the sender of every slot on that server decodes: that part grows with tables times lanes.
 */
export const estimateWindow = (of: { readonly tables: number; readonly lanes: number }): number =>
  FIT.window.ms + FIT.window.msPerTable * of.tables + FIT.window.msPerTableAndLane * of.tables * of.lanes;
