import { beforeAll } from 'vitest';
import { EtcdRouter } from '../../src/routers/etcd/router.ts';
import { describeWithEtcd, type EtcdMember } from '../support/etcd.ts';
import { routerContract } from './router.ts';

const TIMEOUT_MS = 5_000;
let prefixes = 0;

describeWithEtcd('etcd router', (start, version) => {
  let member: EtcdMember;
  beforeAll(async () => {
    [member] = await start();
  });

  routerContract(`etcd ${version}`, async () => {
    const prefix = `/contract/${++prefixes}/`;
    return {
      open: () => new EtcdRouter({ endpoints: [member.url], prefix, user: null, tls: {}, timeoutMs: TIMEOUT_MS }),
      edit: (phase, primary) => member.put(`${prefix}${phase}`, JSON.stringify({ primary })),
      remove: async () => undefined,
    };
  });
});
