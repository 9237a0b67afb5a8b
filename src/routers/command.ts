import { SwitchbackError } from '../domain/errors.ts';
import { ACTION_PLACEHOLDERS, fillPlaceholders, placeholdersOf, type RouterAction } from '../domain/placeholder.ts';
import type { Side } from '../domain/position.ts';
import { monotonicMs } from '../platform/clock.ts';
import { type ProgramEnd, runProgram } from '../platform/program.ts';
import { routeOf } from './observed.ts';
import type { Repoint, Route, Router } from './router.ts';
import { said } from './said.ts';

/** Programs as argument lists with placeholders; the plan's reference describes them. */
export interface CommandRouterOptions {
  readonly repoint: readonly string[];
  readonly observe?: readonly string[];
  readonly hold?: readonly string[];
  readonly release?: readonly string[];
  /** For each run of a program. */
  readonly timeoutMs: number;
  /** Where programs run. */
  readonly directory: string;
  /** What programs inherit; `SWITCHBACK_*` is added. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** EX_TEMPFAIL of sysexits.h: the program says that it could not do it now and changed nothing that matters. */
const TRY_AGAIN = 75;
const OUTPUT_SHOWN = 2_000;

/** One action for one or several phases. */
interface Call {
  readonly action: RouterAction;
  readonly phases: readonly string[];
  /** Of a repoint. */
  readonly to?: Side;
  readonly epoch?: bigint;
  /** Versions by phase, of a repoint. */
  readonly expect?: Readonly<Record<string, string>>;
}

/**
 * Asks programs of the plan's author. Without `observe` it is never known where clients are led, so every repoint runs the
 * program; with it, a repoint to where clients are led already runs nothing, and one whose version has moved on is refused.
 * The look and the program are two steps: a program that can compare and set gets the version as {previous} and the epoch.
 * Programs must bear repetition. Exit code 0 is done, 75 is "try again" (kind `unreachable`), any other a definite failure
 * (kind `refused`); after a timeout or a signal the outcome is not known (kind `unknown`).
 */
export class CommandRouter implements Router {
  readonly #options: CommandRouterOptions;

  constructor(options: CommandRouterOptions) {
    this.#options = options;
  }

  async observe(phase: string): Promise<Route> {
    if (this.#options.observe === undefined) return { primary: null, held: false, version: '' };
    const stdout = await this.#once({ action: 'observe', phases: [phase] }, this.#options.observe);
    const route = routeOf(stdout);
    if (route === null) throw malformed(stdout);
    return route;
  }

  hold(phases: readonly string[], budgetMs: number): Promise<void> {
    return this.#run({ action: 'hold', phases }, monotonicMs() + budgetMs);
  }

  release(phases: readonly string[]): Promise<void> {
    return this.#run({ action: 'release', phases });
  }

  async repoint({ phases, to, expect, epoch }: Repoint): Promise<void> {
    const open: string[] = [];
    for (const phase of phases) {
      const route = await this.observe(phase);
      if (route.primary === to) continue;
      if (this.#options.observe !== undefined && route.version !== expect[phase]) throw movedOn(phase, route);
      open.push(phase);
    }
    if (open.length > 0) await this.#run({ action: 'repoint', phases: open, to, epoch, expect });
  }

  /** Runs an action's program once for each phase when its arguments say {phase}, otherwise once for all. */
  async #run(call: Call, deadline = Number.POSITIVE_INFINITY): Promise<void> {
    const argv = this.#options[call.action];
    if (argv === undefined || call.phases.length === 0) return;
    const eachPhase = argv.some((argument) => placeholdersOf(argument).includes('phase'));
    const calls = eachPhase ? call.phases.map((phase) => ({ ...call, phases: [phase] })) : [call];
    for (const one of calls) await this.#once(one, argv, deadline);
  }

  async #once(call: Call, argv: readonly string[], deadline = Number.POSITIVE_INFINITY): Promise<string> {
    const timeoutMs = Math.min(this.#options.timeoutMs, deadline - monotonicMs());
    if (timeoutMs <= 0) throw tooLate(call);
    const values = valuesOf(call);
    const known = Object.fromEntries(ACTION_PLACEHOLDERS[call.action].map((word) => [word, values[word] ?? '']));
    const end = await runProgram({
      argv: argv.map((argument) => fillPlaceholders(argument, known)),
      directory: this.#options.directory,
      timeoutMs,
      environment: { ...this.#options.environment, ...variablesOf(call, known) },
    });
    if (end.how === 'exit' && end.code === 0) return end.stdout;
    throw failure(call, argv[0] ?? '', end);
  }
}

const valuesOf = (call: Call): Readonly<Record<string, string>> => ({
  phase: call.phases.length === 1 ? (call.phases[0] ?? '') : '',
  phases: call.phases.join(','),
  side: call.to ?? '',
  epoch: call.epoch === undefined ? '' : String(call.epoch),
  previous: call.phases.map((phase) => call.expect?.[phase] ?? '').join(','),
});

const variablesOf = (call: Call, values: Readonly<Record<string, string>>): Readonly<Record<string, string>> => ({
  SWITCHBACK_ACTION: call.action,
  ...Object.fromEntries(Object.entries(values).map(([word, value]) => [`SWITCHBACK_${word.toUpperCase()}`, value])),
});

const malformed = (stdout: string): SwitchbackError =>
  new SwitchbackError('refused', `the router's observe command printed ${JSON.stringify(readable(stdout))}`, {
    remedy:
      'make it print source, target, or {"primary":"source","held":false,"version":"…"}, then look again: switchback status PLAN',
  });

const movedOn = (phase: string, route: Route): SwitchbackError =>
  new SwitchbackError('refused', `the route of phase ${phase} was changed by somebody since it was looked at`, {
    remedy: `see who else repoints it; it leads to ${route.primary ?? 'no side'} now`,
  });

/** The end of what a program said. */
const readable = (output: string): string => said(output).slice(-OUTPUT_SHOWN);

const tooLate = (call: Call): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `no time was left to run the router's ${call.action} command for ${call.phases.join(', ')}`,
    {
      remedy: 'make the program faster, or raise switch.window',
    },
  );

const failure = (call: Call, program: string, end: ProgramEnd): SwitchbackError => {
  const output = readable(end.stderr) || readable(end.stdout);
  const how = {
    absent: 'could not be started',
    timeout: 'did not end in time and was ended',
    signal: 'was ended by a signal',
    exit: `ended with code ${end.code}`,
  }[end.how];
  const unknown = end.how === 'timeout' || end.how === 'signal' || end.code === TRY_AGAIN;
  const message = `the router's ${call.action} command for ${call.phases.join(', ')}, ${program}, ${how}`;
  const kind = end.code === TRY_AGAIN ? 'unreachable' : unknown ? 'unknown' : 'refused';
  return new SwitchbackError(kind, output === '' ? message : `${message}: ${output}`, {
    remedy: unknown
      ? 'see what it did; it is asked again'
      : 'run it by hand to see what is wrong, mend it, then resume',
  });
};
