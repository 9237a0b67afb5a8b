import { createHash } from 'node:crypto';
import pg from 'pg';
import { expect } from 'vitest';
import type { Event } from '../../src/domain/event.ts';
import { sleep } from '../../src/platform/clock.ts';
import { type CommandAnswer, makeRun, type TestPhase, type TestRun, type TestWorker } from './run.ts';
import { createDatabase, runSql, type ServerPair } from './servers.ts';

/** What a scenario begins with. */
export interface ScenarioOptions {
  /** Name of both databases. */
  readonly name: string;
  /** Statements that make the tables, for both sides. */
  readonly schema: string;
  /** Statements for the source, such as the first rows. */
  readonly rows?: string;
  /** One phase `all` with every table of every schema when absent. */
  readonly phases?: readonly TestPhase[];
  /** YAML of the plan's schema key; with one, `schema` is run on the source only. */
  readonly planSchema?: string;
  readonly ignore?: readonly string[];
  /** More lines of the plan. */
  readonly more?: string;
}

/** Two databases, a plan, and the worker. */
export interface Scenario {
  readonly source: string;
  readonly target: string;
  readonly run: TestRun;
  /** Runs statements as a client with the application's settings. */
  onSource(sql: string): Promise<Record<string, unknown>[]>;
  onTarget(sql: string): Promise<Record<string, unknown>[]>;
  /** Starts a worker; `close` ends it, if it still runs. */
  startWorker(environment?: Readonly<Record<string, string>>): TestWorker;
  /**
   * Waits until phases are in a state, or have been told to have been in it; fails at once when the worker has ended or
   * says that it cannot get there.
   */
  untilState(worker: TestWorker, state: string, ...phases: readonly string[]): Promise<void>;
  /** Runs a switch and fails with what it said unless it succeeds. */
  change(kind: 'cutover' | 'failback', ...phases: readonly string[]): Promise<void>;
  /** Runs `verify` and compares every row of both sides ourselves. */
  expectEqual(): Promise<void>;
  /** `status --json` of a phase. */
  phase(name: string): Promise<PhaseView>;
  /** Ends workers and removes slots and files. */
  close(): Promise<void>;
}

/** The parts of `status --json` that tests look at. */
export interface PhaseView {
  readonly name: string;
  readonly state: { readonly name: string };
  readonly source: { readonly role: string; readonly fenced: boolean } | null;
  readonly target: { readonly role: string; readonly fenced: boolean } | null;
  readonly lane: {
    readonly slot: string;
    readonly halt: { readonly finding: { readonly id: string; readonly fact: string } } | null;
  } | null;
  readonly next: readonly string[];
}

/** Why a worker does not come further by itself, from what it told; undefined while it does. */
export const obstacle = (events: readonly Event[]): string | undefined => {
  const found = events.find((e) => e.type === 'halted' || (e.type === 'finding' && e.finding.severity === 'blocks'));
  return found?.type === 'halted' || found?.type === 'finding' ? JSON.stringify(found.finding) : undefined;
};

/** Waits until the worker has told that phases are in a state; fails at once when it says that it cannot get there. */
export const untilState = async (worker: TestWorker, state: string, ...phases: readonly string[]): Promise<void> => {
  await worker.until(({ events }) => {
    const stopped = obstacle(events);
    if (stopped !== undefined) throw new Error(`the worker cannot go on: ${stopped}`);
    return phases.every((phase) => worker.state(phase) === state);
  });
};

/** Fails with what a command said unless it ended with this exit code. */
export const expectExit = (answer: CommandAnswer, exitCode = 0): void => {
  expect({ exitCode: answer.exitCode, said: answer.json }).toEqual({ exitCode, said: answer.json });
};

const STATES = `SELECT name, doc::json ->> 'name' AS state FROM switchback.phase`;

const SLOTS_OF_DATABASE = `
  SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active;
  SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
   WHERE database = current_database() AND NOT active`;

/** Makes the databases and the plan of a scenario. */
export const makeScenario = async (servers: ServerPair, options: ScenarioOptions): Promise<Scenario> => {
  const source = await createDatabase(servers.source, options.name);
  const target = await createDatabase(servers.target, options.name);
  await runSql(source, options.schema);
  if (options.planSchema === undefined) await runSql(target, options.schema);
  if (options.rows !== undefined) await runSql(source, options.rows);
  return scenarioOn({ source, target }, options);
};

