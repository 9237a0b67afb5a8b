import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FlakyProxy } from '../../scripts/chaos/proxy.ts';
import type { Side } from '../../src/domain/position.ts';
import { findPython, type RunningSample, type SampleCounts, samplesWith, startSample } from '../support/samples.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * The clients that docs/repointing.md shows, led by the file router through a cutover and a failback. Their way to the servers is
 * a proxy of ours, which loses answers to COMMIT: what they were told of has to be there once, and nothing else.
 */
const servers = useServerPair();
const python = findPython();
const CLIENTS = 3;
const SCHEMA = `
  CREATE TABLE account (id int PRIMARY KEY, cents bigint NOT NULL);
  CREATE TABLE payment (id uuid PRIMARY KEY, account int NOT NULL REFERENCES account, cents bigint NOT NULL)`;
const ROWS = `INSERT INTO account SELECT i, 0 FROM generate_series(1, ${CLIENTS}) i`;
/** Accounts whose balance is not what their payments come to: one was made by half, or twice. */
const WRONG_BALANCES = `
  SELECT a.id FROM account a LEFT JOIN payment p ON p.account = a.id
   GROUP BY a.id, a.cents HAVING a.cents <> coalesce(sum(p.cents), 0)`;
const PATIENT = { timeout: 60_000 };
const WAITING = `
  SELECT pid FROM pg_stat_activity
   WHERE datname = current_database() AND application_name LIKE 'sample-%' AND wait_event_type = 'Lock'`;
const newSessions = (since: string): string => `
  SELECT application_name AS name FROM pg_stat_activity
   WHERE datname = current_database() AND application_name LIKE 'sample-%' AND backend_start > '${since}'`;
/** Connects as libpq does with several hosts, to the first that it takes for one that can be written. */
const LOOK_FOR_READ_WRITE = `
import json, psycopg2, sys
first, second = sys.argv[1:]
session = psycopg2.connect(host="127.0.0.1,127.0.0.1", port=f"{first},{second}", user="postgres", dbname=sys.stdin.read(),
                           target_session_attrs="read-write")
cursor = session.cursor()
cursor.execute("SELECT inet_server_port(), current_setting('transaction_read_only')")
print(json.dumps(cursor.fetchone()))
`;

const toldOf = (samples: readonly RunningSample[]): readonly string[] =>
  samples.flatMap(({ acknowledged }) => acknowledged);

if (python === undefined && process.env.CI === 'true') {
  it('the sample in Python needs python3-psycopg2', () => {
    throw new Error('no Python here has psycopg2');
  });
} else if (python === undefined) {
  process.stderr.write('SKIPPED: no python3-psycopg2 here, so nothing is known of the sample in Python\n');
}

