import type { SideTraces } from '../../databases/traces.ts';
import type { PhaseState, PhaseStateName } from '../../domain/phase.ts';
import type { Direction, Side } from '../../domain/position.ts';
import type { LaneProgress } from '../../engines/engine.ts';
import type { LaneTraces, SlotTrace } from '../../engines/traces.ts';
import type { Outcome } from '../../sidecar/switches.ts';

/** What a rebuild reads besides the ports that every stage has. */
export interface Traces {
  readonly source: SideTraces;
  readonly target: SideTraces;
  readonly lanes: LaneTraces;
}

/** What is left of a phase on one side. Null and empty mean "not there any more", never "never was". */
export interface SideEvidence {
  readonly ownership: { readonly role: 'primary' | 'replica'; readonly fenced: boolean } | null;
  /** How the fence really stands. */
  readonly fence: 'all' | 'some' | 'none';
  /** The fence's triggers are there, enabled or not. */
  readonly hasTriggers: boolean;
  /** The publication of lanes that read from this side is there. */
  readonly isPublished: boolean;
  /** Slots of lanes that read from this side. */
  readonly slots: readonly SlotTrace[];
  /** Progress of the lane that writes to this side. */
  readonly progress: LaneProgress | null;
  /** The phase's tables hold rows here. */
  readonly holdsRows: boolean;
}

/** The newest switch of a phase that is recorded. */
export interface SwitchEvidence {
  readonly id: string;
  readonly direction: Direction;
  /** Null is no evidence: the record of the outcome may be gone. */
  readonly outcome: Outcome | null;
}

/** A router of a phase's readers. */
export interface ReaderEvidence {
  readonly router: string;
  readonly primary: Side | null;
  readonly answers: boolean;
  /** It does not answer, and a person has stated that nobody is led to the target by it. */
  readonly isStatedAway: boolean;
}

/** All that is left of one phase. The conclusion depends on nothing else. */
export interface PhaseEvidence {
  readonly phase: string;
  readonly source: SideEvidence;
  readonly target: SideEvidence;
  /** The state in the source's sidecar, when its row can be read. */
  readonly recorded: PhaseState | null;
  readonly switch: SwitchEvidence | null;
  /** The state that the target's mirror knew, which is older than the truth or as old. */
  readonly mirrored: PhaseStateName | null;
  /** Slot names that some record gives for the phase's lanes, the most trustworthy first. */
  readonly namedSlots: Readonly<Record<Direction, readonly string[]>>;
  /** Chunks of the forward lane are journaled on the target. */
  readonly hasChunks: boolean;
  /** Every table of the phase has a key, so that changes may be applied to it twice. */
  readonly isKeyed: boolean;
  /** What the phase's routers answered; null for one that could not be asked. */
  readonly routers: readonly ({ readonly primary: Side | null; readonly held: boolean } | null)[];
  /** What each router of the phase's readers answered; null where it does not know, or could not be asked. */
  readonly readers: readonly ReaderEvidence[];
  /** The source was restored from a snapshot, so a soak that was ended is begun again: there is a way back once more. */
  readonly isRestored?: boolean;
  /** The primary, as a person has stated. */
  readonly stated: Side | null;
}
