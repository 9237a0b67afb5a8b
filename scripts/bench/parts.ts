import type { Part } from './part.ts';
import { apply } from './parts/apply.ts';
import { switchPart } from './parts/switch.ts';
import { verify } from './parts/verify.ts';

/** All benchmarks, in the order in which they are run. */
export const PARTS: readonly Part[] = [apply, switchPart, verify];
