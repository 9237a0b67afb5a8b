import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { messageOf } from '../../src/domain/errors.ts';
import type { Event } from '../../src/domain/event.ts';
import { sleep } from '../../src/platform/clock.ts';
import { codeOf } from '../../src/platform/postgres/server.ts';
import { makeRun, type TestPhase, type TestRun, type TestWorker } from './run.ts';
import { createDatabase, runSql, type ServerPair } from './servers.ts';
import { openTerminal, type Terminal } from './terminal.ts';

/** A run on two databases of its own, with the sessions and processes that a test opens on it. */
export interface Scene {
  readonly source: string;
  readonly target: string;
  readonly run: TestRun;
  /** A session that is ended with the scene. */
  session(url: string): Promise<pg.Client>;
  /** A worker that is ended with the scene. */
  worker(onEvent?: (event: Event) => void, environment?: Readonly<Record<string, string>>): TestWorker;
  /** The command line without `--json`, for what a person reads. Ended with the scene. */
  terminal(...args: readonly string[]): Terminal;
  /** As {@link Scene.terminal}, in another environment. */
  terminalWith(environment: TestRun['self']['environment'], ...args: readonly string[]): Terminal;
  close(): Promise<void>;
}

/** What the plan of a scene says. */
export interface PlanOptions {
  /** One phase `all` with every table of `public` when absent. */
  readonly phases?: readonly TestPhase[];
  readonly ignore?: readonly string[];
  /** YAML of the plan's `schema` key. */
  readonly from?: string;
  /** YAML of the router `app`; a route file without it. */
  readonly router?: string;
  /** YAML of other routers, by name. */
  readonly routers?: Readonly<Record<string, string>>;
  /** More lines of the plan. A wide window when absent, since other people's tests run on the same machine. */
  readonly more?: string;
}

/** What a scene is made of. */
export interface SceneOptions extends PlanOptions {
  /** Name of both databases; one of its own when absent. */
  readonly name?: string;
  /** Run on both sides, or with `targetSchema` on the source only. */
  readonly schema: string;
  readonly targetSchema?: string;
  /** Run on the source after the schema. */
  readonly rows?: string;
}

const MORE = 'switch: { window: 30s, max_lag: 20s }';
const ALL: readonly TestPhase[] = [{ name: 'all', tables: ['public.*'] }];
let scenes = 0;

/** Makes two databases and a plan. */
export const makeScene = async (servers: ServerPair, options: SceneOptions): Promise<Scene> => {
  scenes += 1;
  const name = options.name ?? `scene_${scenes}`;
  const source = await createDatabase(servers.source, name);
  const target = await createDatabase(servers.target, name);
  await runSql(source, options.schema);
  await runSql(target, options.targetSchema ?? options.schema);
  if (options.rows !== undefined) await runSql(source, options.rows);
  return sceneOn({ source, target }, options);
};

/** A plan for databases that stand already. */
export const sceneOn = (urls: Pick<Scene, 'source' | 'target'>, options: PlanOptions): Scene => {
  const run = makeRun({
    ...urls,
    phases: options.phases ?? ALL,
    more: options.more ?? MORE,
    ...(options.router === undefined ? {} : { router: options.router }),
    ...(options.routers === undefined ? {} : { routers: options.routers }),
    ...(options.from === undefined ? {} : { schema: options.from }),
    ...(options.ignore === undefined ? {} : { ignore: options.ignore }),
  });
  const sessions: pg.Client[] = [];
  const workers: TestWorker[] = [];
  const terminals: Terminal[] = [];
  const terminalWith: Scene['terminalWith'] = (environment, ...args) => {
    const terminal = openTerminal({ ...run.self, environment }, { args, directory: run.directory });
    terminals.push(terminal);
    return terminal;
  };
  return {
    ...urls,
    run,
    session: async (url) => {
      const client = new pg.Client({ connectionString: url, application_name: 'scene' });
      client.on('error', () => undefined);
      await client.connect();
      sessions.push(client);
      return client;
    },
    worker: (onEvent, environment) => {
      const worker = run.worker(onEvent, environment);
      workers.push(worker);
      return worker;
    },
    terminal: (...args) => terminalWith(run.self.environment, ...args),
    terminalWith,
    close: async () => {
      // Killed, not asked: after a test that failed a worker may be waiting for whatever it left behind.
      await Promise.all(workers.map((worker) => worker.process.kill()));
      for (const terminal of terminals) terminal.process.kill('SIGKILL');
      await Promise.allSettled(terminals.map((terminal) => terminal.ended));
      await Promise.allSettled(sessions.map((session) => session.end()));
      await Promise.allSettled([urls.source, urls.target].map(dropSlots));
      run.remove();
    },
  };
};

/** A server has ten slots by default, so that a file of several scenes would run out of them. */
const dropSlots = async (url: string): Promise<void> => {
  await runSql(
    url,
    `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
     WHERE database = current_database() AND active_pid IS NOT NULL`,
  );
  await sleep(200);
  await runSql(
    url,
    'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()',
  );
};

/** Whether a worker has told that a step of a switch or stage has come to a status. */
export const stepSeen =
  (step: string, status: string, scope?: RegExp) =>
  (worker: Pick<TestWorker, 'events'>): boolean =>
    worker.events.some(
      (event) =>
        event.type === 'step' &&
        event.step === step &&
        event.status === status &&
        (scope === undefined || scope.test(event.scope)),
    );

/** SQLSTATE that a statement ends with, `done` when it does not fail. */
export const outcomeOf = async (client: pg.ClientBase, sql: string): Promise<string> => {
  try {
    await client.query(sql);
    return 'done';
  } catch (error) {
    return codeOf(error) || messageOf(error);
  }
};

/** As {@link outcomeOf}, for COPY FROM STDIN of text lines. */
export const copyOutcome = async (client: pg.ClientBase, sql: string, lines: string): Promise<string> => {
  try {
    await pipeline(Readable.from([lines]), client.query(copyFrom(sql)));
    return 'done';
  } catch (error) {
    return codeOf(error) || messageOf(error);
  }
};

/** Answers of commands that tests look into. */
export interface ErrorAnswer {
  readonly message: string;
  readonly remedy: string;
}

/** The message and remedy of an answer, wherever the command put them. */
export const saidBy = (answer: { readonly json: Readonly<Record<string, unknown>> }): ErrorAnswer => {
  const { json } = answer;
  const inner = (json.error ?? json) as { readonly message?: unknown; readonly remedy?: unknown };
  return { message: String(inner.message ?? ''), remedy: String(inner.remedy ?? '') };
};
