import { placeholdersOf } from '../domain/placeholder.ts';
import { nearest } from './nearest.ts';

/** What is wrong with an argument's placeholders, as `what; remedy`, or null. */
export const placeholderProblem = (argument: string, known: readonly string[]): string | null => {
  const word = placeholdersOf(argument).find((one) => !known.includes(one));
  if (word === undefined) return null;
  const guess = nearest(word, known);
  const hint = guess === null ? `use ${known.map((one) => `{${one}}`).join(', ')}` : `did you mean {${guess}}`;
  return `has a placeholder {${word}} that this action does not know; ${hint}, or write {{${word}} for that very text`;
};
