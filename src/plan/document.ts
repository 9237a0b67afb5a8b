import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
} from 'yaml';
import type { Path, Problem, Spot } from './problem.ts';
import { pathText } from './problem.ts';

/** What a YAML document of the core schema can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A document's value with the places of its parts. */
export interface LocatedDocument {
  /** Null when the text cannot be read as a whole. With duplicate keys it is there, and the last one counts. */
  readonly value: Json;
  readonly problems: readonly Problem[];
  /** Where a value stands; for a path that is not there, where its nearest parent stands. */
  spot(path: Path): Spot;
  /** Where a mapping's key stands. */
  keySpot(path: Path): Spot;
}

/** A plan is a page of text. The bounds keep a hostile or wrong file from costing time or memory. */
export const MAX_BYTES = 1024 * 1024;
const MAX_DEPTH = 20;
/** After aliases have been expanded, which is where a small file becomes a large one. */
const MAX_NODES = 50_000;
const MAX_ALIASES = 100;

/** The parser knows others as well (binary, set, timestamp), whose values are none of a plan's. */
const CORE_TAGS = new Set(
  ['str', 'int', 'float', 'bool', 'null', 'map', 'seq'].map((tag) => `tag:yaml.org,2002:${tag}`),
);

const START: Spot = { line: 1, column: 1 };

const QUOTE_STAR = 'put quotes around a value that begins with *, such as "*.audit_log"';

const TAG_REMEDY = 'put quotes around a value that begins with !, such as "!public.audit_log"';

/** What to do about the parser's errors that a plan's author is likely to make. Others get the parser's words alone. */
const REMEDIES: Readonly<Record<string, string>> = {
  TAG_RESOLVE_FAILED: TAG_REMEDY,
  BAD_ALIAS: QUOTE_STAR,
  TAB_AS_INDENT: 'indent with spaces',
  MULTIPLE_DOCS: 'a plan is one document: take out the line --- and what follows it',
  RESOURCE_EXHAUSTION: 'write a plan that is nested less deeply',
};

const keyOf = (path: Path): string => JSON.stringify(path);

/** Turns nodes into plain values and remembers where each stood. Bounded in depth, nodes and aliases. */
class Walker {
  readonly problems: Problem[] = [];
  readonly #values = new Map<string, Spot>();
  readonly #keys = new Map<string, Spot>();
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  #nodes = 0;
  #aliases = 0;
  #refused = false;

  constructor(document: Document.Parsed, lines: LineCounter) {
    this.#document = document;
    this.#lines = lines;
  }

  /** Whether a bound was passed, so that the value is not whole. */
  get refused(): boolean {
    return this.#refused;
  }

  at(offset: number): Spot {
    const { line, col } = this.#lines.linePos(offset);
    return line === 0 ? START : { line, column: col };
  }

  spot(path: Path): Spot {
    for (let length = path.length; length >= 0; length--) {
      const found = this.#values.get(keyOf(path.slice(0, length)));
      if (found !== undefined) return found;
    }
    return START;
  }

  keySpot(path: Path): Spot {
    return this.#keys.get(keyOf(path)) ?? this.spot(path);
  }

