import type { Side } from '../../src/domain/position.ts';
import type { Cluster } from './cluster.ts';
import type { Link } from './network.ts';
import type { RouterFault } from './router.ts';
import type { Process } from './world.ts';

/** Something that goes wrong in a cluster, about the process that is acting just then. It ends by itself, or by `heal`. */
export type Fault = (cluster: Cluster, actor: Process) => void;

const CUT_MS = [20, 4_000] as const;
const LEASE_MS = 15_000;
const HOUR_MS = 3_600_000;

const forAWhile = (cluster: Cluster, end: () => void): void => {
  cluster.world.schedule(null, cluster.world.between(...CUT_MS), 'a fault ends', end);
};

const cut =
  (sides: readonly Side[], link: Link): Fault =>
  (cluster, actor) => {
    for (const side of sides) cluster.network.setLink(actor, side, link);
    forAWhile(cluster, () => {
      for (const side of sides) cluster.network.setLink(actor, side, 'open');
    });
  };

const router =
  (fault: RouterFault): Fault =>
  (cluster) => {
    const all = [...cluster.routers.values(), ...cluster.readers.values()];
    // Of several one has it: the others go on.
    const routes = all.length === 1 ? cluster.routes : cluster.world.pick(all);
    routes.fault = fault;
    forAWhile(cluster, () => {
      routes.fault = null;
    });
  };

const crash =
  (side: Side): Fault =>
  (cluster) =>
    cluster.crash(side, cluster.world.between(5, 3_000));

/** Everything that goes wrong in the simulation, by the name that the grid shows. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  'worker killed': (cluster, actor) => cluster.world.kill(actor),
  // No farewell reaches the servers: sessions and their locks stay until somebody ends them.
  'machine lost': (cluster, actor) => {
    for (const side of ['source', 'target'] as const) cluster.network.setLink(actor, side, 'silent');
    cluster.world.kill(actor);
  },
  'worker sleeps': (cluster, actor) => {
    cluster.world.pause(actor);
    forAWhile(cluster, () => cluster.world.wake(actor));
  },
  'sleeper deposed': (cluster, actor) => {
    const { world } = cluster;
    world.pause(actor);
    world.schedule(null, LEASE_MS + world.between(100, 2_000), 'another worker comes', () => cluster.startWorker());
    world.schedule(null, LEASE_MS + world.between(0, 8_000), 'the sleeper wakes', () => world.wake(actor));
  },
  'second worker': (cluster) => void cluster.startWorker(),
  'command elsewhere': (cluster) => {
    const command = cluster.world.pick(['resume', 'verify', 'cutover', 'failback', 'resume'] as const);
    cluster.startCommand(command);
  },
  abort: (cluster) => void cluster.startCommand('abort'),
  'source crash': crash('source'),
  'target crash': crash('target'),
  'source clock jumps': (cluster) => {
    cluster.servers.source.clockAheadMs = cluster.world.pick([-1, 1]) * HOUR_MS;
    forAWhile(cluster, () => {
      cluster.servers.source.clockAheadMs = 0;
    });
  },
  'source cut': cut(['source'], 'refused'),
  'target cut': cut(['target'], 'refused'),
  'both cut': cut(['source', 'target'], 'refused'),
  'source silent': cut(['source'], 'silent'),
  'target silent': cut(['target'], 'silent'),
  'commit reply lost': (cluster, actor) => {
    const { world } = cluster;
    cluster.lostReply = {
      holder: actor.holder,
      side: world.pick(['source', 'source', 'target']),
      fate: world.pick(['done', 'undone', 'late']),
    };
  },
  'slow lane': (cluster) => {
    cluster.conditions.applyMs = cluster.world.between(20, 2_500);
    forAWhile(cluster, () => {
      cluster.conditions.applyMs = 0;
    });
  },
  blocker: (cluster) => {
    for (const client of cluster.clients) client.nextDwellMs = cluster.world.between(100, 5_000);
  },
  'router fails': router('fails'),
  'router times out after success': router('times out after success'),
  'router lies': router('lies'),
  'target disk full': (cluster) => {
    cluster.servers.target.isDiskFull = true;
    forAWhile(cluster, () => {
      cluster.servers.target.isDiskFull = false;
    });
  },
};

/** Ends everything that is wrong, but for processes that sleep or are dead. */
export const heal = (cluster: Cluster): void => {
  for (const server of Object.values(cluster.servers)) {
    if (!server.isUp) server.start();
    server.isDiskFull = false;
    server.clockAheadMs = 0;
  }
  for (const process of cluster.processes.filter(({ state }) => state !== 'dead')) {
    for (const side of ['source', 'target'] as const) {
      if (cluster.network.link(process, side) !== 'open') cluster.network.setLink(process, side, 'open');
    }
  }
  for (const routes of [...cluster.routers.values(), ...cluster.readers.values()]) routes.fault = null;
  cluster.lostReply = null;
  cluster.conditions.applyMs = 0;
};
