import pg from 'pg';
import { otherSide } from '../../../src/domain/position.ts';
import { routeNow } from '../route.ts';
import { PHASE_NAMES, PHASES } from '../workloads.ts';
import type { Choose } from './fault.ts';

/**
 * Somebody's long transaction holds a phase's tables. Where the phase is written it is a writer that has not ended, which
 * the fence has to wait for and then to end; on the other side it keeps the lane from applying, so that a drain has
 * something to wait for: nobody else in these runs writes so fast that a lane would be behind.
 */
export const holdTables: Choose = ({ stage }, dice) => {
  const isPrimary = dice.chance(0.3);
  const mode = isPrimary ? 'ROW EXCLUSIVE' : 'EXCLUSIVE';
  const lastsMs = dice.chance(0.75) ? dice.between(300, 3_000) : dice.between(5_500, 8_000);
  const holders: pg.Client[] = [];
  return {
    kind: `long transaction on ${isPrimary ? 'the primary' : 'the other side'}`,
    detail: `${lastsMs} ms`,
    lastsMs,
    moments: isPrimary ? ['before', 'hold', 'fence'] : ['hold', 'fence', 'position', 'drain', 'prove', 'lift'],
    inject: async () => {
      for (const phase of PHASE_NAMES) {
        const primary = routeNow(stage.routeFiles.writers[0], phase)?.primary ?? 'source';
        const url = stage.directUrls[isPrimary ? primary : otherSide(primary)];
        const client = new pg.Client({ connectionString: url, application_name: 'chaos-holder' });
        // Whoever fences may end it.
        client.on('error', () => undefined);
        holders.push(client);
        await client.connect();
        // Waits for whoever holds them now, but not for ever.
        const sql = `SET lock_timeout = 2000; BEGIN; LOCK TABLE ${PHASES[phase].join(', ')} IN ${mode} MODE`;
        await client.query(sql).catch(() => undefined);
      }
    },
    heal: async () => {
      for (const client of holders.splice(0)) client.connection.stream.destroy();
    },
  };
};