  walk(node: unknown, path: Path): Json {
    const spot = this.#spotOf(node, path);
    this.#nodes++;
    if (this.#nodes > MAX_NODES) return this.#refuse(spot, `holds more than ${MAX_NODES} values`);
    if (path.length > MAX_DEPTH) return this.#refuse(spot, `is nested more than ${MAX_DEPTH} deep`);
    if (isAlias(node)) {
      this.#aliases++;
      if (this.#aliases > MAX_ALIASES) return this.#refuse(spot, `uses more than ${MAX_ALIASES} aliases`);
      return this.#alias(node, path, spot);
    }
    this.#tag(node, spot);
    if (isMap(node)) return this.#map(node.items, path);
    if (isSeq(node)) return node.items.map((item, index) => this.walk(item, [...path, index]));
    return isScalar(node) ? scalar(node.value) : null;
  }

  #tag(node: unknown, spot: Spot): void {
    const tag = (node as { readonly tag?: string } | null)?.tag;
    if (tag === undefined || CORE_TAGS.has(tag)) return;
    this.problems.push({ spot, what: `the tag ${tag} has no meaning in a plan`, remedy: TAG_REMEDY });
  }

  #alias(alias: Alias, path: Path, spot: Spot): Json {
    const target = alias.resolve(this.#document);
    if (target !== undefined) return this.walk(target, path);
    this.problems.push({ spot, what: `*${alias.source} refers to an anchor that is not there`, remedy: QUOTE_STAR });
    return null;
  }

  #map(items: readonly { readonly key: unknown; readonly value: unknown }[], path: Path): Json {
    const result: Record<string, Json> = {};
    for (const item of items) {
      const key = isScalar(item.key) ? String(item.key.value) : '';
      const inner = [...path, key];
      if (Object.hasOwn(result, key)) this.#duplicate(inner, item.key);
      this.#keys.set(keyOf(inner), this.#spotOf(item.key, path));
      // As an own property, so that a key such as __proto__ is seen as the unknown key that it is.
      const value = this.walk(item.value, inner);
      Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true });
    }
    return result;
  }

  #spotOf(node: unknown, path: Path): Spot {
    const range = (node as Node | null)?.range;
    const spot = range ? this.at(range[0]) : this.keySpot(path);
    if (!this.#values.has(keyOf(path))) this.#values.set(keyOf(path), spot);
    return spot;
  }

  #duplicate(path: Path, key: unknown): void {
    const first = this.keySpot(path);
    const what = `${pathText(path)} stands twice, first in line ${first.line}`;
    this.problems.push({ spot: this.at((key as Node).range?.[0] ?? 0), what, remedy: 'keep one of them' });
  }

  /** One problem is enough: what follows would repeat it for every node. */
  #refuse(spot: Spot, what: string): null {
    if (!this.#refused) {
      this.#refused = true;
      this.problems.push({ spot, what: `the plan ${what}`, remedy: 'write a plan of ordinary size' });
    }
    return null;
  }
}

const scalar = (value: unknown): Json =>
  typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number' ? value : null;

const yamlProblem = (error: YAMLError, spot: Spot): Problem => ({
  spot,
  what: `this is not valid YAML: ${error.message.replaceAll(/\s+/g, ' ')}`,
  remedy: REMEDIES[error.code] ?? 'mend the syntax at this place',
});

const failed = (problem: Problem): LocatedDocument => ({
  value: null,
  problems: [problem],
  spot: () => START,
  keySpot: () => START,
});

/** The text of a plan's bytes, or why it is not a text. */
const decode = (bytes: Uint8Array): { readonly text: string } | Problem => {
  if (bytes.length > MAX_BYTES) {
    const what = `the file has more than ${MAX_BYTES} bytes`;
    return { spot: START, what, remedy: 'check that this is the plan' };
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (!text.includes('\0')) return { text };
  } catch {
    // The same answer as for a NUL: whatever it is, nobody wrote it with a text editor as UTF-8.
  }
  return {
    spot: START,
    what: 'the file is not UTF-8 text',
    remedy: 'check that this is the plan, and save it as UTF-8',
  };
};

/**
 * Reads a YAML document: core schema only (no custom tags, no merge keys), duplicate keys refused, aliases, depth and
 * size bounded. Everything that is wrong is in `problems`.
 */
export const readDocument = (bytes: Uint8Array): LocatedDocument => {
  const decoded = decode(bytes);
  if (!('text' in decoded)) return failed(decoded);
  const lines = new LineCounter();
  const document = parseDocument(decoded.text, {
    schema: 'core',
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    // The walker looks for duplicate keys instead: the parser compares each with all before it, which took 180 s for a
    // file of 100,000 keys.
    uniqueKeys: false,
    // Below this level several documents in one file are not an error.
    logLevel: 'error',
  });
  const walker = new Walker(document, lines);
  const syntax = [...document.errors, ...document.warnings].map((error) => yamlProblem(error, walker.at(error.pos[0])));
  const value = syntax.length === 0 ? walker.walk(document.contents, []) : null;
  return {
    value: walker.refused ? null : value,
    problems: [...syntax, ...walker.problems],
    spot: (path) => walker.spot(path),
    keySpot: (path) => walker.keySpot(path),
  };
};
