/** A whole number and its unit, with nothing in between. */
export const DURATION = /^(\d{1,9})(ms|s|m|h|d)$/;

const MS_PER_UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** What to write where a duration was wrong. */
export const DURATION_REMEDY = 'write a whole number with its unit, such as 250ms, 2s, 5m, 1h or 7d';

/** Milliseconds of `250ms`, `2s`, `5m`, `1h` or `7d`, or null when the text is not a duration. A unit is required. */
export const parseDuration = (text: string): number | null => {
  const [, digits, unit] = DURATION.exec(text) ?? [];
  const scale = MS_PER_UNIT[unit ?? ''];
  return digits === undefined || scale === undefined ? null : Number(digits) * scale;
};
