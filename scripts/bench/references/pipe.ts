import { type DataSet, finishByHand } from '../data-set.ts';
import { jobs, runReference } from '../programs.ts';
import { runSql } from '../servers.ts';

/** Both ends of a pipe between two servers, for `sh`: $0 is psql, then source, target and table. */
const PIPE = `"$0" -XqAt "$1" -c "COPY $3 TO STDOUT (FORMAT binary)" | "$0" -XqAt -v ON_ERROR_STOP=1 "$2" -c "COPY $3 FROM STDIN (FORMAT binary)"`;

/**
 * What a person at a shell does: tables, one `psql | psql` of binary COPY per table, one at a time per core and the largest
 * first, then indexes and foreign keys, then ANALYZE.
 */
export const pipeByPsql = async (
  psql: string,
  urls: { readonly source: string; readonly target: string },
  set: DataSet,
): Promise<void> => {
  await runSql(urls.target, set.bare);
  const left = [...set.names];
  const one = async (): Promise<void> => {
    for (let table = left.shift(); table !== undefined; table = left.shift()) {
      await runReference(['sh', '-c', PIPE, psql, urls.source, urls.target, table]);
    }
  };
  await Promise.all(Array.from({ length: jobs() }, one));
  await finishByHand(urls.target, set, jobs());
};
