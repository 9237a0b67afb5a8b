import type { Side } from '../../domain/position.ts';
import { isJsonObject, type JsonObject, parseExact, plainOf } from '../exact-json.ts';

/** What a value says when it leads to a side: the whole of it, or what stands under some keys of a JSON object. */
export type Led = string | Readonly<Record<string, string | number>>;

/** A value that is not what the plan says that it is. Its message never quotes the value, which may be a secret. */
export class LedTextError extends Error {}

const parseObject = (text: string): JsonObject => {
  let value: unknown;
  try {
    value = parseExact(text);
  } catch {
    throw new LedTextError('it is not JSON');
  }
  if (!isJsonObject(value)) throw new LedTextError('it is not a JSON object');
  return value;
};

/** A port may be a number or a text: what reads the value expects what it has been until now. */
const inTheFormOf = (before: unknown, value: string | number): string | number =>
  typeof before === 'string' ? String(value) : value;

const says = (text: string, led: Led): boolean => {
  if (typeof led === 'string') return text === led;
  const object = parseObject(text);
  return Object.entries(led).every(
    ([key, value]) => Object.hasOwn(object, key) && plainOf(object[key]) === String(value),
  );
};

/** Reads and makes the texts that lead to a side. Pure. */
export class LedTexts {
  readonly #led: Readonly<Record<Side, Led>>;

  constructor(led: Readonly<Record<Side, Led>>) {
    this.#led = led;
  }

  /** The side that a text leads to. Throws {@link LedTextError} for one that is no JSON object and has to be. */
  sideOf(text: string): Side | null {
    if (says(text, this.#led.source)) return 'source';
    return says(text, this.#led.target) ? 'target' : null;
  }

  /** The text that leads to a side; whatever is not ours in it stays. Throws as {@link sideOf} does. */
  leadTo(side: Side, text: string): string {
    const led = this.#led[side];
    if (typeof led === 'string') return led;
    const object = parseObject(text);
    const changed = Object.entries(led).map(([key, value]) => [key, inTheFormOf(object[key], value)] as const);
    return JSON.stringify({ ...object, ...Object.fromEntries(changed) });
  }

  /** Why a text leads to no side, without anything that it says. */
  strangeness(text: string): string {
    const { source, target } = this.#led;
    if (typeof source === 'string' || typeof target === 'string') return 'its value is as for neither';
    const object = parseObject(text);
    const strange = Object.keys(source).filter((key) => {
      const value = plainOf(object[key]);
      return value !== String(source[key]) && value !== String(target[key]);
    });
    if (strange.length === 0) return 'some of its keys are as for one side, some as for the other';
    return `${strange.join(', ')} in it ${strange.length === 1 ? 'is' : 'are'} as for neither`;
  }

  /** Whether both sides would read the same. */
  get isAmbiguous(): boolean {
    const { source, target } = this.#led;
    if (typeof source === 'string' || typeof target === 'string') return source === target;
    return Object.entries(source).every(([key, value]) => String(target[key]) === String(value));
  }
}
