declare const positionBrand: unique symbol;

/**
 * An opaque point in one database's history (an LSN, a GTID set, a DMS checkpoint), as text. Only the platform module of
 * the database that made it may parse or compare it; everybody else stores it and hands it back.
 */
export type Position = string & { readonly [positionBrand]: true };

/** Which of the run's two databases. They are fixed for the run and never renamed, whichever is primary. */
export type Side = 'source' | 'target';

/** Forward is source→target, reverse is target→source. */
export type Direction = 'forward' | 'reverse';

/** The side that a direction reads from, and the side that it writes to. */
export const sidesOf = (direction: Direction): { readonly from: Side; readonly to: Side } =>
  direction === 'forward' ? { from: 'source', to: 'target' } : { from: 'target', to: 'source' };

/** The other side. */
export const otherSide = (side: Side): Side => (side === 'source' ? 'target' : 'source');

/** The other direction. */
export const opposite = (direction: Direction): Direction => (direction === 'forward' ? 'reverse' : 'forward');
