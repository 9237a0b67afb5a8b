/**
 * Named points at which a test can make this process die, wait or fail. In production the variable is unset and a
 * failpoint is one comparison. `SWITCHBACK_FAILPOINT=name:kill` ends the process as kill -9 would; `name:throw` throws. A
 * name may itself hold colons (`copy:chunk`), so the action is what follows the last one.
 */
const armed = process.env.SWITCHBACK_FAILPOINT ?? '';

/** Passes, unless a test armed this point. */
export const failpoint = (name: string): void => {
  if (armed === '') return;
  const at = armed.lastIndexOf(':');
  if (armed.slice(0, at) !== name) return;
  if (armed.slice(at + 1) === 'kill') process.kill(process.pid, 'SIGKILL');
  throw new Error(`failpoint ${name}`);
};
