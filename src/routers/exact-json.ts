/** JSON.parse with the text of numbers, and JSON.stringify that writes it back: both are in Node and not yet in the types. */
interface ExactJson {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
}
const exact = JSON as unknown as ExactJson;

/** An object whose numbers JSON.stringify writes as they were. */
export type JsonObject = { readonly [key: string]: unknown };

/**
 * A value whose numbers are written again as they were, also those that a JavaScript number cannot carry. Throws what JSON.parse
 * throws.
 */
export const parseExact = (text: string): unknown =>
  exact.parse(text, (_key, part, { source }) =>
    typeof part === 'number' ? exact.rawJSON(source ?? String(part)) : part,
  );

/** Whether a value of {@link parseExact} is an object, and no number, which is one for JavaScript. */
export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !exact.isRawJSON(value);

/** A text or a number as text; undefined for anything else. */
export const plainOf = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value;
  return exact.isRawJSON(value) ? value.rawJSON : undefined;
};
