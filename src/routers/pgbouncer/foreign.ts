import { otherSide, type Side } from '../../domain/position.ts';
import type { SqlSide } from '../../domain/sql.ts';
import { within } from '../bounded.ts';

/**
 * Settings that servers report to their clients since they have them: `default_transaction_read_only` and `search_path`, which
 * are reported since 14 and 18, were there before, so that older servers can be told them.
 */
const LATE_REPORTED = ['scram_iterations'];
/** For a question to the side that clients are led away from, which may be gone. */
const OTHER_MS = 1_000;

/** Settings that a pooler may have learned from one side, and that the other side does not know. */
export interface ForeignSettings {
  readonly names: readonly string[];
  readonly unknownOn: Side;
  /** Whether clients are ended when they are led there. */
  readonly action: 'refuse' | 'end';
}

/** From this version on a pooler remembers every setting that a server reports, and sets it on the next server. */
export const TRACKS_ALL = [1, 26] as const;

/** Whether a pooler of that version does. */
export const tracksAll = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > TRACKS_ALL[0] || (major === TRACKS_ALL[0] && minor >= TRACKS_ALL[1]);
};

/** Which of the settings that were not always there a server has. */
const reportedSettings = async (server: SqlSide): Promise<ReadonlySet<string>> => {
  const { rows } = await server.query('SELECT name FROM pg_settings WHERE name = ANY($1::text[])', [LATE_REPORTED]);
  return new Set(rows.map(({ name }) => name ?? ''));
};

/** Settings that a side does not know and the other one tells its clients. One that cannot be asked may tell them all. */
export const foreignOn = async (side: Side, servers: Readonly<Record<Side, SqlSide>>): Promise<readonly string[]> => {
  const known = await reportedSettings(servers[side]);
  const unknown = LATE_REPORTED.filter((name) => !known.has(name));
  if (unknown.length === 0) return [];
  const told = await within(OTHER_MS, reportedSettings(servers[otherSide(side)])).catch(() => false as const);
  return told === false ? unknown : unknown.filter((name) => told.has(name));
};
