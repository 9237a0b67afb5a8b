import { type RunningClients, startClients } from '../../../src/demo/clients.ts';
import { Ledger } from '../../../src/demo/ledger.ts';
import { checkLedger } from '../../../src/demo/ledger-check.ts';
import { readPrimaryRows } from '../../../src/demo/primary-rows.ts';
import { runCommand, WorkerProcess } from '../../../src/demo/program.ts';
import { createShop } from '../../../src/demo/shop.ts';
import { type Stage, setStage } from '../../../src/demo/stage.ts';
import { stallOf, switchesSeen } from '../../../src/demo/stall.ts';
import type { Event } from '../../../src/domain/event.ts';
import { monotonicMs, sleep } from '../../../src/platform/clock.ts';
import type { Report } from '../../../src/stages/report-data.ts';
import type { ReportSwitch } from '../../../src/stages/report-switches.ts';
import { type FiguresPart, figuresOf, figuresPart, inDirectory, PROGRAM } from '../figures.ts';
import type { BenchOptions, Check, Figure, Pair, Part } from '../part.ts';
import { POOL_SIZE, type Way, wayOf } from '../pooled.ts';
import { medianOf } from '../rounds.ts';
import { freshDatabase } from '../servers.ts';

const SIZES = {
  full: { rows: 300_000, clients: 32, perSecond: 1_000, backEachRound: 2 },
  small: { rows: 5_000, clients: 8, perSecond: 200, backEachRound: 1 },
} as const;
type Size = (typeof SIZES)[keyof typeof SIZES];

const PHASES = ['catalog', 'orders'] as const;
const CONFIRM = ['--confirm', PHASES.join(',')] as const;
const CLIENTS = {
  file: 'they follow the route file of the `file` router and retry what is refused',
  pgbouncer: `they are behind one PgBouncer in transaction pooling, with ${POOL_SIZE} sessions on the server for each phase (\`default_pool_size\`), led by the \`pgbouncer\` router, and know nothing of a switch`,
  haproxy:
    'they are behind one HAProxy, led by the `haproxy` router, and connect again when they are refused or cut off',
} as const;
/** So long the clients write on between switches; what waited in one has ended when the next begins. */
const BETWEEN_MS = 1_000;
/** What is not held has a try more, and its pause before it. */
const STALL_REACH_MS = { file: 1_000, pgbouncer: 250, haproxy: 1_000 } as const;
const WINDOW_REACH_MS = 500;

/** `switch`: cutovers and failbacks in turn under busy clients that retry, and what they felt of it. */
export const switchPart: Part = figuresPart<Size>({
  name: 'switch',
  description: 'cutovers and failbacks under 32 busy clients that retry; nothing may be lost',
  sizes: SIZES,
  measure: async (pair, size, options) => await inDirectory((directory) => measure(pair, { size, directory, options })),
  notes: (size, { router }) => [
    `${size.clients} clients, each with one operation at a time, ${size.perSecond} a second together (five sixths of them writes), in this process; ${CLIENTS[router]}`,
    `a shop of ${size.rows.toLocaleString('en')} rows in 21 tables; both phases switch together, \`switchback cutover\` and \`switchback failback\` in turn, ${2 * size.backEachRound} of them a round`,
    'stall: from when a client wanted an operation until it was told, of operations that overlapped the switch; window: from the intent of the fence to the outcome of the lift, by the journal; a step without its time in the list is below a millisecond',
  ],
});

type Found = Awaited<ReturnType<FiguresPart<Size>['measure']>>;

const measure = async (
  pair: Pair,
  { size, directory, options }: { readonly size: Size; readonly directory: string; readonly options: BenchOptions },
): Promise<Found> => {
  const source = { url: await freshDatabase(pair.source, 'shop'), version: pair.source.version };
  const target = { url: await freshDatabase(pair.target, 'shop'), version: pair.target.version };
  const urls = { source: source.url, target: target.url };
  const way = await wayOf(options.router, { directory, pair, urls });
  try {
    const { router, environment } = way;
    const stage = setStage({ directory, source, target, script: PROGRAM, engine: 'stream', router, environment });
    const ledger = new Ledger();
    const clients = startClients({
      urls: way.urls,
      routeFile: way.routeFile,
      size: await createShop(source.url, { rows: size.rows }),
      ledger,
      clients: size.clients,
      ratePerSecond: size.perSecond,
      seed: options.seed,
    });
    const what = `${pair.name}, ${size.clients} clients${way.behind}`;
    return await play({ what, stage, ledger, clients, back: size.backEachRound * options.rounds, options, way });
  } finally {
    await way.close();
  }
};

/** One game of cutovers and failbacks. */
interface Game {
  readonly what: string;
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly clients: RunningClients;
  /** How many times there and back. */
  readonly back: number;
  readonly options: BenchOptions;
  readonly way: Way;
}

