import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../src/demo/servers.ts';
import { sleep } from '../../src/platform/clock.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { makeRun, type TestRun, type TestWorker } from '../support/run.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';

/**
 * Every error path that a test can reach, with a password that can be told wherever it stands, in URLs that spell it in two
 * ways; then a search through everything that we wrote. The role gets in by this password and by TLS only, so that a
 * session that takes another way is seen as well.
 */
const servers = useServerPair();
const CORE = 'k4n4rY';
const PASSWORD = `${CORE}:/p@s"s'\\?#%&=+ \${x}é${CORE}`;
/** Each byte as an escape, as some tools write URLs. */
const ESCAPED = [...Buffer.from(PASSWORD)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
const NEEDLES = [CORE, ESCAPED.slice(0, 18), ESCAPED.slice(-18)].map((needle) => needle.toLowerCase());

const holdsSecret = (text: string): boolean => {
  const said = text.toLowerCase();
  return NEEDLES.some((needle) => said.includes(needle));
};

/** Prints all that it was given, as a program in distress may, and fails. */
const BLABBING = `#!/bin/sh
[ "$1" = --version ] && echo 'pg_dump (PostgreSQL) 18.1' && exit 0
echo "cannot reach $TEST_SOURCE_URL with $PGPASSWORD: $*" >&2; env >&2; exit 1
`;

const execute = promisify(execFile);

/** What was said, by what was done. */
const said: { readonly what: string; readonly text: string }[] = [];

describe('a password', { timeout: 400_000 }, () => {
  let certificates: Certificates | null = null;
  let run: TestRun;
  let urls: Record<'source' | 'target', string>;
  const workers: TestWorker[] = [];
  let watching = true;
  let watcher: Promise<void> = Promise.resolve();
  let looks = 0;

  const environment = () => ({ ...process.env, TEST_SOURCE_URL: urls.source, TEST_TARGET_URL: urls.target });

  /** Runs the command line and keeps all that it prints. Returns its exit code; 128 when it was ended, by us or itself. */
  const tellOnce = async (
    what: string,
    args: readonly string[],
    extra: Readonly<Record<string, string | undefined>> = {},
  ): Promise<number> => {
    const child = await execute(process.execPath, [run.self.script, ...args], {
      env: { ...environment(), ...extra },
      cwd: run.directory,
      timeout: 60_000,
      killSignal: 'SIGKILL',
    }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      ({ code, stdout, stderr }: { code: number | null; stdout: string; stderr: string }) => ({
        code: code ?? 128,
        stdout,
        stderr,
      }),
    );
    said.push({ what, text: child.stdout + child.stderr });
    return child.code;
  };

  /** As {@link tellOnce}, for people and then for programs. */
  const tell = async (
    what: string,
    args: readonly string[],
    extra: Readonly<Record<string, string | undefined>> = {},
  ): Promise<readonly number[]> => [
    await tellOnce(what, args, extra),
    await tellOnce(`${what} --json`, [...args, '--json'], extra),
  ];

  const letIn = async (server: RunningServer): Promise<void> => {
    await runSql(
      server.url,
      `SET password_encryption = 'scram-sha-256'; SET log_statement = none;
       CREATE ROLE mover SUPERUSER LOGIN PASSWORD '${PASSWORD.replaceAll("'", "''")}'`,
    );
    const path = join(server.directory, 'data', 'pg_hba.conf');
    const secure = certificates === null ? 'host' : 'hostssl';
    const rules = `${secure} all,replication mover 127.0.0.1/32 scram-sha-256\nhost all,replication mover all reject\n`;
    writeFileSync(path, rules + readFileSync(path, 'utf8'));
    await runSql(server.url, 'SELECT pg_reload_conf()');
  };

  /** Arguments of all processes of this machine and names of all sessions, as long as the test runs. */
  const watch = async (): Promise<void> => {
    const found = new Set<string>();
    const sql = `SELECT application_name, query FROM pg_stat_activity WHERE application_name LIKE 'switchback/%'`;
    while (watching) {
      for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        try {
          found.add(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
        } catch {
          // It has ended.
        }
      }
      for (const server of Object.values(servers())) {
        for (const row of await runSql(server.url, sql).catch(() => [])) found.add(JSON.stringify(row));
      }
      looks += 1;
      await sleep(100);
    }
    said.push({ what: 'arguments of processes and names of sessions', text: [...found].join('\n') });
  };

  const startWorker = (extra: Readonly<Record<string, string>> = {}): TestWorker => {
    const worker = run.worker(undefined, extra);
    workers.push(worker);
    return worker;
  };

  const keepEvents = (what: string, worker: TestWorker) =>
    said.push({ what: `events of ${what}`, text: JSON.stringify(worker.events) });

  beforeAll(async () => {
    certificates = makeCertificates();
    const { source, target } = servers();
    for (const server of [source, target]) {
      await certificates?.install(server, { names: 'DNS:localhost', days: 1 });
      await letIn(server);
    }
    for (const server of [source, target]) await createDatabase(server, 'canary');
    await runSql(
      source.urlFor('canary'),
      `CREATE TABLE item (id int PRIMARY KEY, words text); INSERT INTO item SELECT i, 'x' FROM generate_series(1, 50) i;
       CREATE TABLE other (id int PRIMARY KEY)`,
    );
    const protection =
      certificates === null ? '' : `?sslmode=verify-full&sslrootcert=${certificates.authority('ours')}`;
    const urlOf = (server: RunningServer, password: string) =>
      `postgresql://mover:${password}@localhost:${server.port}/canary${protection}`;
    urls = { source: urlOf(source, ESCAPED), target: urlOf(target, encodeURIComponent(PASSWORD)) };
    run = makeRun({
      ...urls,
      phases: [
        { name: 'all', tables: ['public.item'] },
        { name: 'rest', tables: ['public.*'] },
      ],
      schema: '{ from: pg_dump }',
      router: `{ kind: command, repoint: [./route, repoint, '{side}'], hold: [./route, hold], timeout: 5s }`,
      more: 'switch: { window: 8s, max_lag: 20s, blockers: { wait: 100ms, then: abort } }',
    });
    writeFileSync(join(run.directory, 'blab'), BLABBING, { mode: 0o755 });
    writeFileSync(join(run.directory, 'route'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    watcher = watch();
  });
  afterAll(async () => {
    watching = false;
    await watcher;
    for (const worker of workers) await worker.process.kill();
    run?.remove();
    certificates?.remove();
  });

  it('is used where nothing can be reached', async () => {
    const at = (change: (url: URL) => void) => {
      const url = new URL(urls.source);
      change(url);
      return { TEST_SOURCE_URL: url.toString() };
    };
    const cases: Readonly<Record<string, Readonly<Record<string, string>>>> = {
      'a wrong password': at((url) => {
        url.password = `${ESCAPED}x`;
      }),
      'a wrong host': at((url) => {
        url.hostname = 'nowhere.invalid';
      }),
      'a refused connection': at((url) => {
        url.port = '1';
      }),
      'a wrong database': at((url) => {
        url.pathname = '/nowhere';
      }),
      'a wrong user': at((url) => {
        url.username = 'nobody';
      }),
      'an untrusted certificate': at((url) => {
        url.search = '?sslmode=verify-full';
      }),
      'a mode that is none': at((url) => {
        url.search = '?sslmode=bogus';
      }),
      'a password as a parameter': at((url) => {
        url.username = '';
        url.password = '';
        url.search = `?user=mover&password=${ESCAPED}&sslmode=require&x=${ESCAPED}`;
      }),
      'a URL that is none': { TEST_SOURCE_URL: `postgresql://mover:${ESCAPED}@local host:x/canary` },
      'another kind of URL': { TEST_SOURCE_URL: urls.source.replace('postgresql:', 'mysql:') },
      'the same database twice': { TEST_TARGET_URL: urls.source },
    };
    for (const [what, extra] of Object.entries(cases)) {
      expect([what, await tell(`check with ${what}`, ['check', run.plan], extra)]).not.toContain(0);
    }
    const wrong = cases['a wrong password'] ?? {};
    for (const command of ['run', 'status', 'audit verify', 'cutover all --confirm all']) {
      const [name = '', ...rest] = command.split(' ');
      const args = name === 'audit' ? [name, ...rest, run.plan] : [name, run.plan, ...rest];
      expect([command, await tell(`${command} with a wrong password`, args, wrong)]).not.toContain(0);
    }
  });

  it('is used by plans that are wrong', async () => {
    const written = join(run.directory, 'written.yaml');
    const text = readFileSync(run.plan, 'utf8');
    const reference = '"${'.concat('TEST_SOURCE_URL}"');
    const changed = (line: RegExp, by: string): string => text.replace(line, () => by);
    const webhook = (url: string) => `  app: { kind: webhook, url: "${url}", secret: "\${TEST_SOURCE_URL}" }`;
    const plans = [
      changed(/^source: .*$/m, `source: { url: "postgresql://mover:${ESCAPED}@localhost/canary" }`),
      changed(/^source: .*$/m, `source: { url: "postgresql://mover@localhost/canary?password=${ESCAPED}" }`),
      changed(/^ {2}app: .*$/m, webhook(`https://hooks.example/${CORE}R3p01nTh00k?x=1`)),
      changed(/^ {2}app: .*$/m, webhook(`https://hooks.example/?token=${CORE}`)),
      changed(/^ {2}app: .*$/m, webhook(`ftp://hooks.example/${CORE}`)),
      changed(/^target: .*$/m, `target: { url: ${reference} }`),
      changed(/^name: .*$/m, `name: ${reference}`),
      changed(/kind: command/, `kind: ${reference}`),
      changed(/timeout: 5s/, `timeout: ${reference}`),
      changed(/^phases:/m, 'phases: [ *'),
    ];
    for (const [index, plan] of plans.entries()) {
      writeFileSync(written, plan);
      expect(await tell(`check of wrong plan ${index}`, ['check', written])).toEqual(expect.not.arrayContaining([0]));
    }
    writeFileSync(written, '');
  });

  it('is used in the address of a webhook that repeats what it was asked', async () => {
    const receiver = createServer((request, response) => {
      const parts = (request.url ?? '').split(/[/?=&]/).join(' ');
      response.writeHead(request.url?.includes('odd') === true ? 200 : 403).end(`no ${request.url}: ${parts}`);
    });
    await once(receiver.listen(0, '127.0.0.1'), 'listening');
    const origin = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
    const text = readFileSync(run.plan, 'utf8');
    const plan = join(run.directory, 'webhook.yaml');
    const urls = [`/${CORE}R3p01nTh00k/a`, `/odd/?token=${CORE}&x=1`, `/odd?${CORE}R3p01nTh00k`];
    for (const path of urls) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: references of the plan's language
      const router = '  app: { kind: webhook, url: "${HOOK}", secret: "${HOOK_SECRET}", observe: GET }';
      writeFileSync(
        plan,
        text.replace(/^ {2}app: .*$/m, () => router),
      );
      const extra = { HOOK: `${origin}${path}`, HOOK_SECRET: `${CORE}-of-the-webhook` };
      expect(await tell(`check with a webhook at ${urls.indexOf(path)}`, ['check', plan], extra)).toEqual([3, 3]);
      expect(said.at(-1)?.text).toContain(origin);
    }
    receiver.close();
  });

  it('is used when pg_dump fails and prints its environment', async () => {
    const worker = startWorker({ PG_DUMP: join(run.directory, 'blab') });
    await worker.until(({ events }) => events.some(({ type }) => type === 'note' || type === 'finding'));
    keepEvents('a worker with a pg_dump that fails', worker);
    expect(said.at(-1)?.text).toContain('cannot reach');
    await worker.process.kill();
    expect(await tell('status after that', ['status', run.plan])).toEqual([0, 0]);
  });

  it('is used through a whole run, with a router that fails and prints its environment', async () => {
    const worker = startWorker();
    await worker.until(({ events }) => events.length > 0);
    await tell('resume', ['resume', run.plan]);
    await worker.untilState('ready', 'all', 'rest');
    if (certificates !== null) {
      const sessions = `SELECT coalesce(bool_and(ssl), false) AS safe, count(*)::int AS n,
        count(*) FILTER (WHERE backend_type = 'walsender')::int AS senders
        FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE application_name LIKE 'switchback/%'`;
      const [source] = await runSql(servers().source.url, sessions);
      const [target] = await runSql(servers().target.url, sessions);
      expect([source?.safe, target?.safe]).toEqual([true, true]);
      expect(source?.senders).toBeGreaterThan(0);
    }
    const route = join(run.directory, 'route');
    writeFileSync(route, BLABBING, { mode: 0o755 });
    expect(await tell('cutover with a router that fails', ['cutover', run.plan, 'all', '--confirm', 'all'])).toEqual([
      5, 5,
    ]);
    writeFileSync(route, '#!/bin/sh\nexit 0\n', { mode: 0o755 });

    // An application that puts a password into a statement, and then stands in the way.
    const { default: pg } = await import('pg');
    const blocker = new pg.Client({ connectionString: servers().source.urlFor('canary') });
    blocker.on('error', () => undefined);
    await blocker.connect();
    const literal = `'${PASSWORD.replaceAll("'", "''")}'`;
    await blocker.query(`BEGIN; INSERT INTO item VALUES (1000, ${literal}); ALTER ROLE mover PASSWORD ${literal}`);
    expect(await tell('cutover that is blocked', ['cutover', run.plan, 'all', '--confirm', 'all'])).toEqual([5, 5]);
    await blocker.end();
    keepEvents('the worker', worker);
    await worker.process.kill();
  });

  it('is used when the worker dies, meets what it did not expect, and parks', async () => {
    const codes = await tell('cutover with an unexpected exception', ['cutover', run.plan, 'all', '--confirm', 'all'], {
      SWITCHBACK_FAILPOINT: 'begun cutover/prove:throw',
    });
    expect(codes).not.toContain(0);
    const killed = await tellOnce('cutover that is killed', ['cutover', run.plan, 'all', '--confirm', 'all'], {
      SWITCHBACK_FAILPOINT: 'acted cutover/commit:kill',
    });
    expect(killed).toBe(128);
    const away = new URL(urls.target);
    away.port = '1';
    await tell('resume without the target', ['resume', run.plan], { TEST_TARGET_URL: away.toString() });
    await tell('status without the target', ['status', run.plan], { TEST_TARGET_URL: away.toString() });
    writeFileSync(join(run.directory, 'route'), BLABBING, { mode: 0o755 });
    expect(await tell('resume with a router that fails', ['resume', run.plan])).not.toContain(0);
    writeFileSync(join(run.directory, 'route'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    expect(await tell('resume', ['resume', run.plan])).toEqual([0, 0]);
  });

  it('is used when sessions are lost and a lane is halted', async () => {
    const worker = startWorker();
    await worker.until(({ events }) => events.some(({ type }) => type === 'lag'));
    for (const server of Object.values(servers())) {
      await runSql(server.url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mover'`);
    }
    await runSql(servers().target.urlFor('canary'), `ALTER TABLE item ADD ${CORE.toLowerCase().slice(0, 3)} int`);
    await runSql(servers().target.urlFor('canary'), `INSERT INTO item VALUES (2000, 'x', 1)`);
    await worker.until(({ events }) => events.some(({ type }) => type === 'halted'));
    await tell('status of a halted lane', ['status', run.plan]);
    await tell('failback with a halted lane', ['failback', run.plan, 'all', '--confirm', 'all']);
    await tell('verify', ['verify', run.plan, 'rest']);
    keepEvents('the second worker', worker);
    await worker.stop();
  });

  it('stands in nothing that we wrote', async () => {
    await tell('report', ['report', run.plan]);
    await tell('audit', ['audit', 'show', run.plan]);
    await tell('audit', ['audit', 'verify', run.plan]);
    await tell('show', ['show', run.plan]);
    const source = new URL(urls.source);
    source.port = '1';
    await tell('status without the source', ['status', run.plan], { TEST_SOURCE_URL: source.toString() });
    await tell('report without the source', ['report', run.plan, '--out', 'mirror.html'], {
      TEST_SOURCE_URL: source.toString(),
    });
    watching = false;
    await watcher;
    expect(looks).toBeGreaterThan(20);
    for (const [side, server] of Object.entries(servers())) {
      const url = server.urlFor('canary');
      const tables = await runSql(
        url,
        `SELECT relname FROM pg_class WHERE relnamespace = 'switchback'::regnamespace AND relkind = 'r'`,
      );
      expect(tables.length).toBeGreaterThan(10);
      for (const { relname } of tables) {
        const rows = await runSql(url, `SELECT to_json(t)::text AS row FROM switchback.${String(relname)} t`);
        said.push({ what: `${side}: table ${String(relname)}`, text: rows.map(({ row }) => String(row)).join('\n') });
      }
    }
    for (const name of readdirSync(run.directory)) {
      said.push({ what: `file ${name}`, text: readFileSync(join(run.directory, name), 'utf8') });
    }
    expect(said.filter(({ text }) => text.includes('test-report') || text.includes('<html')).length).toBeGreaterThan(0);
    // What is looked for can be found: the programs did print it, and we kept what they printed without it.
    expect(said.filter(({ text }) => text.includes('***')).length).toBeGreaterThan(5);
    const leaks = said.filter(({ text }) => holdsSecret(text));
    expect(leaks.map(({ what, text }) => ({ what, where: around(text) }))).toEqual([]);
  });
});

const around = (text: string): string => {
  const at = Math.min(...NEEDLES.map((needle) => text.toLowerCase().indexOf(needle)).filter((index) => index >= 0));
  return text.slice(Math.max(0, at - 200), at + 100);
};
