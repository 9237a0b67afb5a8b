import { afterAll, beforeAll, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../../src/demo/servers.ts';
import { sleep } from '../../src/platform/clock.ts';
import { A_WHILE_MS, BOTH, CONFIRMED, LostSource } from '../support/lost-source.ts';
import { expectExit } from '../support/scenario.ts';
import { saidBy } from '../support/scene.ts';
import { runSql, useServerPair } from '../support/servers.ts';

/**
 * The server of the source is destroyed in the middle of the soak, while clients write on the target, and the application goes
 * back to a snapshot that is restored beside, with the archive of changes and without it; nothing is lost. The tests follow each
 * other on one run, whose source is another database each time.
 */
const servers = useServerPair();
const CLEAN = { lost: 0, duplicated: 0, reordered: 0, phantom: 0 };
const SLOW_MS = 240_000;

let old: RunningServer;
let lost: LostSource;
/** A snapshot that was made before the run was begun. */
let first: string;
/** On the server of version 13 that is left. */
const at = (name: string): string => servers().source.urlFor(name);

beforeAll(async () => {
  old = await startServer({ version: 13 });
  lost = await LostSource.make({ source: old, target: servers().target });
  const made = await lost.command('snapshot create');
  expectExit(made);
  first = (made.json as unknown as { readonly snapshot: { readonly id: string } }).snapshot.id;
}, SLOW_MS);

afterAll(async () => {
  await lost?.close();
  await old?.stopAndRemove();
});

it(
  'goes back to a snapshot of before the cutover with the archive replayed, when the old server is destroyed: 0 lost',
  async () => {
    const worker = await lost.startWorker();
    const { id, cutAtMs } = await lost.cutOverAfterSnapshot();
    await worker.process.kill();
    const alive = await lost.failback();
    expectExit(alive, 4);
    expect(saidBy(alive).message).toContain("is the run's own");
    await old.stopAndRemove();
    const into = at('replayed');
    const args = [id, '--into', into, '--confirm', 'test', '--replay'];
    for (const point of ['restore:fenced', 'restore:replayed']) {
      await lost.dieAt(point, 'snapshot restore', ...args);
      expect(await lost.refuses(into)).toBe(true);
    }
    const answer = await lost.restore(id, into, '--replay');
    const { replayed } = answer.json as unknown as { readonly replayed: Record<string, { transactions: number }> };
    expect(Object.keys(replayed)).toEqual([...BOTH]);
    expect(await lost.lackedBy(into, cutAtMs), 'the archive has what was written before the cutover').toEqual([]);
    for (const name of ['resume', 'run']) {
      const refused = await lost.command(name);
      expectExit(refused, 4);
      expect(saidBy(refused).message).toContain('was restored from snapshot');
    }
    for (const point of ['adopt/target', 'adopt/source', 'rebuild/records']) {
      await lost.dieAt(`acted ${point}`, 'failback', ...CONFIRMED, '--from-snapshot');
      expect(await lost.refuses(into)).toBe(true);
    }
    expect(await lost.goBack(), 'the lanes go on from where the archive ended').toEqual([]);
    // It is the primary now, and must never be fenced by whoever gives the command of before again.
    expectExit(await lost.command('snapshot restore', ...args), 4);
    expect(await lost.refuses(into)).toBe(false);
    await sleep(A_WHILE_MS);
    const verdict = await lost.verdict();
    expect(verdict).toMatchObject(CLEAN);
    expect(verdict.acknowledged).toBeGreaterThan(100);
    expect(lost.scenario.run.route('orders')).toMatchObject({ primary: 'source', held: false });
    expect(await lost.refuses(lost.urls.target)).toBe(true);
    const commit = `SELECT 1 FROM switchback.journal WHERE step = 'commit' AND status = 'done'`;
    expect(await runSql(into, commit)).not.toEqual([]);
  },
  SLOW_MS,
);

it(
  'goes back to one without the archive: what it lacks is read from the target, and nothing is lost',
  async () => {
    const { id, cutAtMs } = await lost.cutOverAfterSnapshot();
    await lost.restore(id, at('reread'));
    // What was written between the snapshot and the cutover is in no slot.
    expect(await lost.lackedBy(at('reread'), cutAtMs)).not.toEqual([]);
    await lost.dieAt('acted reread/slot', 'failback', ...CONFIRMED, '--from-snapshot');
    expect(await lost.refuses(at('reread'))).toBe(true);
    // That one is lost as well, after the target was told of it.
    await lost.restore(id, at('again'));
    await lost.dieAt('acted reread/rows', 'failback', ...CONFIRMED, '--from-snapshot');
    expect(await lost.refuses(at('again'))).toBe(true);
    expect(await lost.goBack()).toEqual([...BOTH]);
    await sleep(A_WHILE_MS);
    expect(await lost.verdict()).toMatchObject(CLEAN);
    expect(await lost.refuses(lost.urls.target)).toBe(true);
  },
  SLOW_MS,
);

it(
  'goes back to one when the run has ended, as soon as somebody says where the application writes, and nothing is lost',
  async () => {
    const { id } = await lost.cutOverAfterSnapshot();
    expectExit(await lost.command('finalise', ...BOTH, '--early', '--confirm', BOTH.join(',')));
    await lost.restore(id, at('over'));
    const unsaid = await lost.failback();
    expectExit(unsaid, 4);
    expect(saidBy(unsaid).remedy).toContain('--primary catalog=target --primary orders=target');
    expect(await lost.goBack('--primary', 'catalog=target', '--primary', 'orders=target')).toEqual([...BOTH]);
    await sleep(A_WHILE_MS);
    expect(await lost.verdict()).toMatchObject(CLEAN);
    expect(await lost.refuses(lost.urls.target)).toBe(true);
  },
  SLOW_MS,
);

it(
  'goes back to one of before the run, which knows of none, when that has ended',
  async () => {
    await lost.cutOverAfterSnapshot();
    expectExit(await lost.command('finalise', ...BOTH, '--early', '--confirm', BOTH.join(',')));
    const into = at('first');
    const unfollowed = await lost.command('snapshot restore', first, '--into', into, '--confirm', 'test', '--replay');
    expectExit(unfollowed, 4);
    expect(saidBy(unfollowed).message).toContain('was made before a run was begun');
    await lost.restore(first, into);
    const unsaid = await lost.failback();
    expectExit(unsaid, 4);
    expect(saidBy(unsaid).message).toContain('no run is recorded on either side');
    const statements = BOTH.flatMap((phase) => ['--primary', `${phase}=target`]);
    await lost.dieAt('acted adopt/target', 'failback', ...CONFIRMED, '--from-snapshot', ...statements);
    expect(await lost.goBack()).toEqual([...BOTH]);
    await sleep(A_WHILE_MS);
    expect(await lost.verdict()).toMatchObject(CLEAN);
    expect(await lost.refuses(lost.urls.target)).toBe(true);
  },
  SLOW_MS,
);