const play = async (game: Game): Promise<Found> => {
  const { stage, clients, ledger, back, options, what, way } = game;
  const ready = new Set<string>();
  const onEvent = (event: Event): void => {
    if (event.type === 'phase' && event.to === 'ready') ready.add(event.phase);
    way.onEvent(event, ledger);
  };
  const worker = new WorkerProcess(stage.self, { plan: stage.plan, onEvent });
  try {
    const wait = async (): Promise<void> => {
      while (ready.size < PHASES.length) await sleep(50, options.signal);
    };
    await Promise.race([wait(), worker.ended()]);
    options.tell(`${what}: both phases are ready; ${back} cutovers and ${back} failbacks`);
    for (let i = 0; i < 2 * back; i++) {
      options.signal.throwIfAborted();
      await sleep(BETWEEN_MS);
      const command = i % 2 === 0 ? 'cutover' : 'failback';
      const begun = monotonicMs();
      await Promise.race([runCommand(stage.self, [command, stage.plan, ...PHASES, ...CONFIRM]), worker.ended()]);
      options.tell(`${command}: ${((monotonicMs() - begun) / 1000).toFixed(1)} s from the command to its end`);
    }
    await sleep(BETWEEN_MS);
    await clients.stop();
    const { json: verified } = await runCommand(stage.self, ['verify', stage.plan, ...PHASES], { anyExitCode: true });
    const { json } = await runCommand(stage.self, ['report', stage.plan]);
    const verdict = await checksOf(game, verified.ok === true);
    const { switches } = json as unknown as Report;
    const committed = switches.filter(({ outcome }) => outcome === 'committed');
    const all = { case: what, what: `${2 * back} switches committed`, ok: committed.length === 2 * back };
    const memory = figuresOf(what)("worker's memory at most", 'bytes', { value: worker.peakBytes });
    return {
      figures: [...stallFigures(game), ...windowFigures(what, committed), memory],
      checks: [all.ok ? all : { ...all, found: `${committed.length} of ${switches.length}` }, ...verdict],
    };
  } finally {
    await clients.stop();
    await worker.stop();
  }
};

/** The clients' ledger against the primary, which is the source again after as many failbacks as cutovers. */
const checksOf = async ({ what, stage, ledger }: Game, verified: boolean): Promise<readonly Check[]> => {
  const { source } = stage.urls;
  const verdict = checkLedger(ledger, await readPrimaryRows({ catalog: source, orders: source }));
  const { lost, duplicated, reordered, phantom, acknowledged, examples } = verdict;
  const text = `${acknowledged.toLocaleString('en')} acknowledged writes: none lost, duplicated or reordered, none that failed is there`;
  const ok = acknowledged > 0 && lost + duplicated + reordered + phantom === 0;
  const check = { case: what, what: text, ok };
  return [
    ok ? check : { ...check, found: JSON.stringify({ lost, duplicated, reordered, phantom, examples }) },
    { case: what, what: 'verified: both sides are equal at the end', ok: verified },
  ];
};

const stallFigures = ({ what, ledger, options }: Game): readonly Figure[] => {
  const figure = figuresOf(what);
  const switches = switchesSeen(ledger);
  const stalls = switches.map((seen) => stallOf(ledger, seen));
  const p99 = stalls.map(({ p99Ms }) => p99Ms);
  const counts = ledger.counts();
  const sum = (of: readonly number[]): number => of.reduce((total, value) => total + value, 0);
  return [
    figure('stall p99, all switches together', 'ms', {
      value: stallOf(ledger, ...switches).p99Ms,
      atMost: STALL_REACH_MS[options.router],
    }),
    figure('stall p99, median of the switches', 'ms', { value: medianOf(p99) }),
    figure('stall p99, worst switch', 'ms', { value: Math.max(...p99), atMost: STALL_REACH_MS[options.router] }),
    figure('longest stall of all', 'ms', { value: Math.max(...stalls.map(({ maxMs }) => maxMs)) }),
    figure('operations that overlapped a switch', 'count', { value: sum(stalls.map(({ operations }) => operations)) }),
    figure('attempts of theirs that were refused', 'count', { value: sum(stalls.map(({ errors }) => errors)) }),
    figure('operations that failed, or ended unknown', 'count', { value: counts.failed + counts.unknown }),
  ];
};

/** From the intent of the fence to the outcome of the lift, in milliseconds. */
const windowOf = ({ steps }: ReportSwitch): number => {
  const fence = steps.find(({ step }) => step === 'fence');
  const lift = steps.find(({ step }) => step === 'lift');
  if (fence === undefined || lift === undefined) return Number.NaN;
  return Date.parse(lift.at) + (lift.ms ?? 0) - Date.parse(fence.at);
};

const windowFigures = (what: string, switches: readonly ReportSwitch[]): readonly Figure[] => {
  const figure = figuresOf(what);
  const windows = switches.map(windowOf);
  const held = switches.map(({ windowMs }) => windowMs ?? Number.NaN);
  const byStep = Map.groupBy(
    switches.flatMap(({ steps }) => steps),
    ({ step }) => step,
  );
  const steps = [...byStep].map(([step, all]) =>
    figure(`step "${step}", median`, 'ms', { value: medianOf(all.map(({ ms }) => ms ?? 0)) }),
  );
  return [
    figure('window, fence to lift: median', 'ms', { value: medianOf(windows) }),
    figure('window, fence to lift: worst', 'ms', { value: Math.max(...windows), atMost: WINDOW_REACH_MS }),
    figure('from hold to release: median', 'ms', { value: medianOf(held) }),
    ...steps.filter(({ value }) => value >= 1),
  ];
};
