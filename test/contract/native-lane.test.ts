import { makeNativeEngine, NATIVE_SETTINGS } from '../support/native.ts';
import { useServerPair } from '../support/servers.ts';
import { laneContract } from './lane.ts';

const pair = useServerPair(NATIVE_SETTINGS);

laneContract('native, 13 to 18', {
  servers: () => ({ from: pair().source, to: pair().target }),
  engine: makeNativeEngine,
  strict: false,
});

laneContract('native, 18 to 13', {
  servers: () => ({ from: pair().target, to: pair().source }),
  engine: makeNativeEngine,
  strict: false,
});
