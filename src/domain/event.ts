import type { Finding } from './finding.ts';
import type { PhaseStateName } from './phase.ts';
import type { Direction } from './position.ts';

/** A session that holds a lock we need, or that keeps a slot from being made. */
export interface Blocker {
  readonly pid: number;
  readonly user: string;
  readonly application: string;
  readonly query: string;
  /** Age of its transaction in seconds, by the server's clock. */
  readonly seconds: number;
  /** True for an autovacuum worker, which the server itself cancels when we wait longer than its deadlock_timeout. */
  readonly autovacuum: boolean;
}

/** What happens to a step of a stage or a switch. */
export type StepStatus = 'begun' | 'done' | 'failed';

/**
 * Everything that the worker tells. One stream of these feeds the terminal, the JSON output and the journal; an observer
 * that fails stops nothing. Times in milliseconds are measured on a monotonic clock.
 */
export type Event =
  | { readonly type: 'phase'; readonly phase: string; readonly from: PhaseStateName; readonly to: PhaseStateName }
  | {
      readonly type: 'step';
      readonly scope: string;
      readonly phases: readonly string[];
      readonly step: string;
      readonly status: StepStatus;
      readonly ms?: number;
      readonly detail?: string;
    }
  | {
      readonly type: 'copied';
      readonly phase: string;
      readonly table: string;
      /** So far, this process and earlier ones. */
      readonly rows: number;
      readonly bytes: number;
      readonly estimatedRows: number;
      readonly finished: boolean;
    }
  | {
      readonly type: 'lag';
      readonly phase: string;
      readonly direction: Direction;
      /** True end-to-end age of the newest marker that is durable on the other side, or of the oldest that is not. */
      readonly seconds: number;
      /** Row changes applied since the lane was opened. */
      readonly changes: number;
    }
  | { readonly type: 'finding'; readonly phase: string | null; readonly finding: Finding }
  | { readonly type: 'halted'; readonly phase: string; readonly lane: string; readonly finding: Finding }
  | {
      readonly type: 'verified';
      readonly phase: string;
      readonly tables: number;
      readonly rows: number;
      readonly mismatches: number;
    }
  | { readonly type: 'blocked'; readonly phases: readonly string[]; readonly blockers: readonly Blocker[] }
  | {
      readonly type: 'switched';
      readonly switchId: string;
      readonly phases: readonly string[];
      readonly direction: Direction;
      readonly windowMs: number;
    }
  | { readonly type: 'note'; readonly phase: string | null; readonly text: string };

/** Where events go. Must not throw and must not block. */
export type Emit = (event: Event) => void;
