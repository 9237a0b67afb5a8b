import type { Router } from '../../src/routers/router.ts';

/** Phases of the contract suite, and what other tests use of them. */
export const PHASES = ['orders', 'catalog', 'a', 'b', 'c', 'd'];
/** What a JSON object says of each side. */
export const LED = {
  source: { host: 'old.internal', port: 5432, dbname: 'shop' },
  target: { host: 'new.internal', port: 5433, dbname: 'shop_new' },
};
/** The same of neither. */
export const NOWHERE = { host: 'nowhere.internal', port: 1, dbname: 'none' };

let made = 0;
/** Names of values that no other test has, by phase. */
export const freshIds = (): ReadonlyMap<string, string> => {
  made += 1;
  return new Map(PHASES.map((phase) => [phase, `/shop-${made}/${phase}`]));
};

/** Observes, then repoints phase orders, as a switch does. */
export const toTarget = async (router: Router, epoch = 1n): Promise<void> => {
  const { version } = await router.observe('orders');
  await router.repoint({ phases: ['orders'], to: 'target', epoch, expect: { orders: version } });
};
