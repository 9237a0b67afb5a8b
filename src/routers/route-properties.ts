import { type RouteText, RouteTextError, routeOfVariables, type Variable, variablesOfRoutes } from './route-text.ts';

/**
 * Java's .properties as `java.util.Properties.load` reads them, which is followed to the letter: what it takes for an entry
 * is one, whatever a person sees. Everything is read as Latin-1, so that bytes of other people stay what they are in
 * either of the two encodings that are in use; our own names and values are ASCII.
 */

/** An entry with all lines that it goes over, or lines that say nothing. */
interface Piece {
  /** With line ends. */
  readonly raw: string;
  /** What stands there when lines that go on are put together; empty for a comment or a blank line. */
  readonly entry: string;
  /** The last line says that it goes on, and the file ends. */
  readonly isOpen: boolean;
}

/** A line ends with CR, LF or both; white space is blank, tab and form feed, and nothing else. */
const LINES = /[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$/g;
const LINE_END = /[\r\n]+$/;
const INDENT = /^[ \t\f]*/;

const goesOn = (line: string): boolean => (/\\*$/.exec(line)?.[0].length ?? 0) % 2 === 1;

const piecesOf = (text: string): readonly Piece[] => {
  const pieces: Piece[] = [];
  let raw = '';
  let entry = '';
  for (const line of text.match(LINES) ?? []) {
    const content = line.replace(LINE_END, '').replace(INDENT, '');
    raw += line;
    // A comment never goes on; within an entry that goes on the same sign is a part of it.
    const isComment = entry === '' && /^[#!]/.test(content);
    const isOpen = !isComment && goesOn(content);
    if (!isComment) entry += isOpen ? content.slice(0, -1) : content;
    if (isOpen && entry !== '') continue;
    pieces.push({ raw, entry, isOpen: false });
    raw = '';
    entry = '';
  }
  return raw === '' ? pieces : [...pieces, { raw, entry, isOpen: true }];
};

/** Name and value: the name ends at the first blank, `=` or `:` that is not escaped. */
const ENTRY = /^((?:\\.|[^\\=: \t\f])*)[ \t\f]*(?:[=:][ \t\f]*)?(.*)$/s;

const SHORT: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' };

/** A text with its escapes undone, or null when it has a `\u` without four digits, for which Java refuses the file. */
const unescaped = (text: string): string | null => {
  if (/(?<!\\)(?:\\\\)*\\u(?![0-9A-Fa-f]{4})/.test(text)) return null;
  return text.replaceAll(/\\(?:u([0-9A-Fa-f]{4})|(.?))/gs, (_, digits: string | undefined, other = '') =>
    digits === undefined ? (SHORT[other] ?? other) : String.fromCharCode(Number.parseInt(digits, 16)),
  );
};

const variableOf = ({ entry }: Piece): Variable | null => {
  const [, key = '', written = ''] = ENTRY.exec(entry) ?? [];
  const name = unescaped(key);
  if (entry === '' || name === null || !name.startsWith('SWITCHBACK_')) return null;
  const value = unescaped(written);
  if (value === null) throw new RouteTextError(`${name} has a \\u without four digits`);
  return { name, value };
};

const decoded = (bytes: Buffer): readonly Piece[] => piecesOf(bytes.toString('latin1'));

/** `SWITCHBACK_ORDERS=target`, `SWITCHBACK_ORDERS_HELD=0`, `SWITCHBACK_ORDERS_EPOCH=7`, as in an env file. */
export const propertiesText: RouteText = {
  read(bytes, phase) {
    return routeOfVariables(
      decoded(bytes).flatMap((piece) => variableOf(piece) ?? []),
      phase,
    );
  },
  write(bytes, routes) {
    return Buffer.from(assign(decoded(bytes), variablesOfRoutes(routes)), 'latin1');
  },
};

/** The text with each variable set once: where it first stood, or at the end. */
const assign = (pieces: readonly Piece[], wanted: ReadonlyMap<string, string>): string => {
  const left = new Map(wanted);
  const lineEnd = /\r\n|\r|\n/.exec(pieces.map(({ raw }) => raw).join(''))?.[0] ?? '\n';
  const kept = pieces.flatMap((piece): readonly Piece[] => {
    const { name } = variableOf(piece) ?? { name: '' };
    if (!wanted.has(name)) return [piece];
    const entry = `${name}=${left.get(name)}`;
    // Of a name that comes again the last one counts for Java: one is left.
    if (!left.delete(name)) return [];
    return [{ raw: `${entry}${/(?:\r\n|\r|\n)$/.exec(piece.raw)?.[0] ?? ''}`, entry, isOpen: false }];
  });
  const text = kept.map(({ raw }) => raw).join('');
  if (left.size === 0) return text;
  const closed = text === '' || /[\r\n]$/.test(text) ? text : `${text}${lineEnd}`;
  // An entry that goes on would take our first line for its own; a blank one ends it and leaves its value as it is.
  const apart = kept.at(-1)?.isOpen === true ? lineEnd : '';
  return `${closed}${apart}${[...left].map(([name, value]) => `${name}=${value}${lineEnd}`).join('')}`;
};
