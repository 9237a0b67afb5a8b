import type { Probe } from '../../src/databases/client-path.ts';
import type { ClientSessions, Clients } from '../../src/databases/clients.ts';
import type { Side } from '../../src/domain/position.ts';
import { type Place, simulated } from './ports.ts';
import type { Routes } from './router.ts';
import type { Server, Session } from './server.ts';

/** How long a simulated path may lead elsewhere after a repoint, in milliseconds. */
const WITHIN_MS = 1_000;

/** The path of a phase's clients: as they do, it asks the router's entry each time where to go. */
export const simulatedProbe = (place: Omit<Place, 'side'>, routes: Routes, phase: string): Probe => {
  const { network, process } = place;
  return {
    withinMs: WITHIN_MS,
    paths: [
      {
        name: `path of ${phase}`,
        ask: async () => {
          const side = routes.entry(phase).primary;
          return await network.request(process, side, 'ask by a path', (server, reply) =>
            reply({
              value: { identity: `simulated:${side}`, instance: `${side}@${server.startedAt}`, isStandby: false },
            }),
          );
        },
      },
    ],
  };
};

/** Sessions of clients on a simulated server. `onEnd` is told, before it happens, that those of a side are ended. */
export const simulatedClients = ({ network, process, side }: Place, onEnd: (side: Side) => void): Clients => {
  const clientsOf = (server: Server): readonly Session[] =>
    [...server.sessions].filter(({ owner }) => network.processOf(owner) === undefined);
  return {
    list: () =>
      network.request<readonly ClientSessions[]>(process, side, 'list clients', (server, reply) => {
        const byOwner = Map.groupBy(clientsOf(server), ({ owner }) => owner);
        const counted = [...byOwner].map(([user, { length }]) => ({
          user,
          address: '',
          application: '',
          count: length,
        }));
        reply({ value: counted });
      }),
    end: (guard) =>
      network.transaction(process, side, async (sql) => {
        await guard(sql);
        return await simulated(sql).act('end clients', (server) => {
          const found = clientsOf(server);
          if (found.length > 0) onEnd(side);
          for (const session of found) server.end(session, 'terminated by Switchback');
          return { count: found.length, refusals: [] };
        });
      }),
  };
};
