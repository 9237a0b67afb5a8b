import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Composition } from '../../src/compose.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Event } from '../../src/domain/event.ts';
import { isIdOf } from '../../src/domain/snapshot-id.ts';
import type { ArchiveBase } from '../../src/engines/archive.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { installSidecar } from '../../src/sidecar/install.ts';
import { readRun } from '../../src/sidecar/run.ts';
import { readDrills, readSnapshots, writeDrill, writeSnapshot } from '../../src/sidecar/snapshots.ts';
import type { RunContext } from '../../src/stages/context.ts';
import { openRun } from '../../src/stages/open.ts';
import { alone } from '../../src/stages/snapshots/alone.ts';
import { createSnapshot } from '../../src/stages/snapshots/create.ts';
import { drillSnapshot } from '../../src/stages/snapshots/drill.ts';
import { assertProtected, newestSnapshot, snapshotBeforePrepare } from '../../src/stages/snapshots/guards.ts';
import { pickSnapshot } from '../../src/stages/snapshots/pick.ts';
import { planPrune, prune } from '../../src/stages/snapshots/prune.ts';
import { restoreSnapshot } from '../../src/stages/snapshots/restore.ts';
import { keepSnapshots } from '../../src/stages/snapshots/schedule.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';
import { HeldSnapshots } from '../support/snapshot-store.ts';

// What is done with a store of snapshots, on real servers; the store is a stand-in that holds them in memory. Tests follow each
// other: the run begins after the first ones.

const SCHEMA = `CREATE TABLE item (id int PRIMARY KEY, name text); CREATE TABLE note (id int PRIMARY KEY, text text)`;
const ROWS = `INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 50) g; INSERT INTO note VALUES (1, 'it''s')`;
const PLAN = {
  store: { kind: 'pg_dump', to: { kind: 'directory', path: '/nowhere' }, key: null, jobs: 1, bin: null, scratch: null },
  key: null,
  before: [],
  everyMs: null,
  freshForMs: 3_600_000,
  drillWithinMs: 3_600_000,
  keep: { last: 1, daily: 0, weekly: 0 },
  probes: ['select count(*) >= 50 from item'],
} as const;

const servers = useServerPair({ wal_level: 'logical' });
let scenario: Scenario;
let composition: Composition;
let context: RunContext;
let store: HeldSnapshots;
const events: Event[] = [];

const NOT_ENDED = { restoreMs: null, outcome: null };
const wait = { signal: new AbortController().signal, progress: () => undefined };
const create = (reason = 'by hand') => createSnapshot(context, { ...wait, reason, isPatient: true });
const drill = (id: string | null = null) => drillSnapshot(context, { ...wait, id, at: null });

beforeAll(async () => {
  scenario = await makeScenario(servers(), { schema: SCHEMA, rows: ROWS });
  composition = await scenario.run.compose((event) => events.push(event));
  store = new HeldSnapshots({ source: scenario.source, server: servers().source, schema: SCHEMA });
  const plan = { ...composition.context.plan, snapshots: PLAN };
  context = { ...composition.context, plan, snapshots: store };
});
afterAll(async () => {
  await composition?.close();
  await scenario?.close();
});

