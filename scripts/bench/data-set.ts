import { runSql, withClient } from './servers.ts';

/** Tables with rows to move, made from a seed on the server alone. */
export interface DataSet {
  readonly name: string;
  /** Pattern of its tables, as plans have them. */
  readonly tables: string;
  /** Tables without keys and indexes: what a copy by hand begins with. */
  readonly bare: string;
  /** Names of the tables, the largest first. */
  readonly names: readonly string[];
  /** Primary keys, unique constraints and indexes: one statement each, in any order. */
  readonly indexes: readonly string[];
  /** Foreign keys, after all indexes. */
  readonly foreignKeys: readonly string[];
  /** Fills the bare tables. */
  fill(url: string): Promise<void>;
}

/** What somebody who builds indexes by hand would give each of two builds on such a machine; pgcopydb gives as much. */
export const BUILD_MEMORY = '1GB';

/** Runs statements on so many sessions, each taking the next one. Rejects when all have ended, with the first failure. */
export const runAtOnce = async (url: string, statements: readonly string[], sessions: number): Promise<void> => {
  const left = [...statements];
  const session = async (): Promise<void> =>
    await withClient(url, async (client) => {
      await client.query(`SET maintenance_work_mem = '${BUILD_MEMORY}'`);
      for (let next = left.shift(); next !== undefined; next = left.shift()) await client.query(next);
    });
  const ended = await Promise.allSettled(Array.from({ length: sessions }, session));
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
};

/** What comes after the rows, by hand: indexes and foreign keys on so many sessions, then statistics. */
export const finishByHand = async (url: string, set: DataSet, sessions: number): Promise<void> => {
  await runAtOnce(url, set.indexes, sessions);
  await runAtOnce(url, set.foreignKeys, 1);
  await runSql(url, 'ANALYZE');
};

/** Makes the whole set in an empty database: tables, rows, indexes, foreign keys, VACUUM ANALYZE. */
export const makeDataSet = async (url: string, set: DataSet, sessions: number): Promise<void> => {
  await runSql(url, set.bare);
  await set.fill(url);
  await finishByHand(url, set, sessions);
  await runSql(url, 'VACUUM');
};
