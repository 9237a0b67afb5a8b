import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  LineCounter,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml';
import { messageOf } from '../domain/errors.ts';
import { decodeText, epochOf, type RouteText, RouteTextError, type StoredRoute, sideOf } from './route-text.ts';
import { edited, moreKeys, moreValues, otherValue } from './yaml-edit.ts';

/**
 * A route file in YAML. It is parsed to find what is ours and where it stands; the change itself is made in the text, since
 * a document that is printed again keeps comments but neither quotes, indents nor line ends of other people. Whether the
 * result says what it should, and still says everything else, is then seen by parsing it again.
 */

const FIELDS = ['primary', 'held', 'epoch'] as const;
type Field = (typeof FIELDS)[number];

interface Parsed {
  readonly text: string;
  readonly document: Document.Parsed;
  readonly lines: LineCounter;
}

const APART = 'put the routes into a file of their own, or write this one as a plain mapping';
const PLAIN = 'write it out as a plain value, without anchor, alias and tag';

const parse = (text: string): Parsed => {
  const lines = new LineCounter();
  let document: Document.Parsed;
  try {
    document = parseDocument(text, { lineCounter: lines, intAsBigInt: true });
  } catch (error) {
    throw new RouteTextError(`it is not YAML: ${messageOf(error)}`);
  }
  const [error] = document.errors;
  if (error?.code === 'MULTIPLE_DOCS') {
    throw new RouteTextError(`line ${error.linePos?.[0].line}: it holds several documents`, APART);
  }
  // What follows is a picture of the place, over several lines.
  if (error !== undefined)
    throw new RouteTextError(`it is not YAML: ${error.message.split('\n')[0]?.replace(/:$/, '')}`);
  return { text, document, lines };
};

const lineOf = ({ lines }: Parsed, node: unknown): string => {
  const { range } = node as { readonly range?: readonly number[] | null };
  return `line ${lines.linePos(range?.[0] ?? 0).line}`;
};

/** Refuses what a change would break elsewhere, or what says something that is not seen here. */
const mustBePlain = (parsed: Parsed, node: unknown, name: string): void => {
  const { anchor, tag } = (node ?? {}) as { readonly anchor?: string; readonly tag?: string };
  const what = isAlias(node) ? 'is an alias' : anchor !== undefined ? 'has an anchor' : tag ? 'has a tag' : null;
  if (what !== null) throw new RouteTextError(`${lineOf(parsed, node)}: ${name} ${what}`, PLAIN);
};

/** The mapping of the whole file, or null for a file that says nothing. */
const rootOf = (parsed: Parsed): YAMLMap | null => {
  const root: unknown = parsed.document.contents;
  const isEmpty = isScalar(root) && root.value === null && root.range?.[0] === root.range?.[1];
  if (root === null || (isEmpty && root.anchor === undefined && root.tag === undefined)) return null;
  if (isMap(root) && root.tag === undefined) return root;
  throw new RouteTextError(`${lineOf(parsed, root)}: it is not a mapping of phases`, APART);
};

const pairOf = (map: YAMLMap | null, key: string): Pair | undefined =>
  map?.items.find((pair) => isScalar(pair.key) && pair.key.value === key);

/** The mapping of a phase; null when there is none. */
const entryOf = (parsed: Parsed, phase: string): YAMLMap | null => {
  const pair = pairOf(rootOf(parsed), phase);
  if (pair === undefined) return null;
  const name = `"${phase}"`;
  mustBePlain(parsed, pair.key, name);
  mustBePlain(parsed, pair.value, name);
  if (!isMap(pair.value)) throw new RouteTextError(`${lineOf(parsed, pair.key)}: ${name} is not a mapping`);
  const merged = pairOf(pair.value, '<<');
  if (merged !== undefined)
    throw new RouteTextError(`${lineOf(parsed, merged.key)}: ${name} merges another one`, PLAIN);
  return pair.value;
};

const scalarOf = (
  parsed: Parsed,
  entry: YAMLMap | null,
  { phase, field }: { phase: string; field: Field },
): unknown => {
  const pair = pairOf(entry, field);
  if (pair === undefined) return undefined;
  const name = `"${phase}".${field}`;
  mustBePlain(parsed, pair.key, name);
  mustBePlain(parsed, pair.value, name);
  if (pair.value === null) return undefined;
  if (!isScalar(pair.value)) throw new RouteTextError(`${lineOf(parsed, pair.key)}: ${name} is not one value`);
  if (pair.value.type?.startsWith('BLOCK'))
    throw new RouteTextError(`${lineOf(parsed, pair.key)}: ${name} is a block`, PLAIN);
  return pair.value.value ?? undefined;
};

