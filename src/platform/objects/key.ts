import { SwitchbackError } from '../../domain/errors.ts';

/** What a file name has room for, with what is written beside it before it is whole. */
const MAX_PART = 200;
/** Of S3. */
const MAX_KEY = 1_024;
/** Parts of a key do not begin with a dot: those are nobody's objects, and `..` leads out of the place. */
const PART = new RegExp(`^[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,${MAX_PART - 1}}$`);

const refuse = (what: string, key: string): SwitchbackError =>
  new SwitchbackError('refused', `${JSON.stringify(key)} is no ${what} of objects`, {
    remedy: 'it is made of parts with / between them, of letters, digits and . _ = -, none of which begins with a dot',
  });

/** The parts of a key. Throws kind `refused` for what is none: it could lead out of the place, or mean another one there. */
export const partsOfKey = (key: string): readonly string[] => {
  const parts = key.split('/');
  if (key.length > MAX_KEY || !parts.every((part) => PART.test(part))) throw refuse('key', key);
  return parts;
};

/** Whether something is a key. */
export const isKey = (key: string): boolean => {
  try {
    partsOfKey(key);
    return true;
  } catch {
    return false;
  }
};

/** The parts of a prefix, which is empty or ends with `/`. Throws as {@link partsOfKey} does. */
export const partsOfPrefix = (prefix: string): readonly string[] => {
  if (prefix === '') return [];
  if (!prefix.endsWith('/')) throw refuse('prefix', prefix);
  return partsOfKey(prefix.slice(0, -1));
};
