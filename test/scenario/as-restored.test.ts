import { afterAll, beforeAll, expect, it } from 'vitest';
import { monotonicMs } from '../../src/platform/clock.ts';
import type { TableLoss } from '../../src/stages/snapshots/loss.ts';
import { CONFIRMED, LostSource } from '../support/lost-source.ts';
import { expectExit } from '../support/scenario.ts';
import { saidBy } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * What was written on the target from some position on is not wanted: a snapshot is restored with the archive up to there, and the
 * application goes back to exactly that, while clients write. What it loses is counted by the ledger as well.
 */
const servers = useServerPair();
const SLOW_MS = 240_000;
let lost: LostSource;

beforeAll(async () => {
  lost = await LostSource.make(servers());
}, SLOW_MS);
afterAll(async () => await lost?.close());

/** A position of the target, and when clients began or had ended what stands on either side of it. */
interface Border {
  readonly id: string;
  readonly until: string;
  readonly endedMs: number;
  readonly begunMs: number;
}

/** Writes go on until the reverse lanes, and with them the archive, have some of what comes after; then the worker ends. */
const writePastNow = async (): Promise<Border> => {
  const worker = await lost.startWorker();
  const { id } = await lost.cutOverAfterSnapshot();
  const endedMs = monotonicMs();
  const [row] = await runSql(lost.urls.target, 'SELECT pg_current_wal_lsn()::text AS lsn');
  const begunMs = monotonicMs();
  const until = String(row?.lsn);
  const passed = `SELECT FROM switchback.progress WHERE lane LIKE '%/reverse' AND "position"::pg_lsn > '${until}'`;
  await expect.poll(async () => (await runSql(lost.urls.source, passed)).length).toBe(2);
  await expect.poll(async () => (await lost.begunSince(lost.urls.source, begunMs)).length).toBeGreaterThan(0);
  await worker.stop();
  return { id, until, endedMs, begunMs };
};

it(
  'goes back to a snapshot with the archive up to a position, as it was restored, and loses exactly what was announced',
  async () => {
    const { id, until, endedMs, begunMs } = await writePastNow();
    const into = servers().source.urlFor('as_restored');
    await lost.restore(id, into, '--replay', '--until', until);
    expect(await lost.lackedBy(into, endedMs), 'it has all that came before that position').toEqual([]);
    expect(await lost.begunSince(into, begunMs), 'and nothing that came after it').toEqual([]);
    const refused = await lost.failback();
    expectExit(refused, 4);
    expect(saidBy(refused).message).toContain(`restored up to ${until}`);
    expect(saidBy(refused).remedy).toContain('--from-snapshot --as-restored');
    await lost.dieAt('acted failback/fence', 'failback', ...CONFIRMED, '--from-snapshot', '--as-restored');
    const answer = await lost.failback('--as-restored');
    expectExit(answer);
    const found = await lost.verdict();
    const { losses } = answer.json.data as { readonly losses: readonly TableLoss[] };
    const announced = losses.filter(({ table }) => table.endsWith('_write'));
    expect(announced.every(({ isExact, extra, differing }) => isExact && extra + differing === 0)).toBe(true);
    expect(found).toMatchObject({ duplicated: 0, phantom: 0 });
    expect(found.lost).toBeGreaterThan(20);
    expect(announced.reduce((sum, { missing }) => sum + missing, 0)).toBe(found.lost);
    expect(await lost.lackedBy(into, endedMs)).toEqual([]);
    expect(await lost.refuses(lost.urls.target)).toBe(true);
    const slots = 'SELECT 1 FROM pg_replication_slots WHERE database = current_database()';
    expect(await runSql(lost.urls.target, slots)).toEqual([]);
    expect(await runSql(into, slots)).toEqual([]);
  },
  SLOW_MS,
);
