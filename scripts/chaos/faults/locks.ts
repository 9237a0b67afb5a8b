import pg from 'pg';
import { PHASES } from '../workloads.ts';
import type { Choose } from './fault.ts';

const TABLES = Object.values(PHASES).flat().join(', ');

/**
 * Somebody's long transaction holds the tables of one side. Where the phase is written it is a writer that has not ended,
 * which the fence has to wait for and then to end; on the other side it keeps the lane from applying, so that a drain has
 * something to wait for. Nobody else in these runs writes so fast that a lane would be behind.
 */
export const holdTables: Choose = ({ stage }, dice) => {
  const side = dice.side();
  const mode = dice.pick(['ROW EXCLUSIVE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE']);
  const lastsMs = dice.chance(0.7) ? dice.between(300, 2_500) : dice.between(5_500, 8_000);
  let client: pg.Client | undefined;
  return {
    kind: `long transaction on ${side}`,
    detail: `${mode}, ${lastsMs} ms`,
    lastsMs,
    moments: ['before', 'hold', 'fence', 'position', 'drain', 'prove', 'commit', 'lift'],
    inject: async () => {
      client = new pg.Client({ connectionString: stage.directUrls[side], application_name: 'chaos-holder' });
      // Whoever fences may end it.
      client.on('error', () => undefined);
      await client.connect();
      // Waits for whoever holds them now, at most as long as it would have held them.
      await client
        .query(`SET lock_timeout = ${lastsMs}; BEGIN; LOCK TABLE ${TABLES} IN ${mode} MODE`)
        .catch(() => undefined);
    },
    heal: async () => {
      const holder = client;
      client = undefined;
      holder?.connection.stream.destroy();
    },
  };
};
