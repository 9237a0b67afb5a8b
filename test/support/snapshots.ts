import type { Digest } from '../../src/databases/digests.ts';
import type { SnapshotPosition } from '../../src/domain/snapshot.ts';
import type { CreateSnapshot, ManifestBasis, WaitOptions } from '../../src/snapshots/store.ts';

/** Waits for as long as it takes, and keeps what is told. */
export const waiting = (signal: AbortSignal = new AbortController().signal) => {
  const told: string[] = [];
  const options: WaitOptions = { signal, progress: ({ text }) => void told.push(text) };
  return { told, options };
};

/** What a stage would say of a snapshot of plan `shop`. */
export const basisOf = (id: string): ManifestBasis => ({
  format: 1,
  id,
  kind: '',
  run: 'run-1',
  plan: { name: 'shop', hash: 'ab'.repeat(32) },
  identity: 'identity-1',
  server: '13.23',
  by: 'test@here',
  reason: 'by hand',
  phases: { all: ['public.item'] },
});

/** What stands for the digests of the source. */
export const DIGESTS: Readonly<Record<string, Digest>> = { 'public.item': { rows: '3', sum: '12345678901234567890' } };

/** A snapshot of the source, whatever is looked at. */
export const specOf = (
  id: string,
  kind: string,
  look: (exported: string | null, position: SnapshotPosition, signal: AbortSignal) => Promise<void> = async () =>
    undefined,
): CreateSnapshot => ({
  basis: { ...basisOf(id), kind },
  look: async (exported, position, signal) => {
    await look(exported, position, signal);
    return { lanes: {}, digests: exported === null ? null : DIGESTS };
  },
});

let ids = 0;
/** A name as the stage makes them; later ones sort behind earlier ones. */
export const freshId = (): string => `shop-20261127-${String(100_000 + ++ids).slice(-6)}-ab12`;
