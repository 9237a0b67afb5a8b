import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sleep } from '../../src/platform/clock.ts';
import { makeScene, outcomeOf, type Scene, saidBy, stepSeen } from '../support/scene.ts';
import { runSql, type ServerPair, useServerPair } from '../support/servers.ts';
import type { Terminal } from '../support/terminal.ts';

/** What a person at a terminal meets: Ctrl-C at any moment, a look from outside in every state, a source that is down. */
const servers = useServerPair();
const SCHEMA = 'CREATE TABLE item (id bigint PRIMARY KEY, name text)';
const ROWS = `INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 200) n`;
const MORE = 'switch: { window: 60s, max_lag: 20s, blockers: { wait: 50s, then: abort } }';
const CANARY = 'canary-f00dfeed';

/** The same servers, with a password in their URLs that they do not ask for. */
const withPassword = (pair: ServerPair): ServerPair => {
  const secret = (server: ServerPair['source']): ServerPair['source'] => ({
    ...server,
    url: server.url,
    urlFor: (name) => {
      const url = new URL(server.urlFor(name));
      url.password = CANARY;
      return url.href;
    },
  });
  return { source: secret(pair.source), target: secret(pair.target) };
};

describe('Ctrl-C', () => {
  let scene: Scene;
  afterEach(async () => await scene?.close());
  const begin = async () => {
    scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, more: MORE });
  };
  const confirmed = (name: string) => [name, scene.run.plan, 'all', '--confirm', 'all'];
  const interrupt = async (terminal: Terminal, signal: NodeJS.Signals = 'SIGINT'): Promise<number> => {
    terminal.process.kill(signal);
    return await terminal.ended;
  };
  const runUntilReady = async (): Promise<void> => {
    const terminal = scene.terminal('run', scene.run.plan, '--until', 'ready');
    expect({ exitCode: await terminal.ended, text: terminal.text() }).toMatchObject({ exitCode: 0 });
  };
  const expectWritableSource = async (): Promise<void> => {
    expect(scene.run.route('all')).toMatchObject({ primary: 'source', held: false });
    const client = await scene.session(scene.source);
    expect(await outcomeOf(client, `UPDATE item SET name = 'goes on' WHERE id = 1`)).toBe('done');
  };

  it('while copying says what state is left, and the next run goes on', async () => {
    await begin();
    const locker = await scene.session(scene.target);
    await locker.query('BEGIN; LOCK TABLE item IN SHARE MODE');
    const terminal = scene.terminal('run', scene.run.plan);
    // Preparing needs the lock too; it is let through as far as the copy.
    await terminal.says(/prepare · schema/);
    await locker.query('ROLLBACK');
    await terminal.says(/prepare · publish/);
    await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
    await terminal.says(/prepared → copying/);
    await sleep(300);
    expect(await interrupt(terminal)).toBe(0);
    expect(terminal.text()).toMatch(/stopping after the work in hand/);
    expect(terminal.text()).toMatch(/stopped: all is copying; the application is untouched by this/);
    expect(terminal.text()).toContain(`switchback run ${scene.run.plan}`);
    await locker.query('ROLLBACK');
    await runUntilReady();
    expect(await runSql(scene.target, 'SELECT FROM item')).toHaveLength(200);
  });

  it('while following says that it is ready for the cutover', async () => {
    await begin();
    const terminal = scene.terminal('run', scene.run.plan);
    await terminal.says(/following → ready/);
    expect(await interrupt(terminal, 'SIGTERM')).toBe(0);
    expect(terminal.text()).toMatch(/stopped: all is ready/);
    expect(terminal.text()).toContain(`switchback cutover ${scene.run.plan} all --confirm all`);
    await expectWritableSource();
  });

  it("in a cutover's checks changes nothing", async () => {
    await begin();
    await runUntilReady();
    // A slot for the way back cannot be made while somebody writes anywhere on the target's server.
    const writer = await scene.session(scene.target);
    await writer.query('BEGIN; SELECT txid_current()');
    const terminal = scene.terminal(...confirmed('cutover'));
    await terminal.says(/verified 1 tables/);
    await sleep(500);
    const ended = interrupt(terminal);
    await terminal.says(/stopping/);
    await writer.query('ROLLBACK');
    expect(await ended).toBe(5);
    expect(terminal.text()).toMatch(/cutover-\d+ was interrupted before its window; nothing was changed/);
    await expectWritableSource();
    expect((await scene.run.command(...confirmed('cutover'))).exitCode).toBe(0);
  });

  it('in its window undoes it', async () => {
    await begin();
    await runUntilReady();
    const writer = await scene.session(scene.source);
    await writer.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const terminal = scene.terminal(...confirmed('cutover'));
    await terminal.says(/waiting for pid/);
    expect(scene.run.route('all')).toMatchObject({ held: true });
    expect(await interrupt(terminal)).toBe(5);
    expect(terminal.text()).toMatch(/stopping: undoing what can be undone/);
    expect(terminal.text()).toMatch(/cutover-\d+ was interrupted and undone; the application goes on where it was/);
    await writer.query('COMMIT');
    await expectWritableSource();
    expect((await scene.run.command(...confirmed('cutover'))).exitCode).toBe(0);
    expect(await runSql(scene.target, 'SELECT FROM item WHERE id = 1001')).toHaveLength(1);
  });

  it('once the fence is set undoes that too', async () => {
    await begin();
    await runUntilReady();
    const writer = await scene.session(scene.source);
    await writer.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const terminal = scene.terminal(...confirmed('cutover'));
    await terminal.says(/waiting for pid/);
    const locker = await scene.session(scene.target);
    await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
    await writer.query('COMMIT');
    await terminal.says(/ · position/);
    expect(await outcomeOf(writer, `INSERT INTO item VALUES (1002, 'stray')`)).toBe('25006');
    const ended = interrupt(terminal);
    await terminal.says(/ · undo way back/);
    await expectWritableSource();
    await locker.query('ROLLBACK');
    expect(await ended).toBe(5);
    expect((await scene.run.command(...confirmed('cutover'))).exitCode).toBe(0);
  });

  it('at the worker undoes the cutover that it executes, and whoever asked is told', async () => {
    await begin();
    const worker = scene.worker();
    await worker.untilState('ready', 'all');
    const writer = await scene.session(scene.source);
    await writer.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const answer = scene.run.command(...confirmed('cutover'));
    await worker.until((w) => w.events.some((event) => event.type === 'blocked'));
    await worker.stop();
    expect(await answer).toMatchObject({ exitCode: 5 });
    expect(saidBy(await answer).message).toContain('interrupted and undone');
    await writer.query('COMMIT');
    await expectWritableSource();
  });

  it('at a command that the worker executes leaves it to the worker', async () => {
    await begin();
    const worker = scene.worker();
    await worker.untilState('ready', 'all');
    const writer = await scene.session(scene.source);
    await writer.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const terminal = scene.terminal(...confirmed('cutover'));
    await worker.until(stepSeen('fence', 'begun'));
    expect(await interrupt(terminal)).toBe(4);
    expect(terminal.text()).toMatch(/interrupted; the worker goes on with the command/);
    expect(terminal.text()).toContain(`switchback status ${scene.run.plan}`);
    await writer.query('COMMIT');
    await worker.untilState('soaking', 'all');
  });

  it('twice ends at once, and resume settles what was left', async () => {
    await begin();
    await runUntilReady();
    const writer = await scene.session(scene.source);
    await writer.query(`BEGIN; INSERT INTO item VALUES (1001, 'in flight')`);
    const terminal = scene.terminal(...confirmed('cutover'));
    await terminal.says(/waiting for pid/);
    terminal.process.kill('SIGINT');
    await terminal.says(/stopping/);
    await interrupt(terminal);
    const resumed = await scene.run.command('resume', scene.run.plan);
    expect(resumed).toMatchObject({ exitCode: 0 });
    await writer.query('COMMIT');
    await expectWritableSource();
    expect((await scene.run.command(...confirmed('cutover'))).exitCode).toBe(0);
  });
});

