import { jobs, type Program, runReference, scratch } from '../programs.ts';
import { runSql } from '../servers.ts';

/** A table above this is read by several of its processes, each a part of its pages. */
const SPLIT_LARGER_THAN = '64MB';

/** How pgcopydb is called. */
export interface Manner {
  /** Follows its name in tables. */
  readonly name: string;
  /** What it is given besides the two databases and its directory. */
  readonly options: readonly string[];
  /** Whether it leaves tables without statistics, so that ANALYZE follows and is in its time. */
  readonly isAnalysedAfter: boolean;
}

/** As its manual has it: so many jobs as there are cores, else its defaults, which copy as text and end with VACUUM ANALYZE. */
export const byManual = (): Manner => ({
  name: 'by its manual',
  options: ['--table-jobs', String(jobs()), '--index-jobs', String(jobs()), '--fail-fast'],
  isAnalysedAfter: false,
});

/**
 * The fastest of what was tried on both sets on two cores. Binary COPY takes about 15% off its time; more jobs than cores, and
 * whether and where tables are split, made no difference beyond that between rounds. ANALYZE is faster than its own VACUUM ANALYZE.
 */
export const tuned = (): Manner => ({
  name: 'tuned',
  options: [
    ...['--table-jobs', String(jobs()), '--index-jobs', String(jobs()), '--restore-jobs', String(jobs())],
    ...['--split-tables-larger-than', SPLIT_LARGER_THAN, '--use-copy-binary'],
    ...['--skip-large-objects', '--skip-vacuum', '--fail-fast'],
  ],
  isAnalysedAfter: true,
});

/** Clones a database into an empty one: schema, rows, indexes, constraints, statistics. Throws with what it said last. */
export const clone = async (
  program: Program,
  urls: { readonly source: string; readonly target: string },
  manner: Manner,
): Promise<void> => {
  const directory = scratch();
  try {
    await runReference([
      ...program.argv,
      'clone',
      '--source',
      urls.source,
      '--target',
      urls.target,
      '--dir',
      `${directory.path}/work`,
      ...manner.options,
    ]);
    if (manner.isAnalysedAfter) await runSql(urls.target, 'ANALYZE');
  } finally {
    directory.remove();
  }
};
