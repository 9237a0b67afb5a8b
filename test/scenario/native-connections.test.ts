import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../src/demo/servers.ts';
import { makeRun, type TestRun, type TestWorker } from '../support/run.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * How the servers reach each other: checked before anything is begun, with a password that stands nowhere but where a
 * server needs it.
 */
const servers = useServerPair({ wal_retrieve_retry_interval: '200ms' });
const CORE = 'k4n4rY';
const PASSWORD = `${CORE}:/p'w\\?"é${CORE}`;

const letIn = async (server: RunningServer): Promise<void> => {
  await runSql(
    server.url,
    `SET password_encryption = 'scram-sha-256'; CREATE ROLE mover SUPERUSER LOGIN PASSWORD '${PASSWORD.replaceAll("'", "''")}'`,
  );
  const path = join(server.directory, 'data', 'pg_hba.conf');
  const rules = 'host all,replication mover 127.0.0.1/32 scram-sha-256\nhost all,replication mover all reject\n';
  writeFileSync(path, rules + readFileSync(path, 'utf8'));
  await runSql(server.url, 'SELECT pg_reload_conf()');
};

const withPassword = (url: string, password: string): string => {
  const parsed = new URL(url);
  parsed.username = 'mover';
  parsed.password = encodeURIComponent(password);
  return parsed.href;
};

describe('servers that subscribe to each other', () => {
  let run: TestRun;
  let worker: TestWorker | undefined;
  let urls: { readonly source: string; readonly target: string };
  const said: string[] = [];

  const makePlan = (native: string): TestRun =>
    makeRun({
      ...urls,
      phases: [{ name: 'all', tables: ['public.*'] }],
      more: `engine: native\nnative: ${native}\nswitch: { window: 30s, max_lag: 20s }`,
    });
  const tell = async (at: TestRun, ...args: readonly string[]) => {
    const answer = await at.command(...args);
    said.push(JSON.stringify(answer.json));
    return answer;
  };

  beforeAll(async () => {
    const { source, target } = servers();
    const made: string[] = [];
    for (const server of [source, target]) {
      await letIn(server);
      const url = await createDatabase(server, 'reached');
      await runSql(url, 'CREATE TABLE t (id int PRIMARY KEY)');
      made.push(withPassword(url, PASSWORD));
    }
    urls = { source: made[0] ?? '', target: made[1] ?? '' };
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    run = makePlan('{ source: { url: "${TEST_SOURCE_URL}" } }');
  });
  afterAll(async () => {
    await worker?.process.kill();
    run?.remove();
  });

  it('are tried by check, and told of when they do not reach each other', async () => {
    const wrong = makePlan('{ source: { url: "postgresql://mover@127.0.0.1:1/reached" } }');
    const answer = await tell(wrong, 'check', wrong.plan);
    expect(answer.exitCode).toBe(3);
    expect(JSON.stringify(answer.json)).toContain('server/not-reached');
    const refused = makeRun({
      source: urls.source,
      target: urls.target,
      phases: [{ name: 'all', tables: ['public.*'] }],
      more: `engine: native\nnative: { source: { url: "postgresql://mover@127.0.0.1:${servers().source.port}/reached" } }`,
    });
    expect(JSON.stringify((await tell(refused, 'check', refused.plan)).json)).toContain('server/not-reached');
    for (const made of [wrong, refused]) made.remove();
    expect(await runSql(servers().target.url, 'SELECT FROM pg_subscription')).toEqual([]);
  });

  it('go the whole way with a password, which is told nowhere', async () => {
    expect(await tell(run, 'check', run.plan)).toMatchObject({ exitCode: 0 });
    worker = run.worker();
    await worker.untilState('ready', 'all');
    expect(await tell(run, 'cutover', run.plan, 'all', '--confirm', 'all')).toMatchObject({ exitCode: 0 });
    await tell(run, 'status', run.plan);
    await tell(run, 'report', run.plan);
    said.push(JSON.stringify(worker.events));
    const journal = await runSql(
      servers().source.urlFor('reached'),
      'SELECT j::text AS text FROM switchback.journal j',
    );
    said.push(JSON.stringify(journal));
    expect(said.filter((text) => text.toLowerCase().includes(CORE.toLowerCase()))).toEqual([]);
  });
});
