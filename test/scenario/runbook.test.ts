import { describe, expect, it } from 'vitest';
import { Play, readPage, titlesOf } from '../support/runbook.ts';
import { useServer, useServerPair } from '../support/servers.ts';
import { arrivals } from './runbook/arrivals.ts';
import type { EntryTest } from './runbook/begin.ts';
import { damaged } from './runbook/damaged.ts';
import { databases } from './runbook/databases.ts';
import { halfWay } from './runbook/half-way.ts';
import { keys } from './runbook/keys.ts';
import { lanes } from './runbook/lanes.ts';
import { nativeLanes } from './runbook/native-lanes.ts';
import { patient } from './runbook/patient.ts';
import { poolers } from './runbook/poolers.ts';
import { preparing } from './runbook/preparing.ts';
import { readers } from './runbook/readers.ts';
import { refused } from './runbook/refused.ts';
import { rights } from './runbook/rights.ts';
import { routers } from './runbook/routers.ts';
import { serversDown } from './runbook/servers-down.ts';
import { silent } from './runbook/silent.ts';
import { snapshots } from './runbook/snapshots.ts';
import { stages } from './runbook/stages.ts';
import { undone } from './runbook/undone.ts';

/**
 * The runbook, played through: for every entry the symptom is made real, what the tool prints is compared with the text that
 * the page is looked up by, the page's command is run as it is written, and what it does is what the page says. An entry
 * without a scenario fails, and a scenario without an entry too.
 */
// A scene has a slot for each of its phases, and three scenes stand while the others come and go.
const servers = useServerPair({ max_replication_slots: '20', max_wal_senders: '20' });
const other = useServer({ version: 18 });
const page = readPage();
const played = new Set<string>();

const entry: EntryTest = (id, work) => {
  played.add(id);
  it(id, async () => {
    const found = page.entries.get(id);
    if (!found) throw new Error(`the page has no entry ${id}`);
    const play = new Play(found);
    await work(play);
    play.finish();
  });
};

patient({ pair: servers, other }, entry, () => {
  silent(servers, entry, () => {
    halfWay(servers, entry);
    undone(servers, entry);
    refused(servers, entry);
    databases(servers, entry);
    lanes(servers, entry);
    nativeLanes(servers, entry);
    keys(servers, entry);
    rights(servers, entry);
    preparing(servers, entry);
    stages(servers, entry);
    routers(servers, entry);
    arrivals(servers, entry);
    poolers(servers, entry);
    readers(servers, entry);
    damaged(servers, entry);
    snapshots(servers, entry);
  });
});
serversDown(servers, entry);

describe('the page', () => {
  it('has an entry for every scenario, and a scenario for every entry', () => {
    expect([...played].sort()).toEqual([...page.entries.keys()].sort());
  });

  it('lists every text of every entry at the top, in the order of the page', () => {
    const wanted = [...page.entries.values()].flatMap((found) =>
      titlesOf(found).map((title) => ({ title, id: found.id })),
    );
    const listed = page.index.map(({ text, id }) => ({ title: /^`[^`]+`/.exec(text)?.[0], id }));
    expect(listed).toEqual(wanted);
  });

  it('names no command outside of its entries that no entry runs', () => {
    const run = new Set([...page.entries.values()].flatMap(({ commands }) => commands.map(({ text }) => text)));
    expect(page.elsewhere.filter((command) => !run.has(command))).toEqual([]);
  });
});
