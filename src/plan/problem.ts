import { SwitchbackError } from '../domain/errors.ts';
import { redactText } from '../platform/redact.ts';

/** Keys and indexes that lead to a value in the plan. */
export type Path = readonly (string | number)[];

/** A place in the plan's text; both count from 1. */
export interface Spot {
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong with a plan. */
export interface Problem {
  readonly spot: Spot;
  readonly what: string;
  /** The value as it is written in the file, never as the environment made it, so that no secret is shown. */
  readonly value?: string | undefined;
  readonly remedy: string;
}

const LONGEST_VALUE = 80;
/** A file that is not a plan at all can have a problem in each of its characters. */
const MOST_LINES = 50;

/** `phases[0].tables[2]`, or `the plan` for the whole of it. */
export const pathText = (path: Path): string =>
  path.length === 0
    ? 'the plan'
    : path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('');

/** Keys of a router whose values nobody learns from the plan. */
export const SECRET_KEYS: readonly string[] = ['secret', 'password'];

/** Whether a path leads to such a value, which no problem may show. */
export const isSecret = (path: Path): boolean =>
  path.length === 3 && path[0] === 'routers' && SECRET_KEYS.includes(String(path[2]));

const shortened = (text: string): string => (text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text);

/** `file:line:column: what: value "…"; remedy`, on one line. */
export const problemLine = (file: string, problem: Problem): string => {
  const value = problem.value === undefined ? '' : `: value ${JSON.stringify(shortened(redactText(problem.value)))}`;
  return `${file}:${problem.spot.line}:${problem.spot.column}: ${problem.what}${value}; ${problem.remedy}`;
};

/** All problems of a plan as one error of kind `usage`, one line each, in the order of the file, without repetitions. */
export const problemsError = (file: string, problems: readonly Problem[]): SwitchbackError => {
  const sorted = [...problems].sort((a, b) => a.spot.line - b.spot.line || a.spot.column - b.spot.column);
  const lines = [...new Set(sorted.map((problem) => problemLine(file, problem)))];
  const count = lines.length === 1 ? 'a problem' : `${lines.length} problems`;
  const rest = lines.length > MOST_LINES ? [`and ${lines.length - MOST_LINES} more`] : [];
  return new SwitchbackError(
    'usage',
    `the plan has ${count}:\n${[...lines.slice(0, MOST_LINES), ...rest].join('\n')}`,
    {
      remedy: `mend ${file} and run the command again`,
    },
  );
};