/** A plan for databases that stand already. */
export const scenarioOn = (
  urls: { readonly source: string; readonly target: string },
  options: Pick<ScenarioOptions, 'phases' | 'planSchema' | 'ignore' | 'more'>,
): Scenario => {
  const phases = options.phases ?? [{ name: 'all', tables: ['*.*'] }];
  const names = phases.map((phase) => phase.name);
  const run = makeRun({
    ...urls,
    phases,
    ...(options.planSchema === undefined ? {} : { schema: options.planSchema }),
    ...(options.ignore === undefined ? {} : { ignore: options.ignore }),
    ...(options.more === undefined ? {} : { more: options.more }),
  });
  const workers: TestWorker[] = [];
  return {
    ...urls,
    run,
    onSource: (sql) => runSql(urls.source, sql),
    onTarget: (sql) => runSql(urls.target, sql),
    startWorker: (environment) => {
      const worker = run.worker(undefined, environment);
      workers.push(worker);
      return worker;
    },
    untilState: async (worker, state, ...phases) => {
      // A worker tells of changes only, and a phase may be where it is wanted since before this worker began.
      const isThere = async () => {
        const stored = await runSql(urls.source, STATES);
        return phases.every((phase) => stored.some((row) => row.name === phase && row.state === state));
      };
      let hasEnded = false;
      const ended = worker.process.ended().finally(() => {
        hasEnded = true;
      });
      const wait = async () => {
        while (!hasEnded) {
          const stopped = obstacle(worker.events);
          if (stopped !== undefined) throw new Error(`the worker cannot go on: ${stopped}`);
          if (phases.every((phase) => worker.state(phase) === state)) return;
          if (worker.events.length > 0 && (await isThere())) return;
          await sleep(50);
        }
      };
      await Promise.race([ended, wait()]);
    },
    change: async (kind, ...phases) => {
      expectExit(await run.command(kind, run.plan, ...phases, '--confirm', phases.join(',')));
    },
    expectEqual: async () => {
      expectExit(await run.command('verify', run.plan, ...names));
      const [source, target] = await Promise.all([allRows(urls.source), allRows(urls.target)]);
      expect(target).toEqual(source);
    },
    phase: async (name) => {
      const { json } = await run.command('status', run.plan);
      const found = (json.phases as readonly PhaseView[] | undefined)?.find((phase) => phase.name === name);
      if (found === undefined) throw new Error(`status does not show phase ${name}: ${JSON.stringify(json)}`);
      return found;
    },
    close: async () => {
      // Killed, not asked: after a test that failed a worker may be waiting for whatever it left behind.
      for (const worker of workers) await worker.process.kill();
      for (const url of [urls.source, urls.target]) await runSql(url, SLOTS_OF_DATABASE).catch(() => undefined);
      run.remove();
    },
  };
};

const TABLES = `
  SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'switchback')
     AND n.nspname NOT LIKE 'pg\\_temp%'
   ORDER BY 1`;

/** With these a value has one text, wherever it is printed. The oracle's own, so that a wrong setting of ours is seen. */
const ONE_TEXT = [
  'DateStyle=ISO,MDY',
  'IntervalStyle=postgres',
  'TimeZone=UTC',
  'extra_float_digits=3',
  'bytea_output=hex',
  'lc_monetary=C',
  'search_path=pg_catalog',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

/**
 * Every row of every table as the text that the types' output functions give, sorted as bytes; long rows as their length
 * and digest. A row's own text keeps what a cast of a value loses, such as the padding of `char(n)`.
 */
export const allRows = async (url: string): Promise<Readonly<Record<string, readonly string[]>>> => {
  const names = (await runSql(url, TABLES)).map(({ name }) => String(name));
  return await readRows(
    url,
    Object.fromEntries(names.map((name) => [name, `SELECT t::text AS row FROM ONLY ${name} t`])),
  );
};

/** The results of queries with one text column `row`, in a session whose settings give a value one text; as {@link allRows}. */
export const readRows = async (
  url: string,
  queries: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, readonly string[]>>> => {
  const client = new pg.Client({ connectionString: url, options: ONE_TEXT });
  await client.connect();
  try {
    const found: Record<string, readonly string[]> = {};
    for (const [name, query] of Object.entries(queries)) {
      const { rows } = await client.query<{ row: string }>(`SELECT row FROM (${query}) q ORDER BY row COLLATE "C"`);
      found[name] = rows.map(({ row }) => (row.length <= 2_000 ? row : `${row.length} ${digest(row)}`));
    }
    return found;
  } finally {
    await client.end();
  }
};

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
