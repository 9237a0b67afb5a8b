import { isScalar, type Pair, type YAMLMap } from 'yaml';

/** Changes to the text of a YAML file by the places that its parsed nodes name. They look at nothing else in it. */

/** Text that stands in the place of another one. */
export interface Edit {
  /** Offset in the text, and the offset behind it. */
  readonly at: number;
  readonly end: number;
  readonly text: string;
}

/** Values by key, as they are written in a mapping: all are text but `held`. */
export type Values = ReadonlyMap<string, string>;

/** The text with the edits made; of two at one place the later one in the list stands first. */
export const edited = (text: string, edits: readonly Edit[]): string =>
  edits
    .toSorted((a, b) => b.at - a.at)
    .reduce((changed, edit) => changed.slice(0, edit.at) + edit.text + changed.slice(edit.end), text);

const lineEndOf = (text: string): string => (/\r?\n/.exec(text)?.[0] === '\r\n' ? '\r\n' : '\n');

/** Words that one version of YAML or another takes for something else than text. */
const keyText = (key: string): string => (/^(y|yes|n|no|on|off|true|false|null)$/.test(key) ? `"${key}"` : key);

const valueText = (key: string, value: string, quote = ''): string => {
  if (key === 'held') return value;
  // An epoch without quotes is a number, which not every reader can carry.
  const mark = quote === '' && key === 'epoch' ? '"' : quote;
  return `${mark}${value}${mark}`;
};

/** `key: value`; between braces as JSON has it, for readers that know no more of YAML. */
const pairText = (key: string, value: string, isJson: boolean): string =>
  isJson ? `"${key}": ${valueText(key, value, '"')}` : `${keyText(key)}: ${valueText(key, value)}`;

const QUOTES: Readonly<Record<string, string>> = { QUOTE_DOUBLE: '"', QUOTE_SINGLE: "'" };

const rangeOf = (node: unknown): readonly [number, number] => {
  const { range } = node as { readonly range?: readonly [number, number, number] | null };
  return [range?.[0] ?? 0, range?.[1] ?? 0];
};

/** Another value for a key that is there, in its quotes. */
export const otherValue = (text: string, pair: Pair, value: string): Edit => {
  const key = isScalar(pair.key) ? String(pair.key.value) : '';
  const [at, end] = rangeOf(pair.value);
  const quote = isScalar(pair.value) ? QUOTES[pair.value.type ?? ''] : undefined;
  if (pair.value !== null && end > at) return { at, end, text: valueText(key, value, quote) };
  const colon = text.indexOf(':', rangeOf(pair.key)[1]) + 1;
  return { at: colon, end: colon, text: ` ${valueText(key, value)}` };
};

const startOfLine = (text: string, at: number): number => text.lastIndexOf('\n', at - 1) + 1;

/** Before its line end; for the last line the end of the text. */
const endOfLine = (text: string, at: number): number => {
  const end = text.indexOf('\n', at);
  if (end < 0) return text.length;
  return text[end - 1] === '\r' ? end - 1 : end;
};

/** What stands before the first key of a mapping that has a line for each. */
const indentOf = (text: string, map: YAMLMap): string => {
  const [at] = rangeOf(map);
  return text.slice(startOfLine(text, at), at).replace('\uFEFF', '');
};

const inBraces = (text: string, map: YAMLMap, pairs: string): Edit => {
  const at = rangeOf(map)[0] + 1;
  const comma = map.items.length === 0 ? '' : ',';
  // Behind the opening brace, since before the closing one there may be a comma or not.
  const written = /\s/.test(text[at] ?? '') ? ` ${pairs}${comma}` : `${pairs}${comma && ', '}`;
  return { at, end: at, text: written };
};

/**
 * Values for keys that a mapping does not have yet: behind the line of the edit `last`, or before all others. `isJson` says
 * that the whole file is one mapping in braces.
 */
export const moreValues = (
  text: string,
  map: YAMLMap,
  { values, last, isJson }: { readonly values: Values; readonly last: Edit | undefined; readonly isJson: boolean },
): Edit => {
  const pairs = [...values].map(([key, value]) => pairText(key, value, isJson));
  if (map.flow === true) return inBraces(text, map, pairs.join(', '));
  const indent = indentOf(text, map);
  const lineEnd = lineEndOf(text);
  if (last === undefined) {
    const [at] = rangeOf(map);
    return { at, end: at, text: pairs.map((pair) => `${pair}${lineEnd}${indent}`).join('') };
  }
  const at = endOfLine(text, last.end);
  return { at, end: at, text: pairs.map((pair) => `${lineEnd}${indent}${pair}`).join('') };
};

/** A mapping under a new key: at the end of the text, before a line that ends the document. `root` is null in an empty file. */
export const moreKeys = (
  text: string,
  root: YAMLMap | null,
  added: { readonly key: string; readonly values: Values },
): Edit => {
  if (root?.flow === true) {
    const pairs = [...added.values].map(([key, value]) => pairText(key, value, true));
    return inBraces(text, root, `"${added.key}": {${pairs.join(', ')}}`);
  }
  const lineEnd = lineEndOf(text);
  const indent = root === null ? '' : indentOf(text, root);
  const at = /^\.\.\.(?=\s|$)/m.exec(text)?.index ?? text.length;
  const isAtStart = /(^|\n)\uFEFF?$/.test(text.slice(0, at));
  const pairs = [...added.values].map(([key, value]) => `  ${pairText(key, value, false)}`);
  const lines = [`${keyText(added.key)}:`, ...pairs].map((line) => `${indent}${line}${lineEnd}`);
  return { at, end: at, text: `${isAtStart ? '' : lineEnd}${lines.join('')}` };
};