describe('sample clients', () => {
  let scenario: Scenario;
  let proxies: Readonly<Record<Side, FlakyProxy>>;
  let samples: readonly RunningSample[] = [];
  let counts: readonly SampleCounts[] = [];
  /** The clients' own name for the route file. */
  let routeFile = '';

  /** The clients see the router's file again, and from now on each change of it. */
  const follow = (): void => {
    symlinkSync(scenario.run.routeFile, `${routeFile}.new`);
    renameSync(`${routeFile}.new`, routeFile);
  };
  /** The clients see the file as it is now, as when its changes take their time to come to them. */
  const freeze = (changed: Readonly<Record<string, unknown>> = {}): void => {
    const all = { ...JSON.parse(readFileSync(scenario.run.routeFile, 'utf8')).all, ...changed };
    writeFileSync(`${routeFile}.new`, JSON.stringify({ all }));
    renameSync(`${routeFile}.new`, routeFile);
  };
  const untilAllGoOn = async (): Promise<void> => {
    const before = samples.map(({ acknowledged }) => acknowledged.length);
    const slowest = () => {
      for (const sample of samples) sample.assertRuns();
      return Math.min(...samples.map(({ acknowledged }, index) => acknowledged.length - (before[index] ?? 0)));
    };
    await expect.poll(slowest, PATIENT).toBeGreaterThan(20);
  };
  /** How many payments were made and not told of, at the last three looks. */
  const untold = (side: Side) => {
    const looks: number[] = [];
    return async (): Promise<readonly number[]> => {
      const [made] = await runSql(scenario[side], 'SELECT count(*) AS n FROM payment');
      looks.push(Number(made?.n) - toldOf(samples).length);
      return looks.slice(-3);
    };
  };
  /** Loses answers to COMMIT until every client has a payment that was made all the same. */
  const loseAnswers = async (side: Side): Promise<void> => {
    proxies[side].inject({ kind: 'commit', isHeard: true });
    const all = samples.length * CLIENTS;
    await expect.poll(untold(side), PATIENT).toEqual([all, all, all]);
    proxies[side].heal();
    await untilAllGoOn();
  };
  /** Ends every client's session in the middle of a transaction. */
  const endSessions = async (side: Side): Promise<void> => {
    const blocker = await scenario.session(scenario[side]);
    await blocker.query('BEGIN; SELECT FROM account FOR UPDATE');
    await expect.poll(() => runSql(scenario[side], WAITING), PATIENT).toHaveLength(samples.length * CLIENTS);
    await runSql(scenario[side], WAITING.replace('pid', 'pg_terminate_backend(pid)'));
    await blocker.query('COMMIT');
    await untilAllGoOn();
  };
  /** Every sample has opened a session on a side from now on. */
  const untilAllCome = async (side: Side): Promise<void> => {
    const [now] = await runSql(scenario[side], 'SELECT clock_timestamp()::text AS at');
    const names = new Set<string>();
    const look = async () => {
      for (const { name } of await runSql(scenario[side], newSessions(String(now?.at)))) names.add(String(name));
      return names.size;
    };
    await expect.poll(look, { ...PATIENT, interval: 2 }).toBe(samples.length);
  };

  // What docs/repointing.md says of `target_session_attrs`: the fence is none of what a driver looks at.
  const readWrite = (first: Side, second: Side): { readonly stdout: string; readonly stderr: string } => {
    const args = ['-c', LOOK_FOR_READ_WRITE, String(servers()[first].port), String(servers()[second].port)];
    const input = new URL(scenario.source).pathname.slice(1);
    const { stdout, stderr } = spawnSync(python ?? '', args, { input, encoding: 'utf8' });
    return { stdout: stdout.trim(), stderr };
  };

  beforeAll(async () => {
    scenario = await makeScenario(servers(), {
      schema: SCHEMA,
      targetSchema: SCHEMA,
      rows: ROWS,
      more: 'switch: { window: 30s, max_lag: 20s, blockers: { wait: 5s, then: terminate } }',
    });
    proxies = {
      source: await FlakyProxy.start(servers().source.port),
      target: await FlakyProxy.start(servers().target.port),
    };
    routeFile = join(scenario.run.directory, 'clients.json');
    follow();
    const through = (side: Side): string => {
      const url = new URL(scenario[side]);
      url.port = String(proxies[side].port);
      return url.href;
    };
    samples = samplesWith(python).map((sample) =>
      startSample(sample, {
        ROUTE_FILE: routeFile,
        PHASE: 'all',
        SOURCE_URL: through('source'),
        TARGET_URL: through('target'),
        CLIENTS: String(CLIENTS),
      }),
    );
    await scenario.untilState(scenario.worker(), 'ready', 'all');
  }, 120_000);
  afterAll(async () => {
    for (const sample of samples) sample.kill();
    await scenario?.close();
    await Promise.all(Object.values(proxies ?? {}).map((proxy) => proxy.close()));
  });

  it('wait while they are held', async () => {
    await untilAllGoOn();
    freeze({ held: true });
    let before = -1;
    const since = () => {
      const now = toldOf(samples).length;
      const more = now - before;
      before = now;
      return more;
    };
    await expect.poll(since, { ...PATIENT, interval: 300 }).toBe(0);
    follow();
    await untilAllGoOn();
  });

  it('go on through a cutover, and after answers to COMMIT were lost', async () => {
    await loseAnswers('source');
    await endSessions('source');
    await scenario.change('cutover', 'all');
    await untilAllGoOn();
    await loseAnswers('target');
  });

  it.runIf(python !== undefined)('a driver that looks for a read-write server takes a fenced 13 for it', () => {
    expect(readWrite('source', 'target')).toEqual({ stdout: `[${servers().source.port}, "off"]`, stderr: '' });
  });

  it('go on through a failback that they are told of late', async () => {
    freeze();
    await scenario.change('failback', 'all');
    // They come again and again, and each time the fenced side refuses them.
    await untilAllCome('target');
    follow();
    await untilAllGoOn();
    counts = await Promise.all(samples.map((sample) => sample.stop()));
  });

  it.runIf(python !== undefined)('a driver that looks for a read-write server takes a fenced 18 for it', () => {
    expect(readWrite('target', 'source')).toEqual({ stdout: `[${servers().target.port}, "off"]`, stderr: '' });
  });

  it('have met what they were to meet: 25006, lost sessions, and a COMMIT of unknown outcome', () => {
    expect(counts).toHaveLength(samples.length);
    for (const { readOnly, lost, unknown } of counts) {
      expect([readOnly, lost, unknown].every((count) => count > 0)).toBe(true);
    }
  });

  it('have lost nothing, and have done nothing twice', async () => {
    const told = toldOf(samples);
    expect(counts.reduce((sum, { acknowledged }) => sum + acknowledged, 0)).toBe(told.length);
    const there = (await runSql(scenario.source, 'SELECT id FROM payment')).map(({ id }) => String(id));
    expect(there.toSorted()).toEqual(told.toSorted());
    expect(await runSql(scenario.source, WRONG_BALANCES)).toEqual([]);
  });
});
