import { nativeEngine } from '../../src/engines/native/engine.ts';
import { markerTable } from '../../src/engines/native/names.ts';
import { streamEngine } from '../../src/engines/stream/engine.ts';
import { conninfoOf } from '../../src/platform/postgres/url.ts';
import type { MakeEngine } from './lanes.ts';

/** Before 16 a server starts no more than one worker in this time, and each test starts some. */
export const NATIVE_SETTINGS = { wal_retrieve_retry_interval: '50ms' };

/** The native engine as `compose` makes it. */
export const makeNativeEngine: MakeEngine = (servers, urls) =>
  nativeEngine({
    servers,
    conninfo: { source: conninfoOf(urls.source, 'source'), target: conninfoOf(urls.target, 'target') },
    stream: streamEngine(servers, { markerOf: markerTable, isForCopies: true }),
  });
