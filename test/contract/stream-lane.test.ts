import { streamEngine } from '../../src/engines/stream/engine.ts';
import { useServerPair } from '../support/servers.ts';
import { laneContract } from './lane.ts';

const pair = useServerPair();

laneContract('stream, 13 to 18', {
  servers: () => ({ from: pair().source, to: pair().target }),
  engine: (servers) => streamEngine(servers),
  strict: true,
});

laneContract('stream, 18 to 13', {
  servers: () => ({ from: pair().target, to: pair().source }),
  engine: (servers) => streamEngine(servers),
  strict: true,
});
