import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runCommand, type Self } from '../../src/demo/program.ts';
import type { RunningServer } from '../../src/demo/servers.ts';
import type { RestoredFrom } from '../../src/sidecar/run.ts';
import { takeIn } from '../../src/stages/snapshots/take-in.ts';
import type { CommandAnswer, TestRun } from './run.ts';
import { createDatabase, runSql } from './servers.ts';

const run = promisify(execFile);

/** A dump of a database as a snapshot is one, in a file of its own. */
export interface Dump {
  readonly file: string;
  /** Of the database that it is of. */
  readonly identity: string;
  /** The run that the database was a part of. */
  readonly run: string;
  remove(): void;
}

const IDENTITY = `SELECT 'postgresql:' || s.system_identifier || '/' || d.oid AS identity
  FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()`;

/** Dumps a database by the server's own program, as the store does. */
export const dump = async (url: string): Promise<Dump> => {
  const directory = mkdtempSync(join(tmpdir(), 'switchback-dump-'));
  const file = join(directory, 'dump');
  const [of] = await runSql(url, IDENTITY);
  const [row] = await runSql(url, 'SELECT id FROM switchback.run');
  await run('pg_dump', ['--format=custom', '--compress=0', `--file=${file}`, url]);
  return {
    file,
    identity: String(of?.identity),
    run: String(row?.id),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
};

/** Where a dump is restored to, and what the place is told of it. */
export interface RestoreOptions {
  readonly server: RunningServer;
  readonly name: string;
  readonly run: TestRun;
  readonly replay?: Pick<RestoredFrom, 'isReplayed' | 'until'>;
}

/** Restores a dump beside and takes the place in, as `snapshot restore` does. Returns its URL. */
export const restoreBeside = async (from: Dump, options: RestoreOptions): Promise<string> => {
  const url = await createDatabase(options.server, options.name);
  await run('pg_restore', ['--exit-on-error', '--no-owner', `--dbname=${url}`, from.file]);
  const composition = await options.run.compose();
  const place = composition.placeAt(url);
  try {
    await takeIn(place, {
      plan: composition.context.plan,
      manifest: { id: 'test-20261127-120000-abcd', run: from.run, identity: from.identity },
      replay: options.replay ?? { isReplayed: false, until: null },
      signal: new AbortController().signal,
    });
  } finally {
    await place.close();
    await composition.close();
  }
  return url;
};

/** The command line with another source, as whoever has changed the plan's environment calls it. */
export const selfWith = ({ self }: TestRun, source: string, more: Readonly<Record<string, string>> = {}): Self => ({
  ...self,
  environment: { ...self.environment, TEST_SOURCE_URL: source, ...more },
});

/** Runs a command with another source. */
export const commandWith = async (
  testRun: TestRun,
  source: string,
  ...args: readonly string[]
): Promise<CommandAnswer> => await runCommand(selfWith(testRun, source), args, { anyExitCode: true });
