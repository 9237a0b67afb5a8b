import { z } from 'zod';
import { urlSecrets } from '../platform/url-secrets.ts';
import type { Json, LocatedDocument } from './document.ts';
import { isReference, literalPart } from './interpolate.ts';
import { nearest } from './nearest.ts';
import { type Path, type Problem, pathText } from './problem.ts';
import { planSchema } from './schema.ts';

/** The part of a JSON schema that suggestions are made from. */
interface Shape {
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly additionalProperties?: Shape | boolean;
  readonly items?: Shape;
  readonly oneOf?: readonly Shape[];
  readonly anyOf?: readonly Shape[];
  readonly const?: Json;
}

type Issue = z.core.$ZodIssue;
type Told = Pick<Problem, 'what' | 'remedy'>;

/** The JSON schema of a plan, as an editor reads it. */
export const planJsonSchema = (): object => z.toJSONSchema(planSchema, { io: 'input' });

/** What `path` leads to in the document, or undefined. */
export const valueAt = (root: Json, path: Path): Json | undefined => {
  let value: Json | undefined = root;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Readonly<Record<string | number, Json>>)[step];
  }
  return value;
};

/** The key of a kind of router whose value nobody learns from the plan. */
const SECRET_KEYS: Readonly<Record<string, string>> = { webhook: 'secret', etcd: 'password' };

/** Where a router has such a value, or null. */
export const secretOf = (root: Json, router: string): Path | null => {
  const key = SECRET_KEYS[String(valueAt(root, ['routers', router, 'kind']))];
  return key === undefined ? null : ['routers', router, key];
};

/** Where the key stands that encrypts snapshots. */
export const SNAPSHOT_KEY: Path = ['snapshots', 'key'];

/** Whether a path leads to a secret. */
const isSecret = (root: Json, path: Path): boolean =>
  path.join('.') === SNAPSHOT_KEY.join('.') ||
  (path.length === 3 && path[0] === 'routers' && secretOf(root, String(path[1]))?.[2] === path[2]);

/** Every text of a document with the path to it. */
export const textsOf = (value: Json, path: Path = []): readonly { readonly path: Path; readonly text: string }[] => {
  if (typeof value === 'string') return [{ path, text: value }];
  if (typeof value !== 'object' || value === null) return [];
  return Array.isArray(value)
    ? value.flatMap((item, index) => textsOf(item, [...path, index]))
    : Object.entries(value).flatMap(([key, item]) => textsOf(item, [...path, key]));
};

/** Whether a path leads to a webhook's URL: who has its path and query may be let in by it. */
export const isWebhookUrl = (root: Json, path: Path): boolean =>
  path.length === 3 &&
  path[0] === 'routers' &&
  path[2] === 'url' &&
  valueAt(root, ['routers', String(path[1]), 'kind']) === 'webhook';

/** Whether no problem may show the value that a path leads to. */
export const isHidden = (root: Json, path: Path): boolean => {
  if (isSecret(root, path)) return true;
  const value = valueAt(root, path);
  if (typeof value !== 'string') return false;
  return (isWebhookUrl(root, path) && !isReference(value)) || urlSecrets(literalPart(value)).length > 0;
};

/** The alternative of a union that the value's `kind` chooses, or the only one that has keys; the shape itself when it is no union. */
const chosen = (shape: Shape, value: Json | undefined): Shape => {
  const alternatives = shape.properties === undefined ? (shape.oneOf ?? shape.anyOf) : undefined;
  if (alternatives === undefined) return shape;
  const kind = valueAt(value ?? null, ['kind']);
  const mappings = alternatives.filter((one) => one.properties !== undefined);
  if (mappings.length === 1) return mappings[0] ?? {};
  return mappings.find((one) => one.properties?.kind?.const === kind) ?? {};
};

/** The keys that a mapping of the plan may have. */
const keysAt = (root: Json, path: Path): readonly string[] => {
  let shape: Shape | undefined = planJsonSchema() as Shape;
  for (const [index, step] of path.entries()) {
    const here: Shape = chosen(shape ?? {}, valueAt(root, path.slice(0, index)));
    const other = typeof here.additionalProperties === 'object' ? here.additionalProperties : undefined;
    shape = typeof step === 'number' ? here.items : (here.properties?.[step] ?? other);
  }
  return Object.keys(chosen(shape ?? {}, valueAt(root, path)).properties ?? {});
};

