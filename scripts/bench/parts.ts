import type { Part } from './part.ts';
import { apply } from './parts/apply.ts';
import { copy } from './parts/copy.ts';
import { lag } from './parts/lag.ts';
import { memory } from './parts/memory.ts';
import { switchPart } from './parts/switch.ts';
import { tables } from './parts/tables.ts';
import { verify } from './parts/verify.ts';

/** All benchmarks, in the order in which they are run. */
export const PARTS: readonly Part[] = [copy, apply, verify, switchPart, memory, lag, tables];
