import { messageOf } from '../../src/domain/errors.ts';
import type { Side } from '../../src/domain/position.ts';
import { Clocks, jumpClock } from './faults/clocks.ts';
import { Disk, fillDisk } from './faults/disk.ts';
import type { Choose } from './faults/fault.ts';
import { breakBothLinks, breakClients, breakLink } from './faults/links.ts';
import { holdTables } from './faults/locks.ts';
import { loseOneWay, Namespace } from './faults/namespace.ts';
import { killServer, killWorker, stopWorker } from './faults/processes.ts';
import { makeServerDirectory } from './stage.ts';

/** What this machine lets us break, besides processes and connections. */
export interface Equipment {
  readonly namespace: Namespace | undefined;
  readonly disks: Readonly<Record<Side, Disk>> | undefined;
  readonly clocks: Clocks | undefined;
  /** What it does not, and why. */
  readonly skipped: readonly string[];
  readonly serverDirectories: Readonly<Record<Side, string>>;
  /** Every kind of fault that can be had. */
  readonly kinds: readonly Choose[];
  /** Takes down what was made. */
  remove(): Promise<void>;
}

/**
 * Makes what the faults need below the run's directory. What cannot be had is said with one loud line, and under CI=true
 * it is an error: a build that silently tests less than it says proves nothing.
 */
export const equip = async (directory: string, tell: (line: string) => void): Promise<Equipment> => {
  const skipped: string[] = [];
  const have = async <T>(what: string, make: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await make();
    } catch (error) {
      const why = `${what}: ${messageOf(error).split('\n').join(' ')}`;
      if (process.env.CI === 'true') throw new Error(`CI=true, and this machine does not let us have ${why}`);
      tell(`SKIPPED: ${why}`);
      skipped.push(why);
      return undefined;
    }
  };
  const serverDirectories = {
    source: makeServerDirectory(directory, 'source'),
    target: makeServerDirectory(directory, 'target'),
  };
  const disks = await have('full disks (root, tmpfs)', () => mountBoth(serverDirectories));
  const remove = async (made: Namespace | undefined, clocks: Clocks | undefined) => {
    clocks?.remove();
    await made?.remove();
    if (disks) await Promise.all([disks.source.unmount(), disks.target.unmount()]);
  };
  let namespace: Namespace | undefined;
  try {
    namespace = await have('one-way loss (root, packages iproute2 and iptables)', () => Namespace.make());
    const clocks = await have('clock jumps (package libfaketime)', () => Clocks.make(directory));
    const kinds = kindsOf({ namespace, disks, clocks });
    return { namespace, disks, clocks, skipped, serverDirectories, kinds, remove: () => remove(namespace, clocks) };
  } catch (error) {
    await remove(namespace, undefined);
    throw error;
  }
};

const mountBoth = async (paths: Readonly<Record<Side, string>>): Promise<Readonly<Record<Side, Disk>>> => {
  const source = await Disk.mount(paths.source);
  try {
    return { source, target: await Disk.mount(paths.target) };
  } catch (error) {
    await source.unmount();
    throw error;
  }
};

const kindsOf = ({
  namespace,
  disks,
  clocks,
}: Pick<Equipment, 'namespace' | 'disks' | 'clocks'>): readonly Choose[] => [
  killWorker,
  stopWorker,
  killServer('source'),
  killServer('target'),
  breakLink('delay'),
  breakLink('silence'),
  breakLink('mute'),
  breakLink('half-open'),
  breakLink('reset'),
  breakLink('cut'),
  breakLink('commit'),
  breakBothLinks,
  breakClients,
  holdTables,
  ...(namespace ? [loseOneWay(namespace)] : []),
  ...(disks ? [fillDisk('source', disks.source), fillDisk('target', disks.target)] : []),
  ...(clocks ? [jumpClock(clocks)] : []),
];
