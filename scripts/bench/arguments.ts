import { parseArgs } from 'node:util';
import { type BenchOptions, type PairName, type Part, ROUTERS } from './part.ts';
import { PAIRS } from './servers.ts';

/** What the command line asked for. */
export interface Arguments {
  readonly parts: readonly Part[];
  readonly small: boolean;
  readonly rounds: number;
  readonly seed: number;
  readonly pairs: readonly PairName[];
  readonly router: BenchOptions['router'];
  /** A file for the results; empty for the last line of the output; undefined for neither. */
  readonly json: string | undefined;
  /** A page that has a place for each part's report. */
  readonly markdown: string | undefined;
  readonly help: boolean;
}

const ROUNDS = 5;
const SEED = 20_251;

/** How the benchmarks are called. */
export const usageText = (parts: readonly Part[]): string => `Usage: npm run bench -- [PART...] [OPTIONS]

Measures Switchback against references in turn, several rounds, and checks that every result is right.
Parts (all of them when none is named):
${parts.map(({ name, description }) => `  ${name.padEnd(10)}  ${description}`).join('\n')}
Options:
  --small            small enough for a smoke test; the times then say nothing
  --rounds N         how often each contender runs (${ROUNDS}; with --small 1)
  --pairs LIST       of ${PAIRS.join(' and ')}, also written 13-18 (both; with --small the first)
  --router NAME      what leads the clients of switch: ${ROUTERS.join(', ')} (${ROUTERS[0]})
  --seed S           what random choices are made from (${SEED})
  --json [FILE.json] the results as one object, in the file or as the last line
  --markdown FILE    puts each part's tables into this page
  --help             this
`;

const numberOf = (name: string, text: string | undefined, fallback: number): number => {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isInteger(value) || value <= 0) throw new RangeError(`--${name} ${text} is not a whole number above 0`);
  return value;
};

const pairsOf = (text: string | undefined, small: boolean): readonly PairName[] => {
  if (text === undefined) return small ? PAIRS.slice(0, 1) : PAIRS;
  return text.split(',').map((word) => {
    const pair = PAIRS.find((name) => name === word.replace('-', '→'));
    if (pair === undefined) throw new RangeError(`--pairs ${word}: there are only ${PAIRS.join(' and ')}`);
    return pair;
  });
};

/** Only one part has clients that are led. */
const routerOf = (text: string | undefined, parts: readonly string[]): BenchOptions['router'] => {
  if (text === undefined) return ROUTERS[0];
  const router = ROUTERS.find((name) => name === text);
  if (router === undefined) throw new RangeError(`--router ${text}: there are only ${ROUTERS.join(', ')}`);
  if (parts.join() !== 'switch') throw new RangeError('--router is for the part switch alone');
  return router;
};

/** `--json` takes a file or nothing, which parseArgs does not know: it gets an empty text where no file follows. */
const withJsonValue = (args: readonly string[]): readonly string[] =>
  args.flatMap((arg, at) => (arg === '--json' && !/\.json$/.test(args[at + 1] ?? '') ? ['--json='] : [arg]));

/** Reads the command line. Throws what is wrong with it. */
export const readArguments = (args: readonly string[], parts: readonly Part[]): Arguments => {
  const text = { type: 'string' } as const;
  const { values, positionals } = parseArgs({
    args: [...withJsonValue(args)],
    allowPositionals: true,
    options: {
      small: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      rounds: text,
      pairs: text,
      router: text,
      seed: text,
      json: text,
      markdown: text,
    },
  });
  const unknown = positionals.find((name) => parts.every((part) => part.name !== name));
  if (unknown !== undefined) throw new RangeError(`there is no part "${unknown}"`);
  return {
    parts: positionals.length === 0 ? parts : parts.filter(({ name }) => positionals.includes(name)),
    small: values.small,
    rounds: numberOf('rounds', values.rounds, values.small ? 1 : ROUNDS),
    seed: numberOf('seed', values.seed, SEED),
    pairs: pairsOf(values.pairs, values.small),
    router: routerOf(values.router, positionals),
    json: values.json,
    markdown: values.markdown,
    help: values.help,
  };
};
