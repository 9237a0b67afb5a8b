/** What a stage's time grows with, and by how much: milliseconds. All are at least zero. */
export interface StageCost {
  readonly msPerPhase: number;
  readonly msPerTable: number;
  readonly msPerMillionRows: number;
  readonly msPerGigabyte: number;
}

/** Constants of the model, with where they come from. */
export interface Fit {
  /** Day of the measurements, ISO. */
  readonly date: string;
  readonly machine: string;
  readonly servers: string;
  readonly sizes: string;
  readonly stages: Readonly<Record<'prepare' | 'copy' | 'build' | 'verify', StageCost>>;
  readonly apply: { readonly changesPerSecond: number; readonly walBytesPerChange: number };
  /** Lanes of 25 tables each. */
  readonly memory: { readonly bytes: number; readonly bytesPerLane: number };
  readonly window: { readonly ms: number; readonly msPerTable: number; readonly msPerTableAndLane: number };
}

// Everything below is written by `npm run fit -- --write`.
export const FIT: Fit = {
  date: '2026-11-27',
  machine: '2 cores (Intel(R) Xeon(R) Processor), 24 GB, servers and worker together',
  servers: 'PostgreSQL 13.23 → 18.4, shared_buffers 256 MB, fsync on',
  sizes: '0.005, 0.01, 0.02, 0.04 M rows; 1000, 2000, 4000, 8000 changes; 25, 50, 100, 200 tables; 2, 4, 8, 12 lanes',
  stages: {
    prepare: { msPerPhase: 286, msPerTable: 5.62, msPerMillionRows: 0, msPerGigabyte: 0 },
    copy: { msPerPhase: 70.7, msPerTable: 3.34, msPerMillionRows: 0, msPerGigabyte: 6930 },
    build: { msPerPhase: 24.4, msPerTable: 15.5, msPerMillionRows: 1480, msPerGigabyte: 4990 },
    verify: { msPerPhase: 8.71, msPerTable: 1.82, msPerMillionRows: 864, msPerGigabyte: 7080 },
  },
  apply: { changesPerSecond: 48400, walBytesPerChange: 668 },
  memory: { bytes: 133000000, bytesPerLane: 1600000 },
  window: { ms: 200, msPerTable: 0, msPerTableAndLane: 0.37 },
};
