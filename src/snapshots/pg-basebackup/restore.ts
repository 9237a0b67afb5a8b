import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { requireNoTime } from '../local/catalogue.ts';
import { failedProgram, majorOf, programIn, type Run, runToEnd } from '../local/program.ts';
import { getFiles, transferOf } from '../local/spool.ts';
import type { Destination, RestoredPlace, WaitOptions } from '../store.ts';
import type { BackupContext } from './create.ts';
import type { BackupStored, PgBasebackupOptions } from './options.ts';
import { makeReady, type RestoredServer, runAsFor, startServer, stopServer, urlOf } from './server.ts';

type BackupManifest = Manifest & { readonly store: BackupStored };

/** In a directory that a restore has made, so that it can be told from everything else. */
const MARK = 'switchback-restored.json';

interface DirectoryMark {
  readonly plan: string;
  readonly snapshot: string;
  readonly place: string;
  readonly differences: readonly Finding[];
}

/** Restores a copy of a cluster into a directory of its own, which gets its name when it is whole, and starts its server. */
export const restoreBackup = async (
  context: BackupContext,
  { id, into }: { readonly id: string; readonly into: Destination },
  wait: WaitOptions,
): Promise<RestoredPlace> => {
  const { options, catalogue } = context;
  requireNoTime(into);
  const manifest = (await catalogue.manifest(id)) as BackupManifest;
  const directory = await directoryOf(context, into);
  const server: RestoredServer = { directory, bin: options.bin, purpose: into.purpose };
  const mark: DirectoryMark = { plan: options.plan, snapshot: id, place: into.name, differences: [] };
  const known = await requireOurs(directory, mark);
  if (known === null) await requireFit(options, manifest, directory);
  const differences = known?.differences ?? (await fill({ ...context, server, mark }, manifest, wait));
  await startServer(server, options.sourceUrl, wait);
  failpoint('restore:named');
  return { url: urlOf(server, options.sourceUrl), differences, remove: () => removePlace(server, mark) };
};

/** Removes the place of a restore, or what there is of it. */
export const removeBackup = async (
  context: BackupContext,
  { id, into }: { readonly id: string; readonly into: Destination },
): Promise<void> => {
  const { bin, plan } = context.options;
  const server: RestoredServer = { directory: await directoryOf(context, into), bin, purpose: into.purpose };
  await removePlace(server, { plan, snapshot: id, place: into.name, differences: [] });
};

/** A rehearsal may leave the choice to us: where the room is that it needs. */
const directoryOf = async ({ options, spool }: BackupContext, { name, purpose, at }: Destination): Promise<string> => {
  // Nothing of it is told: a URL may have a password.
  if (at?.includes('://')) {
    throw new SwitchbackError('usage', 'a copy by pg_basebackup is restored to a folder, and a URL was given', {
      remedy: 'name a directory that is not there yet, on this machine',
    });
  }
  if (at !== null) return resolve(at);
  if (purpose === 'restore') {
    throw new SwitchbackError('usage', 'nothing says where to restore to', {
      remedy: 'name a directory that is not there yet',
    });
  }
  const scratch = options.scratch ?? `${spool.label}-drill`;
  if (!existsSync(scratch)) await mkdir(scratch, { recursive: true, mode: 0o700 });
  return join(scratch, name);
};

const readMark = async (directory: string): Promise<DirectoryMark | null> => {
  try {
    return JSON.parse(await readFile(join(directory, MARK), 'utf8')) as DirectoryMark;
  } catch {
    return null;
  }
};

/** The mark of a place that stands already; null when there is nothing. Throws kind `refused` for anything else. */
const requireOurs = async (directory: string, mark: DirectoryMark): Promise<DirectoryMark | null> => {
  if (!existsSync(directory)) return null;
  const theirs = await readMark(directory);
  const isOurs = theirs?.plan === mark.plan && theirs.place === mark.place;
  if (isOurs && theirs.snapshot === mark.snapshot) return theirs;
  const what = isOurs ? `snapshot ${theirs.snapshot} is restored there` : 'it is not of this restore';
  throw new SwitchbackError('refused', `${directory} is there already: ${what}`, {
    remedy: 'name a directory that is not there yet; nothing is ever restored over another one',
  });
};

