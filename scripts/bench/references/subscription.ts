import pg from 'pg';
import { monotonicMs, sleep } from '../../../src/platform/clock.ts';
import { type DataSet, finishByHand } from '../data-set.ts';
import { jobs } from '../programs.ts';
import { runSql } from '../servers.ts';

const NAME = 'bench_native';
const LOOK_EVERY_MS = 50;
const LONGEST_MS = 900_000;

/** Databases as URLs. */
interface Urls {
  readonly source: string;
  readonly target: string;
}

/**
 * What the servers do by themselves: tables, CREATE SUBSCRIPTION with `copy_data`, and when every table is synchronised
 * indexes, foreign keys and ANALYZE. Leaves the subscription; {@link endNativeSync} takes it away.
 */
export const nativeSync = async (urls: Urls, set: DataSet): Promise<void> => {
  await runSql(urls.target, set.bare);
  await runSql(urls.source, `CREATE PUBLICATION ${NAME} FOR ALL TABLES`);
  const connection = pg.escapeLiteral(urls.source);
  await runSql(urls.target, `CREATE SUBSCRIPTION ${NAME} CONNECTION ${connection} PUBLICATION ${NAME}`);
  const deadline = monotonicMs() + LONGEST_MS;
  for (;;) {
    const [row] = await runSql(
      urls.target,
      `SELECT count(*) FILTER (WHERE srsubstate NOT IN ('s', 'r'))::int AS left FROM pg_subscription_rel`,
    );
    if (row?.left === 0) break;
    if (monotonicMs() > deadline) throw new Error(`native sync has not ended: ${JSON.stringify(row)} tables are left`);
    await sleep(LOOK_EVERY_MS);
  }
  await finishByHand(urls.target, set, jobs());
};

/** Takes away subscription, slot and publication. Nothing when they are not there. */
export const endNativeSync = async (urls: Urls): Promise<void> => {
  const there = await runSql(urls.target, `SELECT FROM pg_subscription WHERE subname = '${NAME}'`);
  if (there.length > 0) await runSql(urls.target, `DROP SUBSCRIPTION ${NAME}`);
  await runSql(urls.source, `DROP PUBLICATION IF EXISTS ${NAME}`);
};
