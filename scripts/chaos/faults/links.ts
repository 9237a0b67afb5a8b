import type { Side } from '../../../src/domain/position.ts';
import type { FlakyProxy, ProxyFault } from '../proxy.ts';
import type { Choose, Dice, Fault } from './fault.ts';

const NAMES: Readonly<Record<ProxyFault['kind'], string>> = {
  delay: 'slow',
  silence: 'silent',
  mute: 'mute',
  'half-open': 'half-open',
  reset: 'reset',
  cut: 'cut',
  commit: 'cut at COMMIT',
};

const choices = (kind: ProxyFault['kind'], dice: Dice): ProxyFault => {
  if (kind === 'delay') return { kind, ms: dice.between(5, 300) };
  if (kind === 'cut') return { kind, bytes: dice.between(0, dice.chance(0.5) ? 400 : 20_000) };
  if (kind === 'commit') return { kind, isHeard: dice.chance(0.75) };
  return { kind };
};

const detailOf = (fault: ProxyFault): string => {
  if (fault.kind === 'delay') return `${fault.ms} ms a chunk`;
  if (fault.kind === 'commit') return fault.isHeard ? 'heard' : 'not heard';
  return fault.kind === 'cut' ? `after ${fault.bytes} bytes` : '';
};

/** Some outlast the window of 5 s, and some the lease of 15 s. */
const lasting = (dice: Dice): number => (dice.chance(0.75) ? dice.between(200, 4_000) : dice.between(6_000, 18_000));

const faultOf = (
  proxies: readonly FlakyProxy[],
  about: { readonly who: string; readonly fault: ProxyFault; readonly lastsMs: number },
): Fault => ({
  kind: `${about.who} ${NAMES[about.fault.kind]}`,
  detail: [detailOf(about.fault), `${about.lastsMs} ms`].filter((text) => text !== '').join(', '),
  lastsMs: about.lastsMs,
  inject: async () => {
    for (const proxy of proxies) proxy.inject(about.fault);
  },
  heal: async () => {
    for (const proxy of proxies) proxy.heal();
  },
});

/** Something happens to the worker's connections to one server. */
export const breakLink =
  (kind: ProxyFault['kind']): Choose =>
  ({ stage }, dice) => {
    const side: Side = dice.side();
    return faultOf([stage.workerProxies[side]], {
      who: `worker's link to ${side}`,
      fault: choices(kind, dice),
      lastsMs: lasting(dice),
    });
  };

/** Something happens to the worker's connections to both servers at once. */
export const breakBothLinks: Choose = ({ stage }, dice) =>
  faultOf([stage.workerProxies.source, stage.workerProxies.target], {
    who: `worker's links to both`,
    fault: { kind: dice.pick(['silence', 'mute', 'reset', 'half-open']) },
    lastsMs: lasting(dice),
  });

/** The clients' connections are cut in the middle of what they do, so that they cannot know what became of it. */
export const breakClients: Choose = ({ stage }, dice) => {
  const kind = dice.pick<ProxyFault['kind']>(['commit', 'commit', 'mute', 'reset', 'cut', 'silence']);
  return faultOf([stage.clientProxies.source, stage.clientProxies.target], {
    who: `clients' links`,
    fault: choices(kind, dice),
    lastsMs: kind === 'silence' ? dice.between(1_000, 3_000) : dice.between(100, 1_500),
  });
};
