import type { Side } from '../../src/domain/position.ts';
import { runSql, type Stage } from './stage.ts';
import { PHASE_NAMES, type PhaseName } from './workloads.ts';

/** A phase as the source's sidecar has it, looked at past the program. */
export interface PhaseLook {
  readonly name: PhaseName;
  readonly state: string;
  /** Ids of the findings that keep it or its lanes from going on. */
  readonly obstacles: readonly string[];
}

const LOOK_SQL = `
SELECT p.name, p.doc::json ->> 'name' AS state, p.stuck::json ->> 'id' AS stuck,
       (SELECT string_agg(l.halt::json #>> '{finding,id}', ' ') FROM switchback.lane l
         WHERE l.phase = p.name AND l.halt IS NOT NULL
           AND l.direction = CASE WHEN p.doc::json ->> 'name' = 'soaking' THEN 'reverse' ELSE 'forward' END) AS halts
  FROM switchback.phase p`;

/** All phases; undefined while the source does not answer or the run has not begun. */
export const lookAtPhases = async (stage: Stage): Promise<readonly PhaseLook[] | undefined> => {
  try {
    const rows = await runSql(stage.directUrls.source, LOOK_SQL);
    return PHASE_NAMES.flatMap((name) => {
      const row = rows.find((r) => r.name === name);
      if (!row) return [];
      const obstacles = [row.stuck, row.halts].flatMap((id) => (typeof id === 'string' ? id.split(' ') : []));
      return [{ name, state: String(row.state), obstacles }];
    });
  } catch {
    return undefined;
  }
};

/** The side on which a phase's writes belong in a state; undefined in one that is neither. */
export const sideOfState = (state: string): Side | undefined => {
  if (state === 'soaking') return 'target';
  return state === 'ready' || state === 'following' ? 'source' : undefined;
};

/** How many switches of the run ended how, by the commit records. */
export const countOutcomes = async (
  stage: Stage,
): Promise<{ readonly committed: number; readonly aborted: number }> => {
  const rows = await runSql(
    stage.directUrls.source,
    `SELECT count(*) FILTER (WHERE outcome = 'committed')::int AS committed,
            count(*) FILTER (WHERE outcome = 'aborted')::int AS aborted FROM switchback.outcome`,
  );
  return { committed: Number(rows[0]?.committed ?? 0), aborted: Number(rows[0]?.aborted ?? 0) };
};