describe('looking from outside', () => {
  let scene: Scene;
  let printed = '';
  beforeAll(async () => {
    scene = await makeScene(withPassword(servers()), { schema: SCHEMA, rows: ROWS, more: MORE });
  });
  afterAll(async () => await scene?.close());

  const looked = async (name: string, exitCodes: readonly number[] = [0]) => {
    const person = scene.terminal(name, scene.run.plan);
    expect(exitCodes).toContain(await person.ended);
    const answer = await scene.run.command(name, scene.run.plan);
    expect(exitCodes).toContain(answer.exitCode);
    expect(typeof answer.json).toBe('object');
    printed += person.text() + JSON.stringify(answer.json);
    return { text: person.text(), json: answer.json };
  };

  /** Every command that only looks, in a state. Returns the status. */
  const look = async (state: string) => {
    await looked('show');
    await looked('check');
    await looked('report', state === 'none' ? [0, 4] : [0]);
    return await looked('status');
  };
  const stateOf = (json: Readonly<Record<string, unknown>>) =>
    (json.phases as readonly { readonly state: { readonly name: string } }[])[0]?.state.name;

  it('works before there is a run', async () => {
    const { text, json } = await look('none');
    expect(json).toMatchObject({ ok: true, run: null });
    expect(text).toContain(`next: switchback check ${scene.run.plan}`);
  });

  it('works while copying', async () => {
    const locker = await scene.session(scene.target);
    const worker = scene.worker((event) => {
      printed += JSON.stringify(event);
    });
    await worker.until(stepSeen('publish', 'done'));
    await locker.query('BEGIN; LOCK TABLE item IN EXCLUSIVE MODE');
    await worker.untilState('copying', 'all');
    expect(stateOf((await look('copying')).json)).toBe('copying');
    await locker.query('ROLLBACK');
    await worker.untilState('ready', 'all');
  });

  it('works while ready, and says what is next', async () => {
    const { text, json } = await look('ready');
    expect(stateOf(json)).toBe('ready');
    expect(text).toContain(`switchback cutover ${scene.run.plan} all --confirm all`);
  });

  it('works while soaking', async () => {
    expect(await scene.run.command('cutover', scene.run.plan, 'all', '--confirm', 'all')).toMatchObject({
      exitCode: 0,
    });
    const { text, json } = await look('soaking');
    expect(stateOf(json)).toBe('soaking');
    expect(text).toContain(`switchback failback ${scene.run.plan} all --confirm all`);
  });

  it('works when finalised', async () => {
    const finalised = await scene.run.command('finalise', scene.run.plan, 'all', '--early', '--confirm', 'all');
    expect(finalised).toMatchObject({ exitCode: 0 });
    expect(stateOf((await look('finalised')).json)).toBe('finalised');
  });

  it('says what it cannot reach', async () => {
    const wrong = {
      ...scene.run.self.environment,
      TEST_TARGET_URL: `postgresql://postgres:${CANARY}@127.0.0.1:1/none`,
    };
    for (const name of ['check', 'run', 'status', 'show', 'report']) {
      const { text } = await withEnvironment(scene, wrong, [name, scene.run.plan]);
      printed += text;
      if (name === 'run' || name === 'check') expect(text).toMatch(/the target cannot be reached/);
    }
  });

  it('never prints or stores a password', async () => {
    expect(printed).toContain('item');
    expect(printed.includes(CANARY)).toBe(false);
    for (const file of readdirSync(scene.run.directory)) {
      expect({ file, leaks: readFileSync(join(scene.run.directory, file), 'utf8').includes(CANARY) }).toEqual({
        file,
        leaks: false,
      });
    }
    for (const table of ['run', 'journal', 'request', 'switch', 'certificate', 'mirror']) {
      const rows = await runSql(scene.source, `SELECT t::text AS row FROM switchback.${table} t`);
      expect(rows.filter(({ row }) => String(row).includes(CANARY))).toEqual([]);
    }
  });
});

