import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { endOf, say, startHere } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { confirmed, type EntryTest, ITEM, type Servers, untilReady, WIDE } from './begin.ts';

const MORE = `${WIDE}
snapshots: { store: pg_dump, to: backups, fresh_for: 1h, drill_within: 1h }`;
const NOWHERE = 'postgresql://postgres@127.0.0.1:1/gone';

/** Snapshots that are demanded, missing, broken off, or cannot be made. */
export const snapshots = (servers: Servers, entry: EntryTest): void => {
  describe('snapshots', () => {
    let scene: Scene;
    let place = '';

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, name: 'runbook_snapshots', more: MORE });
      place = join(scene.run.directory, 'backups');
      await untilReady(scene);
    });
    afterAll(async () => await scene?.close());

    entry('no-snapshot', async (play) => {
      const answer = await say(scene.run, 'snapshot', 'drill', scene.run.plan);
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      expect(await play.does(scene, { at: 0 })).toContain('there are none');
      expect(await play.does(scene, { at: 1 })).toContain('made, as of');
      await rm(place, { recursive: true });
    });

    entry('snapshot-wanted', async (play) => {
      const answer = await confirmed(scene, 'cutover');
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      await play.does(scene, { at: 0 });
      await play.does(scene, { at: 1 });
      expect((await confirmed(scene, 'cutover')).text).not.toContain('a cutover needs a snapshot');
    });

    entry('drill-wanted', async (play) => {
      const answer = await confirmed(scene, 'cutover');
      expect(answer.exitCode).toBe(4);
      play.sees(answer.text);
      expect(await play.does(scene, { at: 0 })).toContain('drill     none');
      expect(await play.does(scene, { at: 1 })).toContain('the drill has passed');
      expect((await confirmed(scene, 'cutover')).exitCode).toBe(0);
    });

    entry('snapshot-impossible', async (play) => {
      const { PATH } = process.env;
      process.env.PATH = '/nowhere';
      const answer = await say(scene.run, 'snapshot', 'create', scene.run.plan);
      process.env.PATH = PATH;
      expect(answer, answer.text).toMatchObject({ exitCode: 3 });
      play.sees(answer.text);
      await play.does(scene);
    });

    entry('snapshot-interrupted', async (play) => {
      // A program in front of pg_dump that waits for longer than anybody would.
      const bin = join(scene.run.directory, 'bin');
      await mkdir(bin, { recursive: true });
      const slow = join(bin, 'pg_dump');
      await writeFile(
        slow,
        '#!/bin/sh\ncase "$1" in --version) PATH="$REAL_PATH" exec pg_dump --version;; esac\nsleep 600\n',
      );
      await chmod(slow, 0o755);
      const path = process.env.PATH ?? '';
      const environment = { ...scene.run.self.environment, REAL_PATH: path, PATH: `${bin}:${path}` };
      const create = scene.terminalWith(environment, 'snapshot', 'create', scene.run.plan);
      const begun = async () => (await say(scene.run, 'status', scene.run.plan)).text;
      await expect.poll(begun, { timeout: 30_000, interval: 200 }).toContain('is not finished');
      create.process.kill('SIGINT');
      const end = await endOf(create);
      expect(end, end.text).toMatchObject({ exitCode: 4 });
      play.sees(end.text);
      expect(await play.does(scene, { at: 0 })).toContain('is not finished');
      expect(await play.does(scene, { at: 1 })).toContain('gone on with, and done');
    });

    entry('restored-source', async (play) => {
      const own = await say(scene.run, 'failback', scene.run.plan, 'all', '--from-snapshot', '--confirm', 'all');
      expect(own.exitCode).toBe(4);
      play.sees(own.text);
      const into = servers().source.urlFor('runbook_restored');
      const restored = await say(scene.run, 'snapshot', 'restore', scene.run.plan, '--into', into, '--confirm', 'test');
      expect(restored.text).toContain("refuses the application's writes");
      const { self } = scene.run;
      const run = { ...scene.run, self: { ...self, environment: { ...self.environment, TEST_SOURCE_URL: into } } };
      const resumed = await say(run, 'resume', run.plan);
      expect(resumed.exitCode).toBe(4);
      play.sees(resumed.text);
      const restoredScene = { run, terminal: scene.terminal };
      expect(await play.does(restoredScene, { at: 0 })).toContain("this is what the target's mirror knew");
      expect(await play.does(restoredScene, { at: 1 })).toContain('all is on the source now');
    });

    entry('snapshots-unknown', async (play) => {
      const command = startHere(scene.run, ['snapshot', 'prune', scene.run.plan], {
        source: NOWHERE,
        target: `${NOWHERE}2`,
      });
      expect(await command.ended).toBe(4);
      play.sees(command.text());
      expect(await play.does(scene)).toContain('the newest');
    });
  });
};
