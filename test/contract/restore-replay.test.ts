import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Composition } from '../../src/compose.ts';
import type { Event } from '../../src/domain/event.ts';
import type { Position } from '../../src/domain/position.ts';
import type { Manifest } from '../../src/domain/snapshot.ts';
import type { ArchivePlace } from '../../src/engines/archive.ts';
import type { ReplayInto } from '../../src/engines/engine.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import type { RunContext } from '../../src/stages/context.ts';
import { restoreSnapshot } from '../../src/stages/snapshots/restore.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { createDatabase, runSql, useServerPair } from '../support/servers.ts';
import { basisOf } from '../support/snapshots.ts';

// What a restore does with the archives of its phases. Store and archives are stand-ins; what they do is in other tests. Tests
// follow each other on one restored place.

const SCHEMA = 'CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE note (id int PRIMARY KEY)';
const START = '0/10' as Position;

const servers = useServerPair();
let scenario: Scenario;
let composition: Composition;
let context: RunContext;
const events: Event[] = [];
const replayed: string[] = [];
const END = { direction: 'reverse', position: START } as const;
const EMPTY = { missing: 'the archive is empty', end: null };
/** What is said of each phase's archive. */
let held: Readonly<Record<string, { readonly missing: string | null; readonly end: typeof END | null }>> = {};
let breaksOff = true;

const archives = {
  since: async ({ phase }: ArchivePlace) => held[phase],
  replay: async ({ phase }: ArchivePlace, { url, stores }: ReplayInto) => {
    replayed.push(phase);
    const place = new PostgresServer({ url, label: 'place', application: 'switchback:test' });
    const progress = { position: START, strictFrom: START, marker: 0n };
    await place.transaction((sql) => stores.forward.begin(sql, progress)).finally(() => place.close());
    if (breaksOff) throw new Error('broken off');
    return { transactions: 1, changes: 1, end: null };
  },
};

const MANIFEST: Manifest = {
  ...basisOf('test-20261127-100000-ab12'),
  createdAt: '2026-11-27T10:00:00.000Z',
  bytes: null,
  position: { atLeast: START, atMost: START },
  lanes: {},
  digests: null,
  store: null,
};
const restore = async (replay: { readonly until: Position | null } | null) => {
  const wait = { signal: new AbortController().signal, progress: () => undefined };
  return await restoreSnapshot(context, { ...wait, manifest: MANIFEST, into: null, replay });
};

beforeAll(async () => {
  const phases = ['soaks', 'planned'].map((name, at) => ({ name, tables: [['public.item', 'public.note'][at] ?? ''] }));
  scenario = await makeScenario(servers(), { schema: SCHEMA, rows: 'INSERT INTO item VALUES (1)', phases });
  composition = await scenario.run.compose((event) => events.push(event));
  const url = await createDatabase(servers().source, 'restored');
  await runSql(url, SCHEMA);
  const store = { restore: async () => ({ url, differences: [], remove: async () => undefined }) };
  const engine = { ...composition.context.engine, archives: archives as never };
  context = { ...composition.context, engine, snapshots: store as never, archive: {} as never };
});
afterAll(async () => {
  await composition?.close();
  await scenario?.close();
});

it.each([
  [{ soaks: EMPTY, planned: EMPTY }, /phase soaks does not cover .*: the archive is empty/],
  [
    { soaks: { missing: null, end: END }, planned: { missing: 'a hole', end: END } },
    /phase planned does not .*: a hole/,
  ],
])('nothing is restored where no phase has an archive, or one has a hole (%#)', async (phases, message) => {
  held = phases;
  await expect(restore({ until: null })).rejects.toMatchObject({
    kind: 'refused',
    message: expect.stringMatching(message),
  });
  expect(replayed).toEqual([]);
});

it('a phase without an archive is told, and keeps no other one from its own', async () => {
  held = { soaks: { missing: null, end: END }, planned: EMPTY };
  breaksOff = true;
  await expect(restore({ until: null })).rejects.toThrow('broken off');
  expect(replayed).toEqual(['soaks']);
  const notes = events.flatMap((event) => (event.type === 'note' ? [event] : []));
  expect(notes).toMatchObject([{ phase: 'planned', text: expect.stringMatching(/is empty.*without a replay/) }]);
});

// What it has brought stays in the place.
it('a replay that was broken off is gone on with, and is never taken for less', async () => {
  const message = 'it was restored with a replay up to the end before';
  for (const replay of [{ until: '0/5' as Position }, null]) {
    await expect(restore(replay)).rejects.toMatchObject({ kind: 'refused', message });
  }
  expect(replayed).toEqual(['soaks']);
  breaksOff = false;
  const restored = await restore({ until: null });
  expect(restored.replayed).toEqual({ soaks: { transactions: 1, changes: 1, end: null } });
  await expect(restore(null)).rejects.toMatchObject({ kind: 'refused', message });
});
