import { readdirSync, readFileSync } from 'node:fs';
import type { RunningServer } from '../../../src/demo/servers.ts';
import type { Side } from '../../../src/domain/position.ts';
import { monotonicMs, sleep } from '../../../src/platform/clock.ts';
import type { WorkerProcess } from '../program.ts';
import { runSql } from '../stage.ts';
import type { Choose, Dice, Fault, World } from './fault.ts';

/** A worker that sleeps for so long has lost its lease, which expires after 15 s. */
const TAKEN_OVER_WITHIN_MS = 60_000;
/** A deposed worker is told so by its next heartbeat or act, and ends by itself. */
const GONE_WITHIN_MS = 60_000;

/** `kill -9` of the worker; the service manager starts it again, at once or only after somebody has run `resume`. */
export const killWorker: Choose = ({ supervisor }, dice) => {
  const isManaged = dice.chance(0.5);
  return {
    kind: 'worker killed',
    detail: isManaged ? 'its service manager starts another' : 'nobody starts another until the command on call',
    lastsMs: isManaged ? dice.between(500, 3_000) : 0,
    inject: async () => {
      if (!isManaged) await supervisor.turnOff();
      await supervisor.worker?.kill();
    },
    heal: async () => undefined,
  };
};

/** SIGSTOP past the lease's expiry; SIGCONT when another has taken over, while that one acts. */
export const stopWorker: Choose = ({ supervisor, stage, record, signal }, dice) => {
  const beginsFirstMs = dice.between(0, 1_500);
  let asleep: WorkerProcess | undefined;
  let epoch = '';
  const readEpoch = async () =>
    String((await runSql(stage.directUrls.source, 'SELECT epoch FROM switchback.lease'))[0]?.epoch);
  return {
    kind: 'worker asleep past its lease',
    detail: `wakes ${beginsFirstMs} ms after another has taken over`,
    lastsMs: 16_000,
    inject: async () => {
      asleep = supervisor.worker;
      asleep?.signal('SIGSTOP');
      epoch = await readEpoch();
    },
    heal: async () => {
      const sleeper = asleep;
      asleep = undefined;
      if (sleeper === undefined) return;
      // The service manager of another machine: the sleeper's own sees nothing amiss.
      supervisor.replace();
      const until = monotonicMs() + TAKEN_OVER_WITHIN_MS;
      while (!signal.aborted && (await readEpoch()) === epoch && monotonicMs() < until) await sleep(50);
      if (monotonicMs() >= until) record.violate('nobody could take over from a worker that sleeps');
      await sleep(beginsFirstMs);
      sleeper.signal('SIGCONT');
      const late = setTimeout(() => record.violate('a deposed worker goes on for a minute'), GONE_WITHIN_MS);
      await Promise.race([sleeper.ended(), sleep(GONE_WITHIN_MS + 100, signal).catch(() => undefined)]);
      clearTimeout(late);
      record.note(`the worker that slept ended with ${sleeper.exitCode}`);
    },
  };
};

/**
 * SIGKILL to a server's postmaster, and by chance to its backends in the same moment; started again after a while. Backends
 * without a postmaster end by themselves, unless they wait for a lock of one that has ended: then they hold the shared
 * memory for ever, and whoever starts the server has to end them.
 */
export const killServer =
  (side: Side): Choose =>
  ({ stage }: World, dice: Dice): Fault => {
    const withBackends = dice.chance(0.5);
    const server = stage.servers[side];
    let backends: readonly number[] = [];
    const lastsMs = dice.chance(0.7) ? dice.between(100, 2_000) : dice.between(4_000, 12_000);
    return {
      kind: `${side} killed`,
      detail: `${withBackends ? 'with its backends' : 'the postmaster'}, down ${lastsMs} ms`,
      lastsMs,
      inject: async () => {
        backends = childrenOf(server.pid);
        const killed = server.kill();
        if (withBackends) for (const pid of backends) killQuietly(pid);
        await killed;
      },
      heal: async () => {
        if (server.pid === undefined) for (const pid of backends) killQuietly(pid);
        await server.start();
      },
    };
  };

/** Starts a server again that has ended by itself. */
export const revive = async (server: RunningServer): Promise<void> => {
  try {
    process.kill(server.pid ?? 0, 0);
    if (server.pid !== undefined) return;
  } catch {
    // No such process: the server's object still takes it for running.
  }
  await server.kill();
  await server.start();
};

/** Kills a server's process, if it is still one. */
const killQuietly = (pid: number): void => {
  try {
    if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('postgres')) return;
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself meanwhile.
  }
};

/** The processes that a process has started and that still run, from /proc. */
const childrenOf = (parent: number | undefined): readonly number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => parent !== undefined && parentOf(pid) === parent);

const parentOf = (pid: number): number | undefined => {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return undefined;
  }
};
