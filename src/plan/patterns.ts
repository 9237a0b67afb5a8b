import { SwitchbackError } from '../domain/errors.ts';
import type { TableName } from '../domain/table.ts';

/** A character that matches itself, or a wildcard: `*` any text, `?` one character. */
type Token = { readonly literal: string } | 'any' | 'one';

/** A parsed `schema.name` pattern. Matching is exact: names are spelt as in the catalogue, with no folding of case. */
export interface Pattern {
  readonly text: string;
  readonly excludes: boolean;
  readonly schema: readonly Token[];
  readonly name: readonly Token[];
}

/** Either a pattern, or what is wrong with its text as `what; remedy`. */
type Parsed = { readonly pattern: Pattern } | { readonly problem: string };

/** Reads a quoted part that starts at `from` (after its opening quote): its characters and the index after its end. */
const readQuoted = (characters: readonly string[], from: number): { tokens: Token[]; next: number } | null => {
  const tokens: Token[] = [];
  for (let index = from; index < characters.length; index++) {
    const character = characters[index] ?? '';
    if (character !== '"') {
      tokens.push({ literal: character });
    } else if (characters[index + 1] === '"') {
      tokens.push({ literal: '"' });
      index++;
    } else {
      return { tokens, next: index + 1 };
    }
  }
  return null;
};

const unquoted = (character: string): Token | null => {
  if (character === '*') return 'any';
  if (character === '?') return 'one';
  // Characters that are far more often a slip than part of a name; quoted, every one of them is allowed.
  return /[\s!,;'`()]/u.test(character) ? null : { literal: character };
};

/** The parts between unquoted dots, or what is wrong, as `what; remedy`. */
const readParts = (text: string): readonly (readonly Token[])[] | string => {
  const characters = [...text];
  const parts: Token[][] = [[]];
  let index = 0;
  while (index < characters.length) {
    const character = characters[index] ?? '';
    if (character === '"') {
      const quoted = readQuoted(characters, index + 1);
      if (quoted === null) return 'has a quote that is not closed; write schema."name", with "" for a quote in it';
      parts.at(-1)?.push(...quoted.tokens);
      index = quoted.next;
      continue;
    }
    index++;
    if (character === '.') {
      parts.push([]);
      continue;
    }
    const token = unquoted(character);
    if (token === null) return `has ${JSON.stringify(character)} outside quotes; write such a name as schema."name"`;
    parts.at(-1)?.push(token);
  }
  return parts;
};

const parse = (text: string): Parsed => {
  const excludes = text.startsWith('!');
  const body = excludes ? text.slice(1) : text;
  const parts = readParts(body);
  if (typeof parts === 'string') return { problem: parts };
  const [schema, name] = parts;
  if (parts.length > 2) return { problem: 'has more than one dot; quote the part that holds a dot: schema."na.me"' };
  if (parts.some((part) => part.length === 0)) {
    return { problem: 'has an empty part; write schema.table, or schema.* for all of a schema' };
  }
  if (schema === undefined || name === undefined) {
    return { problem: `has no schema; write ${excludes ? '!' : ''}public.${body}, if public is meant` };
  }
  return { pattern: { text, excludes, schema, name } };
};

/** What is wrong with a pattern's text, as `what; remedy`, or null when it can be used. */
export const patternProblem = (text: string): string | null => {
  const parsed = parse(text);
  return 'problem' in parsed ? parsed.problem : null;
};

/** Parses a pattern. Throws kind `usage` when it is malformed. */
export const parsePattern = (text: string): Pattern => {
  const parsed = parse(text);
  if ('pattern' in parsed) return parsed.pattern;
  const [what = '', remedy = ''] = parsed.problem.split('; ', 2);
  throw new SwitchbackError('usage', `the pattern ${JSON.stringify(text)} ${what}`, { remedy });
};

/**
 * Wildcard matching in time proportional to pattern × text: only the newest `*` is ever retried. A regular expression
 * made of the same pattern can take exponential time for `*a*a*a*b`.
 */
const matchesTokens = (tokens: readonly Token[], text: string): boolean => {
  const characters = [...text];
  let token = 0;
  let index = 0;
  let star = -1;
  let starIndex = 0;
  while (index < characters.length) {
    const current = tokens[token];
    if (current === 'any') {
      star = token++;
      starIndex = index;
    } else if (current !== undefined && (current === 'one' || current.literal === characters[index])) {
      token++;
      index++;
    } else if (star >= 0) {
      token = star + 1;
      index = ++starIndex;
    } else {
      return false;
    }
  }
  return tokens.slice(token).every((rest) => rest === 'any');
};

/** Whether a pattern's schema and name both match, whether or not it excludes. */
export const matches = (pattern: Pattern, table: TableName): boolean =>
  matchesTokens(pattern.schema, table.schema) && matchesTokens(pattern.name, table.name);