const oneOf = (values: readonly string[]): string =>
  values.length === 1 ? `${values[0]}` : `one of ${values.join(', ')}`;

/** `did you mean x`, or the words that there are. */
const hint = (word: string, known: readonly string[]): string => {
  const guess = known.length > 1 ? nearest(word, known) : null;
  return guess === null ? `use ${oneOf(known)}` : `did you mean ${guess}`;
};

const SEE_DOCUMENTATION = 'see docs/plan.md for its form';

/** The types that zod names, in our words, and how to write each. */
const TYPES: Readonly<Record<string, Told>> = {
  object: { what: 'a mapping of keys and values', remedy: 'write it as { key: value }' },
  record: { what: 'a mapping of keys and values', remedy: 'write it as { key: value }' },
  array: { what: 'a list', remedy: 'write it as [one, two]' },
  string: { what: 'text', remedy: 'put quotes around it' },
};

const kindOf = (value: Json): string => {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? 'text' : typeof value === 'number' ? 'a number' : 'true or false';
};

const wrongType = (expected: string, value: Json, name: string): Told => {
  const type = TYPES[expected] ?? { what: expected, remedy: SEE_DOCUMENTATION };
  const what = `${name} must be ${type.what}, and is ${kindOf(value)}`;
  return { what, remedy: value === null ? 'give it a value, or take it out' : type.remedy };
};

const wrongChoice = (allowed: readonly string[], value: Json, name: string): Told => ({
  what: `${name} must be ${oneOf(allowed)}`,
  remedy: hint(String(value), allowed),
});

/** A message `what; remedy` about the value of that name. */
const worded = (name: string, message: string): Told => {
  const end = message.indexOf('; ');
  return end < 0
    ? { what: `${name} ${message}`, remedy: SEE_DOCUMENTATION }
    : { what: `${name} ${message.slice(0, end)}`, remedy: message.slice(end + 2) };
};

/** The words that a value may be one of; none when it is not such a value. */
const choicesOf = (issue: Issue): readonly string[] => {
  if (issue.code === 'invalid_value') return issue.values.map(String);
  return issue.code === 'invalid_union' && 'options' in issue ? issue.options.map(String) : [];
};

const missing = (issue: Issue, name: string): Told => {
  const allowed = choicesOf(issue);
  return { what: `${name} is missing`, remedy: allowed.length === 0 ? 'add it' : `add it: ${oneOf(allowed)}` };
};

/** The words of an issue that zod or the schema found. Messages of the schema itself are `what; remedy`. */
const told = (issue: Issue, value: Json | undefined): Told => {
  const name = pathText(issue.path as Path);
  if (value === undefined) return missing(issue, name);
  switch (issue.code) {
    case 'invalid_type':
      return issue.message.includes('; ') ? worded(name, issue.message) : wrongType(issue.expected, value, name);
    case 'invalid_union':
      return choicesOf(issue).length === 0 ? worded(name, issue.message) : wrongChoice(choicesOf(issue), value, name);
    case 'invalid_value':
      return wrongChoice(choicesOf(issue), value, name);
    case 'too_big':
      return { what: `${name} has more than ${issue.maximum} items`, remedy: 'use patterns' };
    default:
      return worded(name, issue.message);
  }
};

/** A scalar as it is written, for a message; nothing for mappings and lists, which are looked up by line. */
export const written = (value: Json | undefined): string | undefined =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;

/** What zod found, as problems with their places. `document` is as written, before the environment was filled in. */
export const issueProblems = (issues: readonly Issue[], document: LocatedDocument): readonly Problem[] =>
  issues.flatMap((issue) => {
    const path = issue.path as Path;
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(document.value, path);
      return issue.keys.map((key) => ({
        spot: document.keySpot([...path, key]),
        what: `${pathText([...path, key])} is not a key of a plan`,
        value: key,
        remedy: hint(key, known),
      }));
    }
    const value = valueAt(document.value, path);
    return [
      {
        spot: document.spot(path),
        ...told(issue, value),
        value: isHidden(document.value, path) ? undefined : written(value),
      },
    ];
  });
