import { vi } from 'vitest';
import { crashTests, WORKS } from './crashes.ts';

vi.mock('../../src/platform/clock.ts', () => import('./clock.ts'));
vi.mock('../../src/sidecar/tables.ts', (original) => import('./tables.ts').then((m) => m.replacing(original)));
vi.mock('node:crypto', (original) => import('./crypto.ts').then((m) => m.replacing(original)));

crashTests([WORKS.prepare, WORKS.finalise, WORKS.abort]);