describe('before a run is begun', () => {
  it('a snapshot holds the digests of its own state, and nothing is written to the source', async () => {
    store.onExported = async () => {
      await scenario.onSource(`INSERT INTO item VALUES (1000, 'later')`);
    };
    const made = await create();
    store.onExported = async () => undefined;
    expect(made?.how).toBe('made');
    const { id, manifest } = made?.snapshot ?? { id: '', manifest: null };
    expect(isIdOf('test', id)).toBe(true);
    expect(manifest).toMatchObject({
      id,
      run: '',
      plan: { name: 'test' },
      reason: 'by hand',
      by: context.by,
      lanes: {},
    });
    expect(manifest?.server).toMatch(/^13\./);
    expect(manifest?.phases).toEqual({ all: ['public.item', 'public.note'] });
    expect(manifest?.digests?.['public.item']?.rows).toBe('50');
    expect(await scenario.onSource(`SELECT 1 FROM pg_namespace WHERE nspname = 'switchback'`)).toEqual([]);
  });

  it('one that was broken off is gone on with', async () => {
    store.onExported = () => Promise.reject(new Error('broken off'));
    await expect(create()).rejects.toThrow('broken off');
    store.onExported = async () => undefined;
    const [left] = (await store.list()).filter(({ state }) => state === 'creating');
    expect(await create()).toMatchObject({ how: 'gone on with', snapshot: { id: left?.id } });
    expect(store.held.size).toBe(2);
  });

  it('one whose maker died while it was copied is copied before another one is made', async () => {
    const copied: string[] = [];
    store.onCopied = async () => Promise.reject(new Error('broken off'));
    await expect(create()).rejects.toThrow('broken off');
    const [left] = await store.list();
    store.onCopied = async (id) => void copied.push(id);
    const made = await create();
    store.onCopied = async () => undefined;
    expect(copied).toEqual([left?.id, made?.snapshot.id]);
    store.held.delete(left?.id ?? '');
    store.held.delete(made?.snapshot.id ?? '');
  });

  it('a drill passes and says that it is not recorded', async () => {
    expect(await drill()).toMatchObject({ drill: { state: 'passed' }, isRecorded: false });
    expect(store.places.size).toBe(0);
  });
});

