import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { Manifest, SnapshotPosition } from '../../domain/snapshot.ts';
import { failpoint } from '../../platform/failpoint.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import type { Catalogue } from '../local/catalogue.ts';
import { versionOf } from '../local/database.ts';
import { failedProgram, programIn, type Run, runToEnd } from '../local/program.ts';
import { putFiles, type Spool, transferOf } from '../local/spool.ts';
import type { CreateSnapshot, Snapshot, WaitOptions } from '../store.ts';
import type { BackupStored, PgBasebackupOptions } from './options.ts';

/** Its own compression is the quickest that it has: what is encrypted afterwards could not be compressed any more. */
const ARGUMENTS = [
  '--format=tar',
  '--wal-method=stream',
  '--checkpoint=fast',
  '--compress=1',
  '--no-password',
  '--verbose',
  '--progress',
];

const NOW = `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS now,
  pg_current_wal_insert_lsn()::text AS lsn, (SELECT system_identifier::text FROM pg_control_system()) AS system`;

/** Tablespaces besides those that every cluster has, and whether our role may copy it. */
export const CLUSTER = `
  SELECT (SELECT coalesce(json_agg(spcname), '[]') FROM pg_tablespace
           WHERE spcname NOT IN ('pg_default', 'pg_global'))::text AS tablespaces,
         (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)::text AS copies`;

/** What a snapshot is made with. */
export interface BackupContext {
  readonly options: PgBasebackupOptions;
  readonly catalogue: Catalogue;
  readonly spool: Spool;
}

/** Copies the whole cluster and keeps the copy; it is a snapshot when its manifest is there. */
export const createBackup = async (
  { options, catalogue, spool }: BackupContext,
  spec: CreateSnapshot,
  wait: WaitOptions,
): Promise<Snapshot> => {
  const { id } = spec.basis;
  const known = await catalogue.begin(id, spec.basis);
  if (known !== null) return known;
  failpoint('snapshot:begun');
  await requireNoTablespaces(options.source);
  return await spool.with(id, async (directory) => {
    // Before the copy begins, so that no lane is said to be further than the copy holds.
    const head = ((await options.source.query(NOW)).rows[0]?.lsn ?? '') as Position;
    const seen = await spec.look(null, { atLeast: head, atMost: head }, wait.signal);
    const taken = await backUp({ options, directory, head }, wait);
    failpoint('snapshot:dumped');
    const transfer = { envelope: catalogue.envelope, id, parallel: 2, total: null };
    const objects = await putFiles(directory, transferOf(transfer, wait));
    failpoint('snapshot:kept');
    const { createdAt, position, system, major } = taken;
    const stored: BackupStored = { objects, major, system };
    const bytes = objects.reduce((sum, object) => sum + object.stored.bytes, 0);
    // Nobody can see the rows in exactly the state that the copy has.
    const manifest: Manifest = {
      ...spec.basis,
      createdAt,
      bytes,
      position,
      lanes: seen.lanes,
      digests: null,
      store: stored,
    };
    const snapshot = await catalogue.finish(manifest);
    failpoint('snapshot:finished');
    return snapshot;
  });
};

/** They are outside of the data directory, under paths that a restored cluster would share with the source. */
const requireNoTablespaces = async (source: PostgresServer): Promise<void> => {
  const { rows } = await source.query(CLUSTER);
  if (rows[0]?.tablespaces === '[]') return;
  throw new SwitchbackError('refused', `the ${source.label} has tablespaces: ${rows[0]?.tablespaces}`, {
    remedy: 'use `store: pg_dump`, which leaves them out',
  });
};

interface Taken {
  readonly createdAt: string;
  readonly position: SnapshotPosition;
  readonly system: string;
  readonly major: number;
}

const backUp = async (
  about: { readonly options: PgBasebackupOptions; readonly directory: string; readonly head: Position },
  wait: WaitOptions,
): Promise<Taken> => {
  const { options, directory, head } = about;
  const { source } = options;
  const { libpq, password } = readPostgresUrl(options.sourceUrl, source.label);
  let end: string | undefined;
  const run: Run = {
    program: programIn(options.bin, 'pg_basebackup'),
    args: [...ARGUMENTS, `--pgdata=${directory}`, `--dbname=${libpq}`],
    password,
    signal: wait.signal,
    onLine: (line) => {
      end ??= /write-ahead log end point: ([0-9A-F]+\/[0-9A-F]+)/.exec(line)?.[1];
      const [, percent] = /\((\d+)%\)/.exec(line) ?? [];
      if (percent !== undefined) wait.progress({ text: 'pg_basebackup copies', percent: Number(percent) });
    },
  };
  wait.progress({ text: 'pg_basebackup begins', percent: null });
  const ended = await runToEnd(run);
  if (ended.code !== 0) throw failedProgram(run, ended);
  const [after] = (await source.query(NOW)).rows;
  // All of the log up to the end point is in the copy, and a little more may be: nothing that was written after it had ended.
  const position = {
    atLeast: (end ?? head) as Position,
    atMost: (after?.lsn ?? '') as Position,
  };
  const { major } = await versionOf(source);
  return { createdAt: after?.now ?? '', position, system: after?.system ?? '', major };
};
