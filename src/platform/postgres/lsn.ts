import type { Position } from '../../domain/position.ts';

/**
 * PostgreSQL's log sequence number: the one place that parses, prints and compares a {@link Position} of `stream` and
 * `native`. Text form is PostgreSQL's own, `16/B374D848`.
 */
export const Lsn = {
  /** Parses PostgreSQL's text form. Throws RangeError on anything else. */
  parse(text: string): bigint {
    const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
    if (match?.[1] === undefined || match[2] === undefined) throw new RangeError(`not an LSN: "${text}"`);
    return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
  },

  /** Prints as PostgreSQL does. */
  format(lsn: bigint): Position {
    const high = (lsn >> 32n).toString(16).toUpperCase();
    const low = (lsn & 0xffffffffn).toString(16).toUpperCase();
    return `${high}/${low}` as Position;
  },

  /** Whether position `a` is at or past position `b`. */
  reached(a: Position, b: Position): boolean {
    return Lsn.parse(a) >= Lsn.parse(b);
  },

  /** The later of two positions. */
  max(a: Position, b: Position): Position {
    return Lsn.reached(a, b) ? a : b;
  },
} as const;
