/** Names of plans may have underscores, and hyphens in a row or at the end; identifiers of RDS may not. */
const stem = (plan: string): string => plan.replaceAll(/[_-]+/g, '-').replace(/-$/, '');

const pad = (value: number): string => String(value).padStart(2, '0');

/** What a snapshot's id is made of. */
export interface SnapshotIdParts {
  /** The plan's name. */
  readonly plan: string;
  /** When it is asked for, as the source's clock has it; only for people, and for the order of names. */
  readonly at: Date;
  /** Four hexadecimal digits that nobody has chosen. */
  readonly random: string;
}

/**
 * `<plan>-<yyyymmdd-hhmmss>-<4 hex>` in UTC: the id of a snapshot, chosen before anything of it begins, so that whoever comes
 * after a crash goes on with it. Valid as an identifier of RDS: a letter first, letters, digits and single hyphens, at most 51.
 */
export const snapshotId = ({ plan, at, random }: SnapshotIdParts): string => {
  const day = `${at.getUTCFullYear()}${pad(at.getUTCMonth() + 1)}${pad(at.getUTCDate())}`;
  const time = `${pad(at.getUTCHours())}${pad(at.getUTCMinutes())}${pad(at.getUTCSeconds())}`;
  return `${stem(plan)}-${day}-${time}-${random}`;
};

/** Whether an id is one that {@link snapshotId} has made for a plan. */
export const isIdOf = (plan: string, id: string): boolean =>
  id.startsWith(`${stem(plan)}-`) && /^\d{8}-\d{6}-[0-9a-f]{4}$/.test(id.slice(stem(plan).length + 1));

/** The scratch place of a drill: the same in every repetition, so that one that is left over is found. */
export const drillPlace = (id: string): string => `drill-${id}`;

/** The place that a snapshot is restored to for good: the same in every repetition, so that one that is half-made is gone on with. */
export const restoredName = (id: string): string => `restored-${id}`;
