import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkerProcess } from '../../src/demo/program.ts';
import type { Event } from '../../src/domain/event.ts';
import { monotonicMs, sleep } from '../../src/platform/clock.ts';
import { builtProgram } from './built.ts';
import { runSql } from './servers.ts';

/** What is to be moved by Switchback. */
export interface MoveOptions {
  readonly source: string;
  readonly target: string;
  /** Phases by name, with the patterns of their tables. */
  readonly phases: Readonly<Record<string, readonly string[]>>;
  /** SQL of the target's schema; undefined for the schema as pg_dump finds it. */
  readonly schema?: string;
  /** More lines of the plan, at the top level. */
  readonly more?: string;
  /** Everything that the worker tells, as it comes. */
  readonly onEvent?: (event: Event) => void;
}

const planText = ({ phases, schema, more }: MoveOptions): string =>
  [
    'version: 1',
    'name: bench',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    'source: { url: "${BENCH_SOURCE_URL}" }',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    'target: { url: "${BENCH_TARGET_URL}" }',
    `schema: ${schema === undefined ? '{ from: pg_dump }' : '{ files: [schema.sql] }'}`,
    'phases:',
    ...Object.entries(phases).map(([name, tables]) => `  - ${JSON.stringify({ name, tables, router: 'app' })}`),
    'routers: { app: { kind: file, path: route.json } }',
    more ?? '',
    '',
  ].join('\n');

/** A plan in a folder of its own with its worker, the program as users of the package start it, and what it has told. */
export class Move {
  readonly plan: string;
  readonly routeFile: string;
  readonly events: Event[] = [];
  /** Variables with which our commands are run on this plan. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly #options: MoveOptions;
  readonly #directory: string;
  readonly #program = builtProgram();
  #worker: WorkerProcess | undefined;
  #startedMs = 0;
  #peakBytes = 0;
  readonly #enteredMs = new Map<string, number>();

  constructor(options: MoveOptions) {
    this.#options = options;
    this.#directory = mkdtempSync(join(tmpdir(), 'switchback-bench-'));
    this.plan = join(this.#directory, 'plan.yaml');
    this.routeFile = join(this.#directory, 'route.json');
    this.environment = { ...process.env, BENCH_SOURCE_URL: options.source, BENCH_TARGET_URL: options.target };
    writeFileSync(this.plan, planText(options));
    if (options.schema !== undefined) writeFileSync(join(this.#directory, 'schema.sql'), options.schema);
    const routes = Object.keys(options.phases).map((name) => [name, { primary: 'source', held: false }] as const);
    writeFileSync(this.routeFile, JSON.stringify(Object.fromEntries(routes)));
  }

  /** Starts `switchback run`. */
  start(): void {
    this.#startedMs = monotonicMs();
    const onEvent = (event: Event) => {
      this.events.push(event);
      if (event.type === 'phase') this.#enteredMs.set(`${event.phase} ${event.to}`, monotonicMs());
      this.#options.onEvent?.(event);
    };
    this.#worker = new WorkerProcess(
      { script: this.#program, environment: this.environment },
      { plan: this.plan, onEvent },
    );
    this.#worker.ended().catch(() => undefined);
  }

  /** The worker's process id, while it runs. */
  get pid(): number | undefined {
    return this.#worker?.pid;
  }

  /** The most memory that the worker has had resident, in bytes; also after it was stopped. */
  get peakBytes(): number {
    return Math.max(this.#peakBytes, this.#worker?.peakBytes ?? 0);
  }

  /** Seconds from the worker's start until every phase had entered a state; waits for it. Rejects when the worker ends first. */
  async secondsUntil(state: Extract<Event, { type: 'phase' }>['to']): Promise<number> {
    const names = Object.keys(this.#options.phases);
    for (;;) {
      const times = names.map((name) => this.#enteredMs.get(`${name} ${state}`));
      const last = Math.max(...times.map((ms) => ms ?? Number.NaN));
      if (!Number.isNaN(last)) return (last - this.#startedMs) / 1000;
      await Promise.race([sleep(5), this.#worker?.ended()]);
    }
  }

  /** Milliseconds of each step of a stage that has ended, such as `copy rows`. */
  stepsMs(): ReadonlyMap<string, number> {
    const steps = new Map<string, number>();
    for (const event of this.events) {
      if (event.type === 'step' && event.status === 'done') steps.set(`${event.scope} ${event.step}`, event.ms ?? 0);
    }
    return steps;
  }

  /** Ends the worker as Ctrl-C does, or as a crash when it does not listen. Its files stay. */
  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.stop();
    this.#peakBytes = Math.max(this.#peakBytes, worker?.peakBytes ?? 0);
  }

  /** Ends the worker and takes away the plan and whatever of ours is on the source. The target is the caller's to drop. */
  async close(): Promise<void> {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
    await forgetRun(this.#options.source);
  }
}

/** Takes slots, publications and the sidecar from a database, as if no run had ever been. Its fences have to be gone. */
export const forgetRun = async (url: string): Promise<void> => {
  await runSql(
    url,
    `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
     WHERE database = current_database() AND active_pid IS NOT NULL`,
  );
  for (let tries = 0; tries < 100; tries++) {
    const left = await runSql(
      url,
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
       WHERE database = current_database() AND active_pid IS NULL;
       SELECT FROM pg_replication_slots WHERE database = current_database()`,
    );
    if (left.length === 0) break;
    await sleep(50);
  }
  const publications = await runSql(url, `SELECT quote_ident(pubname) AS name FROM pg_publication`);
  for (const { name } of publications) await runSql(url, `DROP PUBLICATION ${name}`);
  await runSql(url, 'DROP SCHEMA IF EXISTS switchback CASCADE');
};
