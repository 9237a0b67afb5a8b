import { afterEach, expect, it } from 'vitest';
import { expectExit, makeScenario, type Scenario, untilState } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';

/**
 * A source without room: what it cannot write for a while, it can write later. A trigger says what a full disk says, since
 * a disk of a test's own cannot be had everywhere; `npm run chaos` fills real ones.
 */
const servers = useServerPair();
const SCHEMA = 'CREATE TABLE item (id int PRIMARY KEY, name text)';
const ROWS = `INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 50) n`;
const noRoomFor = (table: string): string => `
  CREATE FUNCTION switchback.no_room() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END$$;
  CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON switchback.${table} EXECUTE FUNCTION switchback.no_room()`;
const ROOM_AGAIN = 'DROP FUNCTION switchback.no_room CASCADE';

let scenario: Scenario;
afterEach(async () => await scenario?.close());

const begin = async (name: string) => {
  scenario = await makeScenario(servers(), { name, schema: SCHEMA, rows: ROWS, more: 'switch: { window: 30s }' });
  const worker = scenario.worker();
  await untilState(worker, 'ready', 'all');
  return worker;
};

it('goes on by itself when a marker can be written again', async () => {
  const worker = await begin('no_room_marker');
  await scenario.onSource(noRoomFor('marker'));
  await worker.until(({ events }) =>
    events.some((event) => event.type === 'note' && /lane all.forward: the source cannot do it now/.test(event.text)),
  );
  await scenario.onSource(ROOM_AGAIN);
  expectExit(await scenario.run.command('cutover', scenario.run.plan, 'all', '--confirm', 'all'));
  expect(worker.events.filter((event) => event.type === 'halted')).toEqual([]);
});

it('records a halt as soon as there is room for it, so that status shows it', async () => {
  const worker = await begin('no_room_halt');
  await scenario.onSource(noRoomFor('lane'));
  await scenario.onTarget('SET session_replication_role = replica; DELETE FROM item WHERE id = 7');
  await scenario.onSource(`UPDATE item SET name = 'changed' WHERE id = 7`);
  await worker.until(({ events }) =>
    events.some((event) => event.type === 'note' && /could not be recorded: .*; trying again/.test(event.text)),
  );
  expect((await scenario.phase('all')).lane?.halt).toBeNull();
  await scenario.onSource(ROOM_AGAIN);
  await expect
    .poll(async () => (await scenario.phase('all')).lane?.halt?.finding.id, { timeout: 20_000 })
    .toBe('lane/divergence');
});
