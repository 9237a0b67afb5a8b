/** A problem seen, with its remedy. Something that could not be looked at is an error, never a finding. */
export interface Finding {
  /** Stable id for filters and documentation, `area/what`: `table/no-identity`, `server/wal-level`. */
  readonly id: string;
  /** `blocks` refuses the next step; `warns` is shown and goes on. */
  readonly severity: 'blocks' | 'warns';
  /** What it is about: `source`, `target`, `public.orders`, `phase orders`. */
  readonly subject: string;
  /** What was seen, with the value. */
  readonly fact: string;
  /** The row that it is about, where there is one: display name of the table, and the key's text values. */
  readonly row?: { readonly table: string; readonly key: readonly string[] };
  /** What to do, as a command or a statement where there is one. */
  readonly remedy: string;
}

/** Whether any of the findings refuses the next step. */
export const blocks = (findings: readonly Finding[]): boolean => findings.some((f) => f.severity === 'blocks');

/** The id of the finding that halts a lane for good: its slot, or what it publishes, is gone, so changes may be missing (S14). */
export const SLOT_LOST = 'lane/slot-lost';
