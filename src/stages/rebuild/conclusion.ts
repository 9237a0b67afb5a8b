import type { Finding } from '../../domain/finding.ts';
import type { PhaseStateName } from '../../domain/phase.ts';
import type { Direction, Side } from '../../domain/position.ts';
import type { SlotTrace } from '../../engines/traces.ts';

/** How a phase's lane gets on. */
export interface LaneConclusion {
  readonly direction: Direction;
  /** The slot that it reads, or null when there is none that it may read. */
  readonly slot: string | null;
  /**
   * Null: its progress is there and stays. Otherwise it takes up again at this slot's confirmed position and applies
   * idempotently up to the origin's head, because what was applied after it is not known any more.
   */
  readonly rejoin: SlotTrace | null;
  /** Why it cannot go on, or null. */
  readonly halt: Finding | null;
}

/** What a rebuild will do about a phase whose primary is certain. */
export interface Settled {
  readonly kind: 'settled';
  readonly phase: string;
  readonly primary: Side;
  /** What says so. */
  readonly because: string;
  /** The state that is written; `recorded` leaves the state that is there. */
  readonly state: 'recorded' | Exclude<PhaseStateName, 'switching' | 'prepared' | 'ready'>;
  /** A side that is fenced before anything else is done: it is not the primary, and its fence does not stand. */
  readonly fence: Side | null;
  /**
   * The switch towards the primary is completed by what completes every switch: routers lead there, it is lifted, clients
   * are released. The other side is fenced by then.
   */
  readonly complete: boolean;
  readonly lane: LaneConclusion | null;
  /** The target's tables are emptied and the phase begins anew: how far its copy had come cannot be known. */
  readonly anew: boolean;
  /** What somebody has to know or mend. */
  readonly findings: readonly Finding[];
}

/** A phase whose primary cannot be known from what is left. Nothing of it is changed but for the fence. */
export interface Parked {
  readonly kind: 'parked';
  readonly phase: string;
  readonly why: string;
  /** A side that is fenced now, because both sides would accept writes otherwise. */
  readonly fence: Side | null;
}

/** What the rules conclude of a phase. */
export type Conclusion = Settled | Parked;
