import type { Side } from '../domain/position.ts';
import type { Route } from './router.ts';

/** Whether a text of somebody else's names a side. */
export const isSide = (value: unknown): value is Side => value === 'source' || value === 'target';

/**
 * The route that a program or a receiver of the plan's author answers: a side, or a JSON object with `primary`, `held` and
 * `version`, each of which may be left out. Without a version the primary itself is one. Null for anything else.
 */
export const routeOf = (answer: string): Route | null => {
  const text = answer.trim();
  if (isSide(text)) return { primary: text, held: false, version: text };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const { primary = null, held = false, version = String(primary) } = value as Readonly<Record<string, unknown>>;
  const right = (primary === null || isSide(primary)) && typeof held === 'boolean' && typeof version === 'string';
  return right ? { primary, held, version } : null;
};
