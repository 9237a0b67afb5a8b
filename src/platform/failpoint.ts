/**
 * Named points at which a test can make this process die, stand still or fail. In production the variable is unset and a
 * failpoint is one comparison. `SWITCHBACK_FAILPOINT=name:kill` ends the process as kill -9 would; `name:stop` stops it as
 * SIGSTOP would, until somebody continues it; `name:throw` throws. A name may itself hold colons (`copy:chunk`), so the
 * action is what follows the last one.
 *
 * Every step of a saga has three: `begun SCOPE/STEP` when its intent is durable, `acted SCOPE/STEP` when it has taken effect
 * and that is not recorded, `done SCOPE/STEP` when it is.
 */
const armed = process.env.SWITCHBACK_FAILPOINT ?? '';

/** Passes, unless a test armed this point. */
export const failpoint = (name: string): void => {
  if (armed === '') return;
  const at = armed.lastIndexOf(':');
  if (armed.slice(0, at) !== name) return;
  const action = armed.slice(at + 1);
  if (action === 'stop') return void process.kill(process.pid, 'SIGSTOP');
  if (action === 'kill') process.kill(process.pid, 'SIGKILL');
  throw new Error(`failpoint ${name}`);
};