describe('in a run', () => {
  beforeAll(async () => {
    await openRun({ ...context, plan: composition.context.plan });
    store.held.clear();
    store.done.create = 0;
  });

  it('a cutover is refused without a snapshot and without a drill', async () => {
    await expect(assertProtected(context)).rejects.toThrow('needs a snapshot younger than 60 min: there is none');
    await create();
    await expect(assertProtected(context)).rejects.toThrow('a drill that succeeded within 60 min: there was none');
    await drill();
    await assertProtected(context);
    // Removed by hand, past the records.
    const held = [...store.held];
    store.held.clear();
    await expect(assertProtected(context)).rejects.toThrow('there is none');
    for (const [id, one] of held) store.held.set(id, one);
    const strict = { ...context, plan: { ...context.plan, snapshots: { ...PLAN, freshForMs: 0 } } };
    await expect(assertProtected(strict)).rejects.toThrow(/the newest, test-[0-9a-f-]+, is 0 min old/);
  });

  it('what was made and tried is recorded on both sides', async () => {
    for (const { sql } of [context.source, context.target]) {
      expect(await readSnapshots(sql)).toMatchObject([{ state: 'available', reason: 'by hand', by: context.by }]);
      expect(await readDrills(sql)).toMatchObject([
        { state: 'passed', outcome: { tables: 2, compared: 2, probes: 1 } },
      ]);
    }
    expect((await readDrills(context.source.sql))[0]?.restoreMs).toBeGreaterThan(0);
  });

  it('two that are asked for at once are one', async () => {
    const begun = store.done.create;
    const isAtIt = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    store.onExported = async () => {
      isAtIt.resolve();
      await goOn.promise;
    };
    const first = create();
    await isAtIt.promise;
    const impatient = await createSnapshot(context, { ...wait, reason: 'while soaking', isPatient: false });
    expect(impatient).toBeNull();
    const waiting = Promise.withResolvers<void>();
    const second = createSnapshot(context, {
      ...wait,
      reason: 'by hand',
      isPatient: true,
      progress: () => waiting.resolve(),
    });
    await waiting.promise;
    goOn.resolve();
    store.onExported = async () => undefined;
    const [one, other] = await Promise.all([first, second]);
    expect(other).toMatchObject({ how: 'waited for', snapshot: { id: one?.snapshot.id } });
    expect(store.done.create).toBe(begun + 1);
  });

  it('one that was made before its maker died is not made again', async () => {
    const [newest] = await store.list();
    const begun = store.done.create;
    const record = (await readSnapshots(context.source.sql)).find(({ id }) => id === newest?.id);
    if (record === undefined) throw new Error('it is not recorded');
    await writeSnapshot(context.source.sql, { ...record, state: 'creating', takenAt: null });
    expect(await create()).toMatchObject({ how: 'gone on with', snapshot: { id: newest?.id } });
    expect(store.done.create).toBe(begun);
    expect(await readSnapshots(context.source.sql)).toMatchObject([{ state: 'available' }, { state: 'available' }]);
  });

  it('what keeps one from being begun does not keep the one from being gone on with that it is about', async () => {
    store.problems = [{ id: 'x/quota', severity: 'blocks', subject: 'x', fact: 'has 100 of 100', remedy: 'prune' }];
    const before = await readSnapshots(context.source.sql);
    await expect(create()).rejects.toMatchObject({ kind: 'findings' });
    expect(await readSnapshots(context.source.sql)).toHaveLength(before.length);
    store.problems = [];
    store.onExported = () => Promise.reject(new Error('broken off'));
    await expect(create()).rejects.toThrow('broken off');
    store.onExported = async () => undefined;
    store.problems = [{ id: 'x/quota', severity: 'blocks', subject: 'x', fact: 'has 100 of 100', remedy: 'prune' }];
    const made = await create();
    store.problems = [];
    expect(made?.how).toBe('gone on with');
  });

  it.each([
    ['gone on with', '0 s'],
    ['made', '2 h'],
  ])('one that was broken off while it was copied is copied by the next, which is %s after %s', async (how, later) => {
    const copied: string[] = [];
    store.onCopied = async () => Promise.reject(new Error('broken off'));
    await expect(create()).rejects.toThrow('broken off');
    const [left = { id: '', state: '' }] = await readSnapshots(context.source.sql);
    expect(left.state).toBe('creating');
    await scenario.onSource(`UPDATE switchback.snapshot SET at = at - interval '${later}' WHERE id = '${left.id}'`);
    store.onCopied = async (id) => void copied.push(id);
    const made = await create();
    store.onCopied = async () => undefined;
    expect(made?.how).toBe(how);
    expect(copied).toEqual(how === 'made' ? [left.id, made?.snapshot.id] : [left.id]);
    expect(new Set((await readSnapshots(context.source.sql)).map(({ state }) => state))).toEqual(
      new Set(['available']),
    );
  });

  it('the one before prepare is made once for all phases', async () => {
    const id = await snapshotBeforePrepare(context, wait);
    expect(isIdOf('test', id)).toBe(true);
    expect(await snapshotBeforePrepare(context, wait)).toBe(`${id} is there`);
  });

  it.each([
    [`UPDATE item SET name = 'other' WHERE id = 7`, 'public.item has 51 rows, which are not the 51 that'],
    ['DROP TABLE note', 'public.note is not there'],
    ['DELETE FROM item WHERE id < 9', 'probe "select count(*) >= 50 from item" gave f, not true'],
  ])('a drill finds %s', async (fault, problem) => {
    store.onRestored = async (url) => void (await runSql(url, fault));
    const drilled = await drill();
    store.onRestored = async () => undefined;
    expect(drilled).toMatchObject({ drill: { state: 'failed' }, isRecorded: true });
    expect(drilled.drill.outcome?.problems.join('\n')).toContain(problem);
    expect(store.places.size).toBe(0);
    expect((await readDrills(context.source.sql))[0]?.state).toBe('failed');
  });

  it('a drill that died is found by the next one, also by that of another snapshot, and leaves nothing', async () => {
    const [newest, older] = (await store.list()).map(({ id }) => id);
    const died = { by: 'me@here', place: null, state: 'running', restoreMs: null, outcome: null } as const;
    const all = [newest, older].map((snapshot = '') => ({ ...died, id: `${snapshot}-dead`, snapshot }));
    for (const one of all) await writeDrill(context.source.sql, one);
    const drilled = await drill(newest ?? '');
    // It went on with what it found, so that what it took says nothing of a restore.
    expect(drilled.drill).toMatchObject({ id: `${newest}-dead`, state: 'passed', restoreMs: null });
    const known = new Map((await readDrills(context.source.sql)).map((one) => [one.id, one]));
    expect(known.get(`${older}-dead`)).toMatchObject({ state: 'failed', outcome: { problems: ['it was broken off'] } });
    expect(store.places.size).toBe(0);
  });

  it('a drill that died had its place elsewhere, and is removed there, whichever place the next one has', async () => {
    const [newest = '', older = ''] = (await store.list()).map(({ id }) => id);
    const died = { by: 'me@here', state: 'running', ...NOT_ENDED } as const;
    const places = ['postgresql://me:***@there/x', null, 'postgresql://me@elsewhere/x'];
    for (const [n, place] of places.entries()) {
      await writeDrill(context.source.sql, {
        ...died,
        id: `elsewhere-${n}`,
        snapshot: n === 2 ? older : newest,
        place,
      });
    }
    store.removed.length = 0;
    store.unreachable.add('postgresql://me@elsewhere/x');
    const at = 'postgresql://me:secret@there/x';
    const drilled = await drillSnapshot(context, { ...wait, id: newest, at });
    expect(drilled.drill).toMatchObject({ id: 'elsewhere-0', state: 'passed', place: places[0] });
    expect(store.removed.toSorted()).toEqual(
      [`${newest} at null`, `${newest} at ${at}`, `${older} at ${places[2]}`].toSorted(),
    );
    const problems = new Map((await readDrills(context.source.sql)).map(({ id, outcome }) => [id, outcome?.problems]));
    expect(problems.get('elsewhere-1')).toEqual(['it was broken off']);
    expect(problems.get('elsewhere-2')?.[1]).toMatch(/^drill-.* at postgresql:\/\/me@elsewhere\/x may be left: /);
    store.unreachable.clear();
  });

  it('a drill that finds the snapshot damaged has failed, and hinders no other', async () => {
    const [newest = '', older = ''] = (await store.list()).map(({ id }) => id);
    store.damaged.add(older);
    const drilled = await drill(older);
    expect(drilled).toMatchObject({ drill: { state: 'failed', restoreMs: null }, isRecorded: true });
    expect(drilled.drill.outcome?.problems).toEqual([`it cannot be restored: ${older}/data/1 is damaged`]);
    const running = { by: '', place: null, state: 'running', restoreMs: null, outcome: null } as const;
    await writeDrill(context.source.sql, { ...running, id: 'died', snapshot: older });
    expect((await drill(newest)).drill.state).toBe('passed');
    expect((await readDrills(context.source.sql)).filter(({ state }) => state === 'running')).toEqual([]);
    store.damaged.clear();
  });

  it('without digests, the record from before it was begun has to be in what is restored', async () => {
    store.isPlaced = false;
    const made = await create();
    store.isPlaced = true;
    expect(made?.snapshot.manifest?.digests).toBeNull();
    const failed = await drill();
    expect(failed.drill.outcome).toMatchObject({
      compared: 0,
      problems: [expect.stringContaining('an earlier state')],
    });
    const known = await readSnapshots(context.source.sql);
    const mark = known.find(({ id }) => id === made?.snapshot.id);
    if (mark === undefined) throw new Error('it is not recorded');
    store.onRestored = async (url) => {
      const place = new PostgresServer({ url, label: 'place', application: 'switchback:test' });
      await place.transaction(async (sql) => {
        await installSidecar(sql);
        await writeSnapshot(sql, mark);
      });
      await place.close();
    };
    expect(await drill()).toMatchObject({ drill: { state: 'passed', outcome: { tables: 2, compared: 0 } } });
    store.onRestored = async () => undefined;
  });

  it('the worker makes one while a phase soaks, when it is due, and tells when it cannot', async () => {
    const due = { ...context, plan: { ...context.plan, snapshots: { ...PLAN, everyMs: 1 } } };
    const soaking = [{ state: { name: 'soaking' } }] as never;
    const stop = new AbortController();
    const begun = store.done.create;
    const keeping = keepSnapshots({ context: due, phases: soaking, signal: stop.signal, lookMs: 20 });
    await expect.poll(() => store.done.create, { timeout: 20_000 }).toBeGreaterThan(begun);
    store.problems = [{ id: 'x/full', severity: 'blocks', subject: 'x', fact: 'is full', remedy: 'make room' }];
    const told = () => events.flatMap((event) => (event.type === 'finding' ? [event.finding] : []));
    await expect.poll(() => told().map(({ id }) => id), { timeout: 20_000 }).toContain('snapshot/failed');
    stop.abort();
    await keeping;
    store.problems = [];
    expect(told().at(-1)?.fact).toContain('x: is full; make room');
    const rested = store.done.create;
    const idle = [{ state: { name: 'following' } }] as never;
    const over = new AbortController();
    const still = keepSnapshots({ context: due, phases: idle, signal: over.signal, lookMs: 1 });
    over.abort();
    await still;
    expect(store.done.create).toBe(rested);
  });

  it('what is of another database whose plan has the same name is not counted, gone on with or pruned', async () => {
    const newest = [...store.held.values()].at(-1);
    if (newest?.manifest == null) throw new Error('there is none');
    const owner = { plan: 'test', identity: 'staging', run: '' };
    const at = '2099-01-01T00:00:00.000Z';
    const [theirs, half] = ['test-20990101-000000-aaaa', 'test-20990101-000000-bbbb'];
    store.held.set(theirs, {
      ...newest,
      id: theirs,
      owner,
      manifest: { ...newest.manifest, id: theirs, createdAt: at },
    });
    store.held.set(half, { ...newest, id: half, owner, state: 'creating', manifest: null });
    expect((await newestSnapshot(context))?.snapshot.id).toBe(newest.id);
    expect((await pickSnapshot(context, null)).id).toBe(newest.id);
    await expect(pickSnapshot(context, theirs)).rejects.toThrow('is of database staging');
    expect(await create()).toMatchObject({ how: 'made' });
    const verdicts = new Map((await planPrune(context)).verdicts.map((verdict) => [verdict.id, verdict]));
    for (const id of [theirs, half]) {
      expect(verdicts.get(id)).toMatchObject({ keeps: true, why: 'not one of this plan and its database' });
      store.held.delete(id);
    }
  });

  it('a prune whose source has no run asks the target what it refers to', async () => {
    const place = context.openPlace(await createDatabase(servers().source, 'restored_by_hand'));
    const { sql, sessions } = place;
    const elsewhere = { ...context, source: { ...context.source, sql, sessions } };
    const [, held = ''] = (await store.list()).map(({ id }) => id);
    const drilled = { id: 'elsewhere', snapshot: held, by: '', place: null, ...NOT_ENDED };
    await writeDrill(context.target.sql, { ...drilled, state: 'running' });
    const { verdicts } = await planPrune(elsewhere);
    expect(verdicts.find(({ id }) => id === held)).toMatchObject({ keeps: true, why: 'a drill of it is under way' });
    const gone = { query: () => Promise.reject(new Error('it does not answer')) } as never;
    const silent = planPrune({ ...elsewhere, target: { ...context.target, sql: gone } });
    await expect(silent).rejects.toThrow(/nobody can tell which snapshots a run refers to: .* it does not answer/);
    await writeDrill(context.target.sql, { ...drilled, state: 'failed' });
    await place.close();
  });

  it('a prune removes what no rule keeps, and leaves the newest and what is being drilled', async () => {
    const ids = (await store.list()).map(({ id }) => id);
    expect(ids.length).toBeGreaterThan(3);
    const [newest = '', , drilled = ''] = ids;
    const running = { id: 'd', snapshot: drilled, by: '', place: null, state: 'running', ...NOT_ENDED } as const;
    await writeDrill(context.source.sql, running);
    const { verdicts } = await planPrune(context);
    expect(verdicts.flatMap(({ id, keeps }) => (keeps ? [id] : []))).toEqual([newest, drilled]);
    expect(store.held.size).toBe(ids.length);
    const [stuck = ''] = ids.filter((id) => id !== newest && id !== drilled);
    const refused = vi
      .spyOn(store, 'remove')
      .mockRejectedValueOnce(new SwitchbackError('refused', 'a copy is on its way'));
    const first = await prune(context, wait);
    expect(first.left).toEqual([{ id: stuck, why: 'a copy is on its way' }]);
    expect(first.snapshots.length).toBe(ids.length - 3);
    refused.mockRestore();
    const removed = [...(await prune(context, wait)).snapshots, ...first.snapshots];
    expect(removed).toEqual(ids.filter((id) => id !== newest && id !== drilled));
    expect([...store.held.keys()].toSorted()).toEqual([newest, drilled].toSorted());
    expect(await prune(context, wait)).toEqual({ snapshots: [], left: [], archive: {} });
    const states = (await readSnapshots(context.target.sql)).map(({ id, state }) => [id, state]);
    for (const id of removed) expect(states).toContainEqual([id, 'removed']);
  });

  // The archive is a stand-in that says what it holds; the real one's answers are in archive.test.ts.
  it('a prune removes what no snapshot that stays needs of an archive, the oldest first', async () => {
    const gone: string[] = [];
    const held = ['1', '2', '3', '4'].map((key) => ({ key, bytes: 1 }));
    const needs = new Map([...store.held.values()].map(({ manifest }, at) => [manifest?.position.atLeast, at + 2]));
    const archives = {
      since: async () => ({ missing: reaches ? null : 'all of it' }),
      unneeded: async (_: unknown, { source }: ArchiveBase) => held.slice(0, needs.get(source.atLeast) ?? 0),
    };
    let reaches = false;
    const archived = {
      ...context,
      archive: { remove: async (key: string) => void gone.push(key) } as never,
      engine: { ...context.engine, archives: archives as never },
    };
    expect((await planPrune(archived)).archive).toEqual([]);
    reaches = true;
    expect(await prune(archived, wait)).toEqual({ snapshots: [], left: [], archive: { all: 2 } });
    expect(gone).toEqual(['1', '2']);
  });

  it('a place that is the source itself is neither fenced nor believed, whatever the store says', async () => {
    const manifest = (await create())?.snapshot.manifest;
    if (!manifest) throw new Error('it has no manifest');
    store.misleads = scenario.source;
    const restoring = restoreSnapshot(context, { ...wait, manifest, into: null, replay: null });
    await expect(restoring).rejects.toThrow("is the plan's own source");
    await expect(drill()).rejects.toThrow("is the plan's own source");
    store.misleads = null;
    await scenario.onSource(`INSERT INTO item VALUES (2000, 'still written')`);
    expect((await readRun(context.source.sql))?.facts.restored).toBeUndefined();
  });

  it('work that lost the session which kept others away is broken off', async () => {
    const sql = new PostgresServer({ url: scenario.source, label: 'source', application: 'switchback:lock' });
    const turn = { name: 'a test', signal: wait.signal, onTaken: () => false };
    const work = alone(sql, turn, async (signal) => {
      await scenario.onSource(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'switchback:lock%'`,
      );
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    });
    await expect(work).rejects.toThrow('the session that kept others from doing the same was lost');
    await sql.close();
  });
});
