/** A whole number of decimal units per second, with nothing in between. */
export const RATE = /^(\d{1,9})(kB|MB|GB)\/s$/;

const BYTES_PER_UNIT: Readonly<Record<string, number>> = { kB: 1e3, MB: 1e6, GB: 1e9 };

/** What to write where a rate was wrong. */
export const RATE_REMEDY = 'write a whole number with its unit, such as 500kB/s, 50MB/s or 1GB/s';

/** Bytes per second of `500kB/s`, `50MB/s` or `1GB/s`, or null when the text is not a rate. A unit is required. */
export const parseRate = (text: string): number | null => {
  const [, digits, unit] = RATE.exec(text) ?? [];
  const scale = BYTES_PER_UNIT[unit ?? ''];
  return digits === undefined || scale === undefined ? null : Number(digits) * scale;
};
