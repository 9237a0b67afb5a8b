import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Position } from '../../src/domain/position.ts';
import type { SqlExecutor } from '../../src/domain/sql.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import { laneStore } from '../../src/sidecar/lanes.ts';
import { epochGuard, type Ownership, ownershipGuard, readOwnership } from '../../src/sidecar/ownership.ts';
import { claimSource } from '../../src/sidecar/restored.ts';
import { readRun, writeRun } from '../../src/sidecar/run.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

// A worker of the source that is lost may sleep, or still be at work on a source that only we cannot reach. The target is all that
// both know, so it has to refuse that worker whatever it does next (S7), or to have been fenced by it before the claim is made.

const PHASES = ['catalog', 'orders'] as const;
const WAITING = `SELECT count(*)::int AS n FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'`;
const CLAIM = { phases: PHASES, identity: 'restored', place: 'restored:s:1', of: 'lost', epoch: 1_007n } as const;
const RUN = { id: 'r', side: 'target', planName: 'p', planHash: 'h', plan: {}, identity: 'a', peer: 'lost' } as const;
const PROGRESS = { position: '0/10' as Position, strictFrom: '0/10' as Position, marker: 1n };

describe('a target that is claimed for a restored source', () => {
  const server = useServer({ version: 18 });
  let sql: PostgresServer;
  let url = '';

  beforeAll(async () => {
    url = await createDatabase(server(), 'claim');
    sql = new PostgresServer({ url, label: 'target', application: 'switchback:test' });
    await sql.transaction(async (transaction) => {
      await installSidecar(transaction);
      await writeRun(transaction, { ...RUN, version: '2' });
    });
  });
  beforeEach(async () => {
    await runSql(
      url,
      `UPDATE switchback.run SET peer = 'lost', facts = '{}'; DELETE FROM switchback.ownership; DELETE FROM switchback.progress`,
    );
    const owned = { role: 'primary', fenced: false, by: 'worker' } as const;
    await sql.transaction(ownershipGuard({ phases: PHASES, epoch: 7n, ...owned }));
    await sql.transaction((transaction) => storeOf(7n).begin(transaction, PROGRESS));
  });
  afterAll(async () => await sql?.close());

  const storeOf = (epoch: bigint) => laneStore('orders/forward', () => epoch);
  const claim = async (assertOwned: (rows: readonly Ownership[]) => void = () => undefined): Promise<void> =>
    await sql.transaction((transaction) => claimSource(transaction, CLAIM, assertOwned));

  /** What a worker of the lost source may do next on the target; it has raised its epoch for a switch. */
  const acts: Readonly<Record<string, (transaction: SqlExecutor) => Promise<unknown>>> = {
    'fences it': ownershipGuard({ phases: PHASES, epoch: 8n, role: 'primary', fenced: true, by: 'worker' }),
    'makes it a replica': ownershipGuard({
      phases: ['orders'],
      epoch: 8n,
      role: 'replica',
      fenced: true,
      by: 'worker',
    }),
    'drops a slot': epochGuard({ phases: 'all', epoch: 8n }),
    'applies a batch': (transaction) => storeOf(8n).record(transaction, PROGRESS),
  };

  it.each(Object.entries(acts))('refuses a worker of the lost one that %s', async (_, act) => {
    await sql.transaction(act);
    await runSql(url, `UPDATE switchback.ownership SET epoch = '7', role = 'primary', fenced = false`);
    await claim();
    expect((await readRun(sql))?.peer).toBe('restored');
    await expect(sql.transaction(act)).rejects.toMatchObject({ kind: 'deposed' });
    const rows = PHASES.map((phase) => ({ phase, epoch: 1_007n, role: 'primary', fenced: false }));
    expect(await readOwnership(sql)).toMatchObject(rows);
  });

  it('knows every source that it had before, however often another is to be it', async () => {
    await claim();
    await claim();
    await sql.transaction((transaction) =>
      claimSource(transaction, { ...CLAIM, place: 'restored:s:2' }, () => undefined),
    );
    const facts = { sourcePlace: 'restored:s:2', formerSources: ['lost', 'restored:s:1'] };
    expect((await readRun(sql))?.facts).toMatchObject(facts);
  });

  it('waits for a fence that is just being made, and is not made over it', async () => {
    const hasFenced = Promise.withResolvers<void>();
    const mayCommit = Promise.withResolvers<void>();
    const fencing = sql.transaction(async (transaction) => {
      await acts['fences it']?.(transaction);
      hasFenced.resolve();
      await mayCommit.promise;
    });
    await hasFenced.promise;
    const claiming = claim((rows) => {
      if (rows.some(({ fenced }) => fenced)) throw new Error('a switch is under way');
    });
    claiming.catch(() => undefined);
    await expect.poll(async () => (await runSql(url, WAITING))[0]?.n, { timeout: 20_000 }).toBe(1);
    mayCommit.resolve();
    await fencing;
    await expect(claiming).rejects.toThrow('a switch is under way');
    expect((await readRun(sql))?.peer).toBe('lost');
    expect(await readOwnership(sql)).toMatchObject(PHASES.map((phase) => ({ phase, epoch: 8n, fenced: true })));
  });
});
