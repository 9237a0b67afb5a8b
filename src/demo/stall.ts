import type { Side } from '../domain/position.ts';
import type { Ledger } from './ledger.ts';

/** An interval on the clients' monotonic clock in which phases switched. */
export interface SwitchWindow {
  readonly phases: readonly string[];
  readonly fromMs: number;
  readonly toMs: number;
}

/** A switch of one phase as the clients saw it: from the hold, or else the repoint, until they were let go on. */
export interface SwitchSeen extends SwitchWindow {
  /** The primary before and after; the same when the switch was undone. */
  readonly from: Side | null;
  readonly to: Side | null;
}

/** What clients felt of a switch. */
export interface Stall {
  /** Operations on the phases that overlapped the window, and have ended. */
  readonly operations: number;
  /** From when the client wanted the operation until it was told, in milliseconds; 0 without any operation. */
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Attempts of these operations that an application would have seen fail, or end without an answer. */
  readonly errors: number;
}

/** What clients felt of switches: the operations that overlapped a window of theirs. The 99th percentile is the nearest rank. */
export const stallOf = (ledger: Ledger, ...windows: readonly SwitchWindow[]): Stall => {
  const durationsMs: number[] = [];
  const overlapping = new Set<number>();
  let errors = 0;
  for (const operation of ledger.operations()) {
    const { outcome, phase, startMs, endMs } = operation;
    if (outcome === 'pending') continue;
    if (!windows.some((w) => w.phases.includes(phase) && startMs <= w.toMs && endMs >= w.fromMs)) continue;
    overlapping.add(operation.op);
    durationsMs.push(endMs - startMs);
    if (outcome === 'unknown') errors++;
  }
  for (const refusal of ledger.refusals) if (overlapping.has(refusal.op)) errors++;
  durationsMs.sort((a, b) => a - b);
  return {
    operations: durationsMs.length,
    p99Ms: durationsMs[Math.ceil(durationsMs.length * 0.99) - 1] ?? 0,
    maxMs: durationsMs.at(-1) ?? 0,
    errors,
  };
};

/** Every switch that the clients saw in their route, in the order of its end. A hold that is not over is left out. */
export const switchesSeen = (ledger: Ledger): SwitchSeen[] => {
  const switches: SwitchSeen[] = [];
  const states = new Map<string, { readonly primary: Side | null; readonly heldSinceMs: number | undefined }>();
  for (const { phase, primary, held, atMs } of ledger.routes) {
    const before = states.get(phase);
    const from = before === undefined ? primary : before.primary;
    const heldSinceMs = before?.heldSinceMs;
    if (held) {
      states.set(phase, { primary: from, heldSinceMs: heldSinceMs ?? atMs });
      continue;
    }
    states.set(phase, { primary, heldSinceMs: undefined });
    if (heldSinceMs === undefined && from === primary) continue;
    switches.push({ phases: [phase], from, to: primary, fromMs: heldSinceMs ?? atMs, toMs: atMs });
  }
  return switches;
};
