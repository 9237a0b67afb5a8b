import { createHash, randomBytes } from 'node:crypto';
import type { Direction } from '../domain/position.ts';
import type { RunContext } from './context.ts';

const plain = (text: string): string => text.replaceAll(/[^a-z0-9_]/g, '_');

/** Distinguishes phases whose names differ only in characters that a slot cannot have (`a-b`, `a_b`). */
const short = (context: RunContext, phase: string): string =>
  createHash('sha256').update(`${context.plan.name}/${phase}`).digest('hex').slice(0, 4);

/** Name of a phase's publication, the same on both sides. */
export const publicationName = (context: RunContext, phase: string): string =>
  `switchback_${plain(phase)}_${short(context, phase)}`;

/** How the names of all slots of ours begin, whatever run and phase they are of. */
export const SLOTS_OF_OURS = 'switchback_';

/** How the names of all slots of a phase's lanes in one direction begin. */
export const slotPrefix = (context: RunContext, phase: string, direction: Direction): string =>
  ['switchback', plain(phase).slice(0, 16), short(context, phase), direction === 'forward' ? 'f' : 'r', ''].join('_');

/**
 * A new name for a lane's slot; it is stored before it is used. Never the same twice, so that an old slot is not taken for
 * it, nor that of another run on the same cluster, where slots of all databases share their names. At most 63 bytes.
 */
export const slotName = (
  context: RunContext,
  phase: string,
  lane: { readonly direction: Direction; readonly generation: string },
): string =>
  `${slotPrefix(context, phase, lane.direction)}${plain(lane.generation).slice(0, 14)}_${randomBytes(3).toString('hex')}`;
