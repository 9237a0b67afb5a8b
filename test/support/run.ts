import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Composition, compose } from '../../src/compose.ts';
import { runCommand, type Self, WorkerProcess } from '../../src/demo/program.ts';
import type { Event } from '../../src/domain/event.ts';
import { loadPlan } from '../../src/plan/load.ts';

/** A plan in a folder of its own, and everything to work with it as a person would: through the command line. */
export interface TestRun {
  readonly directory: string;
  readonly plan: string;
  readonly routeFile: string;
  readonly self: Self;
  /** What the route file says of a phase. */
  route(phase: string): { readonly primary: string; readonly held: boolean };
  /** Runs a command with --json and returns its last line; any exit code. */
  command(...args: readonly string[]): Promise<CommandAnswer>;
  /** Starts the worker as another process. */
  worker(onEvent?: (event: Event) => void, environment?: Readonly<Record<string, string>>): TestWorker;
  /** The ports of the plan in this process, for looking and for planting faults. */
  compose(emit?: (event: Event) => void): Promise<Composition>;
  remove(): void;
}

/** What a command answered. */
export interface CommandAnswer {
  readonly exitCode: number;
  // Tests look at what they know is there.
  readonly json: Readonly<Record<string, unknown>>;
}

/** A worker process and what it has told so far. */
export interface TestWorker {
  readonly process: WorkerProcess;
  readonly events: readonly Event[];
  /** The newest state of a phase that was told. */
  state(phase: string): string | undefined;
  /** Resolves when the condition holds; rejects when the worker ends before. */
  until(condition: (worker: TestWorker) => boolean): Promise<void>;
  /** Resolves when all named phases are in the state. */
  untilState(state: string, ...phases: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

/** A phase of a test's plan. */
export interface TestPhase {
  readonly name: string;
  readonly tables: readonly string[];
  readonly after?: readonly string[];
  /** `app` when absent. */
  readonly router?: string | readonly string[];
  readonly reads?: string | readonly string[];
}

/** What differs between the plans of tests. */
export interface TestRunOptions {
  readonly source: string;
  readonly target: string;
  readonly phases: readonly TestPhase[];
  /** YAML of the schema key; `{ from: existing }` without it. */
  readonly schema?: string;
  readonly ignore?: readonly string[];
  /** YAML of the router `app`; a route file without it. */
  readonly router?: string;
  /** YAML of other routers, by name; without a file they lead nowhere yet. */
  readonly routers?: Readonly<Record<string, string>>;
  /** More YAML lines at the top level, such as `switch: …`. */
  readonly more?: string;
}

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

const planText = (options: TestRunOptions): string =>
  [
    'version: 1',
    'name: test',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    'source: { url: "${TEST_SOURCE_URL}" }',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    'target: { url: "${TEST_TARGET_URL}" }',
    `schema: ${options.schema ?? '{ from: existing }'}`,
    'phases:',
    ...options.phases.map((phase) => `  - ${JSON.stringify({ router: 'app', ...phase })}`),
    `ignore: ${JSON.stringify(options.ignore ?? [])}`,
    'routers:',
    `  app: ${options.router ?? '{ kind: file, path: route.json }'}`,
    ...Object.entries(options.routers ?? {}).map(([name, router]) => `  ${name}: ${router}`),
    options.more ?? '',
    '',
  ].join('\n');

/** Makes a plan and its route file, on which every phase is on the source. Files go with `remove`. */
export const makeRun = (options: TestRunOptions): TestRun => {
  const directory = mkdtempSync(join(tmpdir(), 'switchback-test-'));
  const plan = join(directory, 'plan.yaml');
  const routeFile = join(directory, 'route.json');
  writeFileSync(plan, planText(options));
  const routes = Object.fromEntries(options.phases.map(({ name }) => [name, { primary: 'source', held: false }]));
  writeFileSync(routeFile, JSON.stringify(routes));
  const environment = { ...process.env, TEST_SOURCE_URL: options.source, TEST_TARGET_URL: options.target };
  const self: Self = { script: MAIN, environment };
  return {
    directory,
    plan,
    routeFile,
    self,
    route: (phase) => JSON.parse(readFileSync(routeFile, 'utf8'))[phase],
    command: async (...args) => await runCommand(self, args, { anyExitCode: true }),
    worker: (onEvent, extra) => new Worker({ ...self, environment: { ...environment, ...extra } }, { plan, onEvent }),
    compose: async (emit) => compose(await loadPlan(plan, environment), emit ?? (() => undefined)),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
};

class Worker implements TestWorker {
  readonly process: WorkerProcess;
  readonly events: Event[] = [];
  readonly #states = new Map<string, string>();
  #wake = Promise.withResolvers<void>();

  constructor(self: Self, options: { plan: string; onEvent: ((event: Event) => void) | undefined }) {
    this.process = new WorkerProcess(self, {
      plan: options.plan,
      onEvent: (event) => {
        this.events.push(event);
        if (event.type === 'phase') this.#states.set(event.phase, event.to);
        options.onEvent?.(event);
        this.#wake.resolve();
        this.#wake = Promise.withResolvers();
      },
    });
    this.process.ended().catch(() => undefined);
  }

  state(phase: string): string | undefined {
    return this.#states.get(phase);
  }

  async until(condition: (worker: TestWorker) => boolean): Promise<void> {
    while (!condition(this)) await Promise.race([this.#wake.promise, this.process.ended()]);
  }

  async untilState(state: string, ...phases: readonly string[]): Promise<void> {
    await this.until(() => phases.every((phase) => this.state(phase) === state));
  }

  async stop(): Promise<void> {
    await this.process.stop();
  }
}