/** Looks, before anything is touched, whether its server can be run here. */
const requireFit = async (
  options: PgBasebackupOptions,
  { store, id }: BackupManifest,
  directory: string,
): Promise<void> => {
  const program = programIn(options.bin, 'pg_ctl');
  const major = await majorOf(program);
  if (major !== store.major) {
    throw new SwitchbackError(
      'refused',
      `${program} is of version ${major}, and snapshot ${id} is of a server ${store.major}`,
      {
        remedy: `install PostgreSQL ${store.major} here, and name the folder of its programs in \`snapshots.bin\` of the plan`,
      },
    );
  }
  if (!existsSync(dirname(directory))) {
    throw new SwitchbackError('refused', `there is no folder ${dirname(directory)}`, {
      remedy: "make it, as the server's user, on a disk with room for the whole cluster",
    });
  }
  await runAsFor(directory);
};

/** Where a directory is filled, beside its own place; nobody else gives a directory such a name. */
const draftOf = (directory: string, { plan, place }: DirectoryMark): string => {
  const mark = createHash('sha256')
    .update(JSON.stringify([plan, place, directory]))
    .digest('hex')
    .slice(0, 16);
  return join(dirname(directory), `.${basename(directory).slice(0, 100)}.switchback-restoring-${mark}`);
};

const remove = (path: string): Promise<void> =>
  rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });

interface FillContext extends BackupContext {
  readonly server: RestoredServer;
  readonly mark: DirectoryMark;
}

/** Gets and proves every byte before a file is made, then extracts them. Returns what is otherwise than on the source. */
const fill = async (
  { catalogue, spool, server, mark }: FillContext,
  { id, store }: BackupManifest,
  wait: WaitOptions,
): Promise<readonly Finding[]> => {
  const draft = draftOf(server.directory, mark);
  return await spool.with(basename(draft).slice(1), async (spooled) => {
    const total = store.objects.reduce((sum, { bytes }) => sum + bytes, 0);
    await getFiles(store.objects, spooled, transferOf({ envelope: catalogue.envelope, id, parallel: 2, total }, wait));
    failpoint('restore:proven');
    try {
      await remove(draft);
      await mkdir(draft, { mode: 0o700 });
      failpoint('restore:begun');
      await extract(join(spooled, 'base.tar.gz'), draft, wait);
      await extract(join(spooled, 'pg_wal.tar.gz'), join(draft, 'pg_wal'), wait);
      const { isBare } = await makeReady(draft, server);
      const differences = isBare ? [bareFinding(server)] : [];
      await writeFile(join(draft, MARK), JSON.stringify({ ...mark, differences }));
      await handOver(draft, server, wait);
      failpoint('restore:filled');
      await rename(draft, server.directory);
      return differences;
    } catch (error) {
      await remove(draft);
      if (error instanceof SwitchbackError || wait.signal.aborted) throw error;
      throw new SwitchbackError('unreachable', `making ${server.directory} failed: ${messageOf(error)}`, {
        remedy: `let our user write ${dirname(server.directory)}, and see that it has room`,
        cause: error,
      });
    }
  });
};

const bareFinding = ({ directory }: RestoredServer): Finding => ({
  id: 'restore/no-settings',
  severity: 'warns',
  subject: directory,
  fact: 'the source keeps postgresql.conf outside of its data directory, so that it is not in the copy: the server runs with defaults',
  remedy: "before it is used, give it the source's settings",
});

const extract = async (archive: string, directory: string, wait: WaitOptions): Promise<void> => {
  wait.progress({ text: `extracts ${basename(archive)}`, percent: null });
  const run: Run = {
    program: 'tar',
    args: [
      '--extract',
      '--gzip',
      '--no-same-owner',
      '--preserve-permissions',
      `--file=${archive}`,
      `--directory=${directory}`,
    ],
    needsNoSecrets: true,
    signal: wait.signal,
  };
  const end = await runToEnd(run);
  if (end.code !== 0) throw failedProgram(run, end);
};

/** Gives the files to the server's user, and to nobody else, and makes them durable. */
const handOver = async (draft: string, server: RestoredServer, wait: WaitOptions): Promise<void> => {
  await chmod(draft, 0o700);
  const { uid, gid } = await runAsFor(server.directory);
  const commands = [
    ...(uid === undefined ? [] : [{ program: 'chown', args: ['-R', `${uid}:${gid}`, draft] }]),
    { program: 'sync', args: ['--file-system', draft] },
  ];
  for (const command of commands) {
    const run: Run = { ...command, needsNoSecrets: true, signal: wait.signal };
    const end = await runToEnd(run);
    if (end.code !== 0) throw failedProgram(run, end);
  }
};

/** Removal looks again whose the directory is, since a place may have been given another use long after. */
const removePlace = async (server: RestoredServer, mark: DirectoryMark): Promise<void> => {
  await remove(draftOf(server.directory, mark));
  const stats = await stat(server.directory).catch(() => null);
  if (stats === null) return;
  await requireOurs(server.directory, mark);
  await stopServer(server);
  await remove(server.directory);
};