describe('a source that is down', () => {
  it('is told by status, which answers from the target', async () => {
    const scene = await makeScene(servers(), { schema: SCHEMA, rows: ROWS, more: MORE });
    try {
      const worker = scene.worker();
      await worker.untilState('ready', 'all');
      await scene.run.command('cutover', scene.run.plan, 'all', '--confirm', 'all');
      await worker.stop();
      await servers().source.stop();
      const answer = await scene.run.command('status', scene.run.plan);
      expect(answer).toMatchObject({
        exitCode: 0,
        json: {
          answeredBy: 'target',
          sourceError: expect.stringContaining('the source cannot be reached'),
          phases: [{ name: 'all', state: { name: 'soaking' }, target: { role: 'primary', fenced: false } }],
          lastSwitch: { id: expect.stringMatching(/^cutover-/), outcome: 'committed' },
        },
      });
      const terminal = scene.terminal('status', scene.run.plan);
      expect(await terminal.ended).toBe(0);
      expect(terminal.text()).toMatch(/the source does not answer/);
      expect(terminal.text()).toMatch(/this is what the target's mirror knew at/);
      const failback = await scene.run.command('failback', scene.run.plan, 'all', '--confirm', 'all');
      expect(failback).toMatchObject({ exitCode: 1 });
      expect(saidBy(failback).message).toContain('the source cannot be reached');
    } finally {
      await servers().source.start();
      await scene.close();
    }
  });
});

/** The command line with another environment. */
const withEnvironment = async (
  scene: Scene,
  environment: Readonly<Record<string, string | undefined>>,
  args: readonly string[],
): Promise<{ readonly text: string }> => {
  const terminal = scene.terminalWith(environment, ...args);
  await terminal.ended;
  return { text: terminal.text() };
};
