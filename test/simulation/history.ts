import type { Ledger, PhaseTables } from './clients.ts';
import type { Server } from './server.ts';
import type { World } from './world.ts';

/** Every row of a table on a server, as one text. */
export const contentOf = (server: Server, table: string): string =>
  [...server.store(`rows:${table}`)]
    .map(([key, value]) => `${key}=${value as string}`)
    .sort()
    .join('\n');

/**
 * S3, S4 at the end: each acknowledged operation is on the primary exactly once, failed ones never, unknown ones at most
 * once; nobody else's are there; and each row's order agrees with real time.
 */
export const judgeLedger = (world: World, primary: Server, phase: PhaseTables, ledger: Ledger): void => {
  for (const table of [phase.appended, phase.inserted]) {
    const rows = primary.store(`rows:${table}`) as ReadonlyMap<string, string>;
    const own = ledger.operations.filter((one) => one.table === table);
    const byId = new Map(own.map((one) => [one.id, one]));
    const seen = new Map<string, number>();
    for (const [key, value] of rows) {
      let latest = 0;
      for (const id of value.split(' ')) {
        if (id === 'seed') continue;
        const operation = byId.get(id);
        if (!operation || operation.key !== key)
          world.violate('S4', `row ${key} of ${table} has "${id}", which nobody wrote there`);
        else {
          if (operation.outcome === 'failed') world.violate('S3', `${id} failed and is in row ${key} of ${table}`);
          if (operation.endedAt > 0 && operation.endedAt < latest)
            world.violate('S4', `${id} ended before its predecessor in row ${key} began`);
          latest = Math.max(latest, operation.beganAt);
        }
        seen.set(id, (seen.get(id) ?? 0) + 1);
      }
    }
    for (const { id, key, outcome } of own) {
      const times = seen.get(id) ?? 0;
      if (times > 1) world.violate('S3', `${id} is ${times} times in row ${key} of ${table}`);
      if (outcome === 'acknowledged' && times === 0)
        world.violate('S3', `${id} was acknowledged and is not in row ${key} of ${table}`);
    }
  }
};
