import { nativeEngine } from '../../src/engines/native/engine.ts';
import { markerTable } from '../../src/engines/native/names.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { conninfoOf } from '../../src/platform/postgres/url.ts';
import type { MakeEngine } from '../support/lanes.ts';
import { useServerPair } from '../support/servers.ts';
import { laneContract } from './lane.ts';

// Before 16 the server starts no more than one worker in this time, and each test starts some.
const pair = useServerPair({ wal_retrieve_retry_interval: '50ms' });

const engine: MakeEngine = (servers, urls) =>
  nativeEngine({
    servers,
    conninfo: { source: conninfoOf(urls.source, 'source'), target: conninfoOf(urls.target, 'target') },
    stream: streamEngine(servers, markerTable),
  });

laneContract('native, 13 to 18', {
  servers: () => ({ from: pair().source, to: pair().target }),
  engine,
  strict: false,
});

laneContract('native, 18 to 13', {
  servers: () => ({ from: pair().target, to: pair().source }),
  engine,
  strict: false,
});
