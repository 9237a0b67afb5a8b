import type { Options, PositionalOptions } from 'yargs';
import { compose } from '../compose.ts';
import { SwitchbackError } from '../domain/errors.ts';
import type { Emit } from '../domain/event.ts';
import { fillRemedy } from '../domain/remedy.ts';
import { loadPlan } from '../plan/load.ts';
import type { RunContext } from '../stages/context.ts';
import type { Traces } from '../stages/rebuild/evidence.ts';

/** Arguments as yargs gives them. */
export type Arguments = Readonly<Record<string, unknown>>;

/** One command of the command line. */
export interface CommandModule {
  /** As yargs wants it: `status <plan>`. */
  readonly usage: string;
  readonly describe: string;
  readonly options: Readonly<Record<string, Options>>;
  /** What is known of the arguments that `usage` names, where that is more. */
  readonly positionals?: Readonly<Record<string, PositionalOptions>>;
  /** Does the command and returns its exit code. */
  run(args: Arguments): Promise<number>;
}

/** A text argument, or undefined. */
export const text = (args: Arguments, name: string): string | undefined => {
  const value = args[name];
  return typeof value === 'string' ? value : undefined;
};

/** A flag. */
export const flag = (args: Arguments, name: string): boolean => args[name] === true;

/** A list of texts. */
export const list = (args: Arguments, name: string): readonly string[] => {
  const value = args[name];
  return Array.isArray(value) ? value.map(String) : [];
};

/** Loads the plan named on the command line, makes its ports, runs the work and closes everything again. */
export const withPlan = async <T>(
  args: Arguments,
  emit: Emit,
  work: (context: RunContext, traces: Traces) => Promise<T>,
): Promise<T> => {
  const path = text(args, 'plan');
  if (path === undefined) throw new SwitchbackError('usage', 'no plan was named', { remedy: 'switchback --help' });
  const composition = compose(await loadPlan(path, process.env), emit);
  try {
    return await work(composition.context, composition.traces);
  } catch (error) {
    throw named(error, path);
  } finally {
    await composition.close();
  }
};

/** An error whose remedy names our commands as the reader has to type them. */
const named = (error: unknown, plan: string): unknown => {
  if (!(error instanceof SwitchbackError) || error.remedy === undefined) return error;
  const remedy = fillRemedy(error.remedy, { plan });
  const { kind, message, findings, cause } = error;
  return remedy === error.remedy ? error : new SwitchbackError(kind, message, { remedy, findings, cause });
};

/**
 * A signal that is aborted by Ctrl-C or SIGTERM. The first one ends what can be ended at once and lets the rest finish; a
 * second one kills the process, which is safe at any point.
 */
export const interruption = (onFirst: () => void): { readonly signal: AbortSignal; release(): void } => {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.kill(process.pid, 'SIGKILL');
    controller.abort();
    onFirst();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return {
    signal: controller.signal,
    release: () => {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    },
  };
};
