import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { at, isJson, type Json, mergePatch } from './json.ts';
import { KINDS, metadataRules } from './kinds.ts';
import { schemaProblems } from './schema.ts';

/** A refusal as the API server words it. */
export class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

const kindOf = (plural: string) => {
  const kind = KINDS[plural];
  if (kind === undefined) throw new Refusal(404, 'NotFound', 'the server could not find the requested resource');
  return kind;
};

/** The objects of one namespace, with the rules of optimistic locking. */
export class Store {
  readonly #objects = new Map<string, Json>();
  #resourceVersion = 1_000;
  readonly namespace: string;
  /** Called with every workload whose generation has been raised. */
  onChanged: (plural: string, name: string) => void = () => undefined;

  constructor(namespace: string) {
    this.namespace = namespace;
  }

  get(plural: string, name: string): Json {
    const found = this.#objects.get(`${plural}/${name}`);
    if (found !== undefined) return structuredClone(found);
    throw new Refusal(404, 'NotFound', `${plural} "${name}" not found`);
  }

  list(plural: string): readonly Json[] {
    return [...this.#objects]
      .filter(([key]) => key.startsWith(`${plural}/`))
      .map(([, object]) => structuredClone(object));
  }

  /** Removes all objects of a sort. */
  clear(plural: string): void {
    for (const key of [...this.#objects.keys()]) if (key.startsWith(`${plural}/`)) this.#objects.delete(key);
  }

  /** Makes an object, as an administrator would. */
  put(plural: string, name: string, object: Json): void {
    const { kind, apiVersion } = kindOf(plural);
    const metadata = {
      ...at(object, 'metadata'),
      name,
      namespace: this.namespace,
      uid: randomUUID(),
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...(kindOf(plural).hasGeneration ? { generation: 1 } : {}),
    };
    const made: Json = { ...object, apiVersion, kind, metadata };
    this.#refuse(plural, made, { metadata });
    this.#keep(plural, name, made);
    if (kindOf(plural).hasGeneration) this.onChanged(plural, name);
  }

  /** Changes an object past every condition, as an administrator would. */
  edit(plural: string, name: string, change: Json): void {
    this.patch(plural, name, { patch: change, isTried: false });
  }

  /** What a PATCH does. */
  patch(plural: string, name: string, { patch, isTried }: { readonly patch: Json; readonly isTried: boolean }): Json {
    const before = this.get(plural, name);
    const patched = mergePatch(before, patch);
    if (!isJson(patched)) throw new Refusal(400, 'BadRequest', 'no object');
    if (at(patched, 'metadata').resourceVersion !== at(before, 'metadata').resourceVersion) {
      const why = 'the object has been modified; please apply your changes to the latest version and try again';
      throw new Refusal(409, 'Conflict', `Operation cannot be fulfilled on ${plural} "${name}": ${why}`);
    }
    this.#refuse(plural, patched, before);
    if (isTried || isDeepStrictEqual(patched, before)) return patched;
    const isOther = kindOf(plural).hasGeneration && !isDeepStrictEqual(withoutHead(patched), withoutHead(before));
    if (isOther) at(patched, 'metadata').generation = Number(at(before, 'metadata').generation) + 1;
    this.#keep(plural, name, patched);
    if (isOther) this.onChanged(plural, name);
    return this.get(plural, name);
  }

  /** The `status` subresource, which only controllers write. */
  setStatus(plural: string, name: string, status: Json): void {
    this.#keep(plural, name, { ...this.get(plural, name), status });
  }

  #keep(plural: string, name: string, object: Json): void {
    this.#resourceVersion += 1;
    const metadata = { ...at(object, 'metadata'), resourceVersion: String(this.#resourceVersion) };
    this.#objects.set(`${plural}/${name}`, structuredClone({ ...object, metadata }));
  }

  #refuse(plural: string, now: Json, before: Json): void {
    const { model, rules, kind } = kindOf(plural);
    const unknown = schemaProblems(now, { type: model, format: '' });
    if (unknown.length > 0) {
      // As the API server does: what was refused is in the message as a whole.
      const text = `patch: Invalid value: ${JSON.stringify(now)}: strict decoding error: ${unknown.join(', ')}`;
      throw new Refusal(422, 'Invalid', ` "" is invalid: ${text}`);
    }
    const broken = [...metadataRules(now, before), ...rules(now, before)];
    if (broken.length > 0) {
      throw new Refusal(
        422,
        'Invalid',
        `${kind} "${String(at(now, 'metadata').name)}" is invalid: ${broken.join(', ')}`,
      );
    }
  }
}

/** What raises a generation when it changes. */
const withoutHead = ({ metadata: _, status: __, ...rest }: Json): Json => rest;
