/** The four things that a router is asked to do. */
export type RouterAction = 'observe' | 'hold' | 'repoint' | 'release';

/** What each action of a `command` router can be told in its arguments. */
export const ACTION_PLACEHOLDERS = {
  observe: ['phase'],
  hold: ['phase', 'phases'],
  repoint: ['phase', 'phases', 'side', 'epoch', 'previous'],
  release: ['phase', 'phases'],
} as const satisfies Record<RouterAction, readonly string[]>;

/** `{word}`; after a second brace the word is meant literally. */
const PLACEHOLDER = /\{(\{?)([a-z_]+)\}/g;

/** The words in braces of an argument, in order, without those that are meant literally. */
export const placeholdersOf = (argument: string): readonly string[] =>
  [...argument.matchAll(PLACEHOLDER)].flatMap(([, literal, word = '']) => (literal === '' ? [word] : []));

/** An argument with its placeholders filled in, once: what a value brings along is never looked at again. */
export const fillPlaceholders = (argument: string, values: Readonly<Record<string, string>>): string =>
  argument.replaceAll(PLACEHOLDER, (whole, literal: string, word: string) => {
    if (literal !== '') return `{${word}}`;
    return Object.hasOwn(values, word) ? (values[word] ?? '') : whole;
  });
