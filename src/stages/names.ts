import { createHash } from 'node:crypto';
import type { Direction } from '../domain/position.ts';
import type { RunContext } from './context.ts';

const plain = (text: string): string => text.replaceAll(/[^a-z0-9_]/g, '_');

/** Distinguishes phases whose names differ only in characters that a slot cannot have (`a-b`, `a_b`). */
const short = (context: RunContext, phase: string): string =>
  createHash('sha256').update(`${context.plan.name}/${phase}`).digest('hex').slice(0, 4);

/** Name of a phase's publication, the same on both sides. */
export const publicationName = (context: RunContext, phase: string): string =>
  `switchback_${plain(phase)}_${short(context, phase)}`;

/** Name of a lane's slot. Every switch makes a new one, so that an old one is never taken for it. At most 63 bytes. */
export const slotName = (
  context: RunContext,
  phase: string,
  lane: { readonly direction: Direction; readonly generation: string },
): string =>
  `switchback_${plain(phase).slice(0, 20)}_${short(context, phase)}_${lane.direction === 'forward' ? 'f' : 'r'}_${plain(lane.generation)}`.slice(
    0,
    63,
  );
