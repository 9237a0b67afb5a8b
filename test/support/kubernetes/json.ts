/** An object as it is on the wire. */
export interface Json {
  [key: string]: unknown;
}

/** Whether a value is a JSON object. */
export const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The object at a path, or an empty one where there is none. */
export const at = (value: unknown, ...path: readonly string[]): Json => {
  let found: unknown = value;
  for (const key of path) found = isJson(found) ? found[key] : undefined;
  return isJson(found) ? found : {};
};

/** JSON merge patch, RFC 7386. */
export const mergePatch = (target: unknown, patch: unknown): unknown => {
  if (!isJson(patch)) return patch;
  const result: Json = isJson(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
};
