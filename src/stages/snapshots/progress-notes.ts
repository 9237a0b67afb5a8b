import { monotonicMs } from '../../platform/clock.ts';
import type { WaitOptions } from '../../snapshots/store.ts';
import type { RunContext } from '../context.ts';

const NOTE_EVERY_MS = 10_000;

/** Tells how far a snapshot has come as notes of the run, now and then. */
export const progressNotes = ({ emit }: RunContext): WaitOptions['progress'] => {
  let last = Number.NEGATIVE_INFINITY;
  return ({ text, percent }) => {
    const now = monotonicMs();
    if (now - last < NOTE_EVERY_MS) return;
    last = now;
    emit({ type: 'note', phase: null, text: `snapshot: ${text}${percent === null ? '' : `, ${percent}%`}` });
  };
};
