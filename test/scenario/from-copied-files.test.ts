import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findBinaries, giveTo, unprivileged } from '../../src/demo/binaries.ts';
import { runCommand } from '../../src/demo/program.ts';
import { type RunningServer, startServer } from '../../src/demo/servers.ts';
import type { CommandAnswer } from '../support/run.ts';
import { startHere } from '../support/runbook.ts';
import { expectExit, type Scenario, scenarioOn } from '../support/scenario.ts';
import { saidBy } from '../support/scene.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

/**
 * The application goes back to a copy of the source's files, which has the very identity of the source that it was copied from:
 * nothing but its own mark tells the two apart. The old server comes back afterwards, with all of its records.
 */
const target = useServer({ version: 18 });
const SCHEMA = 'CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL)';
const COUNT = 'SELECT count(*)::text AS rows FROM item';
const MORE = (bin: string) => `switch: { window: 30s, max_lag: 20s }
soak: { for: 72h, archive: changes }
snapshots: { store: pg_basebackup, to: copies, bin: ${bin} }`;
const SLOW_MS = 200_000;

let folder = '';
let old: RunningServer;
let scenario: Scenario;
const urls = { old: '', source: '', target: '' };

const places = (): string => join(folder, 'places');

const command = async (name: string, ...args: readonly string[]): Promise<CommandAnswer> => {
  const { run } = scenario;
  const here = startHere(run, [...name.split(' '), run.plan, ...args, '--json'], { source: urls.source });
  const exitCode = await here.ended;
  return { exitCode, json: JSON.parse(here.text().trim().split('\n').at(-1) ?? '') };
};

/** The command dies at a point as by kill -9. */
const dieAt = async (point: string, name: string, ...args: readonly string[]): Promise<void> => {
  const { self, plan } = scenario.run;
  const more = { TEST_SOURCE_URL: urls.source, SWITCHBACK_FAILPOINT: `${point}:kill` };
  const dying = { ...self, environment: { ...self.environment, ...more } };
  expectExit(await runCommand(dying, [...name.split(' '), plan, ...args], { anyExitCode: true }), 128);
};

const expectRefused = async (about: string, name: string, ...args: readonly string[]): Promise<void> => {
  const refused = await command(name, ...args);
  expectExit(refused, 4);
  expect(saidBy(refused).message).toContain(about);
};

/** The server's own programs come without pg_basebackup, which may be of any later version. */
const programs = (): string => {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  symlinkSync(execFileSync('which', ['pg_basebackup'], { encoding: 'utf8' }).trim(), join(bin, 'pg_basebackup'));
  symlinkSync(join(dirname(findBinaries(13).postgres), 'pg_ctl'), join(bin, 'pg_ctl'));
  return bin;
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'switchback-copied-'));
  chmodSync(folder, 0o755);
  mkdirSync(places());
  giveTo(places(), unprivileged());
  old = await startServer({ version: 13, settings: { shared_buffers: '16MB', max_wal_size: '64MB' } });
  urls.old = await createDatabase(old, 'shop');
  urls.source = urls.old;
  urls.target = await createDatabase(target(), 'shop');
  await runSql(urls.source, `${SCHEMA}; INSERT INTO item SELECT i, i FROM generate_series(1, 100) i`);
  await runSql(urls.target, SCHEMA);
  scenario = scenarioOn({ source: urls.source, target: urls.target }, { more: MORE(programs()) });
}, SLOW_MS);

afterAll(async () => {
  await scenario?.close().catch(() => undefined);
  await old?.stopAndRemove();
  for (const name of ['first', 'second']) {
    const pid = join(places(), name, 'postmaster.pid');
    if (existsSync(pid)) process.kill(Number(readFileSync(pid, 'utf8').split('\n')[0]), 'SIGQUIT');
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
});

it(
  'is believed by no command before it is adopted, is adopted whole, and its own source is refused after that',
  async () => {
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
    const made = await command('snapshot create');
    expectExit(made);
    const { id } = (made.json as unknown as { readonly snapshot: { readonly id: string } }).snapshot;
    expectExit(await command('cutover', 'all', '--confirm', 'all'));
    await runSql(urls.target, 'INSERT INTO item SELECT i, i FROM generate_series(101, 150) i');
    await worker.process.kill();
    await old.stop();

    const restoreTo = (name: string) => [id, '--into', join(places(), name), '--confirm', 'test', '--replay'];
    const restore = async (name: string): Promise<string> => {
      const answer = await command('snapshot restore', ...restoreTo(name));
      expectExit(answer);
      return (answer.json as unknown as { readonly url: string }).url;
    };
    for (const point of ['restore:fenced', 'restore:replayed'])
      await dieAt(point, 'snapshot restore', ...restoreTo('first'));
    const first = await restore('first');
    const second = await restore('second');

    urls.source = first;
    for (const name of ['resume', 'run', 'snapshot create']) await expectRefused('was restored from snapshot', name);
    const back = ['all', '--from-snapshot', '--confirm', 'all'];
    for (const point of ['adopt/target', 'adopt/source']) await dieAt(`acted ${point}`, 'failback', ...back);
    await expect(runSql(first, 'INSERT INTO item VALUES (1000, 1)')).rejects.toMatchObject({ code: '25006' });
    expectExit(await command('failback', ...back));
    expect(await runSql(first, COUNT)).toEqual([{ rows: '150' }]);
    await runSql(first, 'INSERT INTO item VALUES (1000, 1)');
    await expect(runSql(urls.target, 'INSERT INTO item VALUES (1001, 1)')).rejects.toMatchObject({ code: '25006' });

    urls.source = second;
    // A second copy could take the place of the first while the target is the primary, which it is not any more.
    await expectRefused('phase all is not on the target', 'failback', ...back);
    await old.start();
    urls.source = urls.old;
    for (const name of ['resume', 'run']) await expectRefused(`is restored:${id}`, name);
    urls.source = first;
    expectExit(await command('resume'));
  },
  SLOW_MS,
);
