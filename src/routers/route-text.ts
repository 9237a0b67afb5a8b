import type { Side } from '../domain/position.ts';
import { routeVariables } from '../domain/variable.ts';

/** One phase's route as a file holds it. */
export interface StoredRoute {
  readonly primary: Side | null;
  readonly held: boolean;
  /** Of the last repoint; 0 when the file does not say. */
  readonly epoch: bigint;
}

/** One of the forms of a route file: pure functions from the file's bytes to routes and back. */
export interface RouteText {
  /** The route of a phase; throws RouteTextError when the file holds something that is none. */
  read(bytes: Buffer, phase: string): StoredRoute;
  /** The same file with other routes for these phases; whatever else is in it stays. Throws as `read` does. */
  write(bytes: Buffer, routes: ReadonlyMap<string, StoredRoute>): Buffer;
}

/** What a phase has before anybody told the router of it. */
export const NOT_TOLD: StoredRoute = { primary: null, held: false, epoch: 0n };

/** The file holds something that we do not understand and therefore will not write over. */
export class RouteTextError extends Error {
  /** What to do about it, where that is more than to mend the file. */
  readonly remedy: string | undefined;

  constructor(message: string, remedy?: string) {
    super(message);
    this.remedy = remedy;
  }
}

/** A side, or null for what says nothing. Throws for anything else; `where` names the place. */
export const sideOf = (value: unknown, where: string): Side | null => {
  if (value === undefined || value === null || value === '') return null;
  if (value === 'source' || value === 'target') return value;
  throw new RouteTextError(`${where} is neither source nor target`);
};

/** An epoch, 0 for what says nothing. Throws for anything else; `where` names the place. */
export const epochOf = (value: unknown, where: string): bigint => {
  if (value === undefined || value === '') return 0n;
  const text = typeof value === 'number' || typeof value === 'bigint' ? String(value) : value;
  if (typeof text === 'string' && /^\d{1,19}$/.test(text)) return BigInt(text);
  throw new RouteTextError(`${where} is not a whole number`);
};

type JsonObject = { readonly [key: string]: unknown };

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Numbers of other people that a JavaScript number cannot carry; writing the file again would change them. */
const fragileNumber = (text: string): string | undefined =>
  (text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').match(/-?\d[\d.eE+-]*/g) ?? []).find(
    (number) => number.replaceAll(/[^\d]/g, '').length > 15,
  );

/** A file's text; `keepsMark` says whether a byte-order mark stays in it. Throws for what is not UTF-8. */
export const decodeText = (bytes: Buffer, keepsMark = false): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: keepsMark }).decode(bytes);
  } catch {
    throw new RouteTextError('it is not UTF-8');
  }
};

const parseJson = (bytes: Buffer): JsonObject => {
  const text = decodeText(bytes);
  if (text.trim() === '') return {};
  const fragile = fragileNumber(text);
  if (fragile !== undefined) throw new RouteTextError(`the number ${fragile} would lose digits; put it in quotes`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RouteTextError('it is not JSON');
  }
  if (!isObject(value)) throw new RouteTextError('it is not a JSON object');
  return value;
};

const entryOf = (file: JsonObject, phase: string): JsonObject => {
  const entry = Object.hasOwn(file, phase) ? file[phase] : {};
  if (!isObject(entry)) throw new RouteTextError(`"${phase}" is not an object`);
  return entry;
};

/** `{"orders":{"primary":"target","held":false,"epoch":"7"}}`. Keys of other people stay, here and inside a phase. */
export const jsonText: RouteText = {
  read(bytes, phase) {
    const { primary, held, epoch } = entryOf(parseJson(bytes), phase);
    if (held !== undefined && typeof held !== 'boolean') {
      throw new RouteTextError(`"${phase}".held is neither true nor false`);
    }
    return {
      primary: sideOf(primary, `"${phase}".primary`),
      held: held ?? false,
      epoch: epochOf(epoch, `"${phase}".epoch`),
    };
  },
  write(bytes, routes) {
    const file = parseJson(bytes);
    const entries = [...routes].map(([phase, route]) => {
      const told = route.primary === null ? {} : { primary: route.primary };
      return [phase, { ...entryOf(file, phase), ...told, held: route.held, epoch: String(route.epoch) }] as const;
    });
    return Buffer.from(`${JSON.stringify({ ...file, ...Object.fromEntries(entries) }, null, 2)}\n`);
  },
};

/** A name with the value that a file gives it. */
export interface Variable {
  readonly name: string;
  readonly value: string;
}

/** The route that variables tell; the last one of a name counts. Throws RouteTextError for values that are none. */
export const routeOfVariables = (variables: readonly Variable[], phase: string): StoredRoute => {
  const names = routeVariables(phase);
  const values = new Map(variables.map(({ name, value }) => [name, value] as const));
  const held = values.get(names.held) ?? '';
  if (!['', '0', '1'].includes(held)) throw new RouteTextError(`${names.held} is neither 0 nor 1`);
  return {
    primary: sideOf(values.get(names.primary), names.primary),
    held: held === '1',
    epoch: epochOf(values.get(names.epoch), names.epoch),
  };
};

/** The variables that tell these routes, by name. */
export const variablesOfRoutes = (routes: ReadonlyMap<string, StoredRoute>): ReadonlyMap<string, string> => {
  const wanted = new Map<string, string>();
  for (const [phase, route] of routes) {
    const names = routeVariables(phase);
    if (route.primary !== null) wanted.set(names.primary, route.primary);
    wanted.set(names.held, route.held ? '1' : '0').set(names.epoch, String(route.epoch));
  }
  return wanted;
};

/** A line that sets a variable, as a shell or a dotenv library reads it. */
const ASSIGNMENT = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*$/;

/** Lines with their endings. As Latin-1, so that bytes which are no UTF-8 stay what they are. */
const linesOf = (bytes: Buffer): readonly string[] => bytes.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];

const variableOf = (line: string): Variable | null => {
  const [, name, value = ''] = ASSIGNMENT.exec(line) ?? [];
  return name === undefined ? null : { name, value: value.replace(/^(["'])(.*)\1$/, '$2') };
};

/** `SWITCHBACK_ORDERS=target`, `SWITCHBACK_ORDERS_HELD=0`, `SWITCHBACK_ORDERS_EPOCH=7`. Other lines stay as they are. */
export const envText: RouteText = {
  read(bytes, phase) {
    return routeOfVariables(
      linesOf(bytes).flatMap((line) => variableOf(line) ?? []),
      phase,
    );
  },
  write(bytes, routes) {
    return Buffer.from(assign(linesOf(bytes), variablesOfRoutes(routes)).join(''), 'latin1');
  },
};

/** The lines with each variable set once: where it first stood, or at the end. */
const assign = (lines: readonly string[], wanted: ReadonlyMap<string, string>): readonly string[] => {
  const left = new Map(wanted);
  const kept = lines.flatMap((line) => {
    const variable = variableOf(line);
    if (variable === null || !wanted.has(variable.name)) return [line];
    const value = left.get(variable.name);
    if (!left.delete(variable.name)) return [];
    const prefix = /^\s*export\s/.test(line) ? 'export ' : '';
    return [`${prefix}${variable.name}=${value}${line.endsWith('\r\n') ? '\r\n' : '\n'}`];
  });
  const last = kept.at(-1);
  const closed = last === undefined || last.endsWith('\n') ? kept : [...kept.slice(0, -1), `${last}\n`];
  return [...closed, ...[...left].map(([name, value]) => `${name}=${value}\n`)];
};