const routeOf = (parsed: Parsed, phase: string): StoredRoute => {
  const entry = entryOf(parsed, phase);
  const place = (field: Field): string => {
    const pair = pairOf(entry, field);
    return `${pair === undefined ? '' : `${lineOf(parsed, pair.key)}: `}"${phase}".${field}`;
  };
  const held = scalarOf(parsed, entry, { phase, field: 'held' }) ?? false;
  if (typeof held !== 'boolean') throw new RouteTextError(`${place('held')} is neither true nor false`);
  return {
    primary: sideOf(scalarOf(parsed, entry, { phase, field: 'primary' }), place('primary')),
    held,
    epoch: epochOf(scalarOf(parsed, entry, { phase, field: 'epoch' }), place('epoch')),
  };
};

/** The values of a route as they are written; a side that was never told is left out. */
const valuesOf = (route: StoredRoute): ReadonlyMap<Field, string> =>
  new Map<Field, string>([
    ...(route.primary === null ? [] : [['primary', route.primary] as const]),
    ['held', String(route.held)],
    ['epoch', String(route.epoch)],
  ]);

/** Refuses a file that ends in a block of text without a line end: to some readers the one that we add is part of the text. */
const mustEnd = ({ text, document }: Parsed): void => {
  if (text.endsWith('\n')) return;
  visit(document, {
    Scalar: (_, { type, range }) => {
      if (!type?.startsWith('BLOCK') || (range?.[2] ?? 0) < text.length) return;
      throw new RouteTextError('its last line, which belongs to a block of text, has no line end', 'end that line');
    },
  });
};

/** The text with one phase's route in it. What is there of it is changed in its place; the rest is put beside it. */
const withRoute = (text: string, phase: string, route: StoredRoute): string => {
  const parsed = parse(text);
  routeOf(parsed, phase);
  const root = rootOf(parsed);
  const entry = entryOf(parsed, phase);
  const values = valuesOf(route);
  if (entry === null) {
    mustEnd(parsed);
    return edited(text, [moreKeys(text, root, { key: phase, values })]);
  }
  const edits = [...values].flatMap(([field, value]) => {
    const pair = pairOf(entry, field);
    return pair === undefined ? [] : [otherValue(text, pair, value)];
  });
  const missing = new Map([...values].filter(([field]) => pairOf(entry, field) === undefined));
  if (missing.size === 0) return edited(text, edits);
  const last = edits.toSorted((a, b) => a.at - b.at).at(-1);
  return edited(text, [moreValues(text, entry, { values: missing, last, isJson: root?.flow === true }), ...edits]);
};

const isField = (key: unknown): boolean => isScalar(key) && FIELDS.some((field) => field === key.value);

/** All that a file says besides these phases' routes, as a list that two files can be compared by. */
const restOf = (parsed: Parsed, phases: ReadonlySet<unknown>): readonly string[] => {
  const said: string[] = [];
  const say = (node: unknown): void => {
    visit(node as Document, {
      Alias: (_, { source }) => void said.push(`*${source}`),
      Collection: (_, { tag, anchor, items }) => void said.push(`${tag} ${anchor} ${items.length}`),
      Scalar: (_, { tag, anchor, value }) => void said.push(`${tag} ${anchor} ${typeof value} ${String(value)}`),
    });
  };
  for (const { key, value } of rootOf(parsed)?.items ?? []) {
    const entry = isScalar(key) && phases.has(key.value) && isMap(value) ? value : null;
    const others = entry?.items.filter((pair) => !isField(pair.key));
    const pairs: readonly { readonly key: unknown; readonly value: unknown }[] = others ?? [{ key, value }];
    for (const pair of pairs) {
      say(pair.key);
      say(pair.value);
    }
  }
  return said;
};

const sameList = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((item, index) => item === b[index]);

/** Whether a change did what it should and nothing else. */
const isFaithful = (before: Parsed, after: Parsed, routes: ReadonlyMap<string, StoredRoute>): boolean => {
  const phases = new Set<unknown>(routes.keys());
  const isThere = [...routes].every(([phase, wanted]) => {
    const { primary, held, epoch } = routeOf(after, phase);
    return primary === wanted.primary && held === wanted.held && epoch === wanted.epoch;
  });
  return isThere && sameList(restOf(before, phases), restOf(after, phases));
};

/** `orders: {primary: target, held: false, epoch: "7"}`, a line for each. Everything else stays, to the byte. */
export const yamlText: RouteText = {
  read(bytes, phase) {
    return routeOf(parse(decodeText(bytes, true)), phase);
  },
  write(bytes, routes) {
    const before = decodeText(bytes, true);
    const after = [...routes].reduce((text, [phase, route]) => withRoute(text, phase, route), before);
    let faithful = false;
    try {
      faithful = isFaithful(parse(before), parse(after), routes);
    } catch (error) {
      if (!(error instanceof RouteTextError)) throw error;
    }
    if (!faithful) throw new RouteTextError('a route cannot be put into it without changing the rest', APART);
    return Buffer.from(after);
  },
};
