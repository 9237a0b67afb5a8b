import type { Choose } from './fault.ts';

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
