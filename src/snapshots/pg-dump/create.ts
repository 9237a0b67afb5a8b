import type { Manifest } from '../../domain/snapshot.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { type ExportedSnapshot, exportSnapshot } from '../../platform/postgres/exported-snapshot.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import type { Catalogue } from '../local/catalogue.ts';
import { readFacts } from '../local/database.ts';
import { failedProgram, majorOf, programIn, type Run, runToEnd } from '../local/program.ts';
import { putFiles, type Spool, transferOf } from '../local/spool.ts';
import type { CreateSnapshot, Snapshot, WaitOptions } from '../store.ts';
import type { DumpStored, PgDumpOptions } from './options.ts';
import { putOwn, readOwn } from './own.ts';

/**
 * Subscriptions hold passwords, and one that is restored would go on applying. Tablespaces are a matter of one server's disks.
 * Its own compression is the quickest that it has: what is encrypted afterwards could not be compressed any more.
 */
const ARGUMENTS = [
  '--format=directory',
  '--compress=1',
  '--no-subscriptions',
  '--no-tablespaces',
  '--no-password',
  '--verbose',
];
/** A table that somebody keeps locked exclusively. */
const LOCK_WAIT = '--lock-wait-timeout=60000';

const NOW = `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS now`;

/** What a snapshot is made with. */
export interface CreateContext {
  readonly options: PgDumpOptions;
  readonly catalogue: Catalogue;
  readonly spool: Spool;
}

/** Dumps the source and keeps the dump; it is a snapshot when its manifest is there. */
export const createDump = async (
  { options, catalogue, spool }: CreateContext,
  spec: CreateSnapshot,
  wait: WaitOptions,
): Promise<Snapshot> => {
  const { id } = spec.basis;
  const known = await catalogue.begin(id, spec.basis);
  if (known !== null) return known;
  failpoint('snapshot:begun');
  const program = await majorOf(programIn(options.bin, 'pg_dump'));
  return await spool.with(id, async (directory) => {
    const read = await readUnderSnapshot({ options, directory }, spec, wait);
    failpoint('snapshot:dumped');
    const transfer = { envelope: catalogue.envelope, id, parallel: options.jobs, total: null };
    const objects = await putFiles(directory, transferOf(transfer, wait));
    const own = await putOwn(catalogue.envelope, id, read.own);
    failpoint('snapshot:kept');
    const { createdAt, database, position, seen } = read;
    const stored: DumpStored = { objects, program, database, own };
    const bytes = objects.reduce((sum, object) => sum + object.stored.bytes, 0);
    const manifest: Manifest = { ...spec.basis, createdAt, bytes, position, ...seen, store: stored };
    const snapshot = await catalogue.finish(manifest);
    failpoint('snapshot:finished');
    return snapshot;
  });
};

/** Everything that is read of the source, all of it in one state. */
const readUnderSnapshot = async (
  { options, directory }: { readonly options: PgDumpOptions; readonly directory: string },
  spec: CreateSnapshot,
  wait: WaitOptions,
) => {
  const { source } = options;
  wait.progress({ text: 'waits for transactions that are writing', percent: null });
  const snapshot = await exportSnapshot(source);
  try {
    const createdAt = (await source.query(NOW)).rows[0]?.now ?? '';
    const position = { atLeast: snapshot.atLeast, atMost: snapshot.atMost };
    const [database, own] = [await readFacts(source), await readOwn(source)];
    const seen = await together(
      wait.signal,
      (signal) => spec.look(snapshot.name, position, signal),
      (signal) => dump({ options, directory, snapshot }, { ...wait, signal }),
    );
    return { createdAt, database, own, position, seen };
  } finally {
    await snapshot.release();
  }
};

/** Does both, and ends one when the other fails: what is thrown is what went wrong first. */
const together = async <T>(
  outer: AbortSignal,
  look: (signal: AbortSignal) => Promise<T>,
  also: (signal: AbortSignal) => Promise<void>,
): Promise<T> => {
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);
  const endOther = (error: unknown): never => {
    failed.abort(error);
    throw error;
  };
  const [looked] = await Promise.allSettled([look(signal).catch(endOther), also(signal).catch(endOther)]);
  failed.signal.throwIfAborted();
  if (looked.status === 'rejected') throw looked.reason;
  return looked.value;
};

interface DumpContext {
  readonly options: PgDumpOptions;
  readonly directory: string;
  readonly snapshot: ExportedSnapshot;
}

const dump = async ({ options, directory, snapshot }: DumpContext, wait: WaitOptions): Promise<void> => {
  const { libpq, password } = readPostgresUrl(options.sourceUrl, options.source.label);
  const { jobs } = options;
  let tables = 0;
  const run: Run = {
    program: programIn(options.bin, 'pg_dump'),
    args: [
      ...ARGUMENTS,
      LOCK_WAIT,
      `--jobs=${jobs}`,
      `--file=${directory}`,
      `--snapshot=${snapshot.name}`,
      `--dbname=${libpq}`,
    ],
    password,
    signal: wait.signal,
    onLine: (line) => {
      if (!line.includes('dumping contents of table')) return;
      tables += 1;
      wait.progress({ text: `pg_dump has begun ${tables} tables`, percent: null });
    },
  };
  const end = await runToEnd(run);
  if (end.code !== 0) throw failedProgram(run, end);
};
