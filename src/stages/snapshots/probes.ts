import { isKind, messageOf } from '../../domain/errors.ts';
import type { SqlSide } from '../../domain/sql.ts';

/**
 * Asks a restored place the plan's probes, each in a transaction of its own that may not write and that is rolled back. Returns
 * what was wrong. Throws kind `unreachable` when the place does not answer.
 */
export const runProbes = async (sql: SqlSide, probes: readonly string[]): Promise<readonly string[]> => {
  const problems: string[] = [];
  for (const probe of probes) {
    const problem = await ask(sql, probe);
    if (problem !== null) problems.push(`probe ${JSON.stringify(probe)} ${problem}`);
  }
  return problems;
};

const ask = async (sql: SqlSide, probe: string): Promise<string | null> => {
  try {
    return await sql.transaction(async (within) => {
      await within.query('SET TRANSACTION READ ONLY');
      // As an application's own session would have it; ours look into pg_catalog alone.
      await within.query('SET LOCAL search_path = "$user", public');
      const { rows } = await within.query(probe);
      const values = Object.values(rows[0] ?? {});
      if (rows.length !== 1 || values.length !== 1) {
        return `gave ${rows.length} rows of ${values.length} columns, not one of one`;
      }
      return values[0] === 't' ? null : `gave ${values[0] ?? 'null'}, not true`;
    });
  } catch (error) {
    if (isKind(error, 'unreachable')) throw error;
    return `cannot be answered: ${messageOf(error)}`;
  }
};
