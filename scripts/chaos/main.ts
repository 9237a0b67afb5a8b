import { parseArgs } from 'node:util';
import { type ChaosOptions, runChaos } from './chaos.ts';
import { summaryText } from './summary.ts';

const USAGE = `Usage: npm run chaos -- [--minutes N] [--seed S] [--switches N] [--clients N] [--engine E] [--routers R] [--keep] [--json]

Real servers, workers and clients; cutovers and failbacks in a loop under faults; the histories are judged at the end.
  --minutes   how long (3)
  --seed      repeats the choices of an earlier run; printed first and last (a new one)
  --switches  how many must be committed (10, or fewer in a run of less than 3 minutes)
  --clients   how many write and read (12)
  --engine    stream or native (stream)
  --routers   one for each phase, or several: two, and one of its readers (by the seed, one of them in every other)
  --keep      keep logs and histories of a clean run too
  --json      the last line is one object with all counts and the verdict
`;

const numberOf = (name: string, text: string | undefined, fallback: number): number => {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new RangeError(`--${name} ${text} is not a positive number`);
  return value;
};

const engineOf = (text: string | undefined): ChaosOptions['engine'] => {
  if (text === undefined || text === 'stream' || text === 'native') return text ?? 'stream';
  throw new RangeError(`--engine ${text} is neither stream nor native`);
};

/** Left to the seed, so that runs with new seeds meet both. */
const routersOf = (text: string | undefined, seed: number): ChaosOptions['routers'] => {
  if (text === undefined) return seed % 2 === 0 ? 'several' : 'one';
  if (text === 'one' || text === 'several') return text;
  throw new RangeError(`--routers ${text} is neither one nor several`);
};

const optionsOf = (args: readonly string[]): Omit<ChaosOptions, 'signal' | 'tell'> & { readonly json: boolean } => {
  const text = { type: 'string' } as const;
  const isSet = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...{ minutes: text, seed: text, switches: text, clients: text, engine: text, routers: text },
      ...{ keep: isSet, json: isSet },
    },
  });
  const minutes = numberOf('minutes', values.minutes, 3);
  const seed = Math.floor(numberOf('seed', values.seed, 1 + Math.floor(Math.random() * 2 ** 31)));
  return {
    minutes,
    seed,
    switches: numberOf('switches', values.switches, Math.max(1, Math.min(10, Math.floor((minutes * 10) / 3)))),
    clients: numberOf('clients', values.clients, 12),
    engine: engineOf(values.engine),
    routers: routersOf(values.routers, seed),
    keep: values.keep,
    json: values.json,
  };
};

/** Ctrl-C and SIGTERM end the run in order; a second one is for a run that hangs. */
const interruption = (): AbortSignal => {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(130);
    process.stdout.write('interrupted: ending everything\n');
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return controller.signal;
};

const main = async (args: readonly string[]): Promise<number> => {
  let options: ReturnType<typeof optionsOf>;
  try {
    options = optionsOf(args);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    return 2;
  }
  const tell = (line: string) => process.stdout.write(`${line}\n`);
  tell(`seed ${options.seed}`);
  const signal = interruption();
  try {
    const summary = await runChaos({ ...options, signal, tell });
    tell(summaryText(summary));
    tell(`seed ${options.seed}`);
    if (options.json) tell(JSON.stringify(summary));
    return summary.ok ? 0 : signal.aborted ? 130 : 1;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
    tell(`seed ${options.seed}`);
    return 1;
  }
};

process.exitCode = await main(process.argv.slice(2));
// Sockets of servers that were killed could keep the process.
process.exit();
