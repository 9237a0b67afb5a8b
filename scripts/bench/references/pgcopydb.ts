import { jobs, type Program, runReference, scratchIn } from '../programs.ts';
import { runSql } from '../servers.ts';

/** A table above this is read by several of its processes, each a part of its pages. */
const SPLIT_LARGER_THAN = '64MB';

/**
 * The options it is given, besides the two databases and its directory: the fastest of those that were tried on both sets on
 * two cores. Binary COPY takes about 15% off its time; more jobs than cores, and whether and where tables are split, made no
 * difference beyond that between rounds.
 */
export const pgcopydbOptions = (): readonly string[] => [
  '--table-jobs',
  String(jobs()),
  '--index-jobs',
  String(jobs()),
  '--restore-jobs',
  String(jobs()),
  '--split-tables-larger-than',
  SPLIT_LARGER_THAN,
  '--use-copy-binary',
  '--skip-large-objects',
  '--skip-vacuum',
  '--fail-fast',
];

/**
 * Clones a database into an empty one: schema, rows, indexes, constraints. With --skip-vacuum it leaves tables without
 * statistics, so that ANALYZE follows, which is faster than its own VACUUM ANALYZE. Throws with what it said last.
 */
export const clone = async (
  program: Program,
  urls: { readonly source: string; readonly target: string },
): Promise<void> => {
  const scratch = scratchIn(program);
  try {
    await runReference([
      ...program.argv,
      'clone',
      '--source',
      urls.source,
      '--target',
      urls.target,
      '--dir',
      `${scratch.inside}/work`,
      ...pgcopydbOptions(),
    ]);
    await runSql(urls.target, 'ANALYZE');
  } finally {
    scratch.remove();
  }
};
