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
  sizes: '0.05, 0.1, 0.2, 0.4 M rows; 10000, 20000, 40000, 80000 changes; 25, 50, 100, 200 tables; 2, 4, 8, 12 lanes',
  stages: {
    prepare: {
      msPerPhase: 197,
      msPerTable: 1.58,
      msPerMillionRows: 0,
      msPerGigabyte: 0,
    },
    copy: {
      msPerPhase: 76.3,
      msPerTable: 5.04,
      msPerMillionRows: 1420,
      msPerGigabyte: 3530,
    },
    build: {
      msPerPhase: 31.5,
      msPerTable: 2.7,
      msPerMillionRows: 0,
      msPerGigabyte: 1170,
    },
    verify: {
      msPerPhase: 37.5,
      msPerTable: 4.43,
      msPerMillionRows: 97.1,
      msPerGigabyte: 6470,
    },
  },
  apply: {
    changesPerSecond: 121000,
    walBytesPerChange: 268,
  },
  memory: {
    bytes: 131000000,
    bytesPerLane: 1740000,
  },
  window: {
    ms: 125,
    msPerTable: 0,
    msPerTableAndLane: 0.307,
  },
};
