/**
 * Named points at which a test can make this process die, wait or fail. In production the variable is unset and a
 * failpoint is one comparison. `SWITCHBACK_FAILPOINT=name:kill` ends the process as kill -9 would; `name:throw` throws.
 */
const armed = process.env.SWITCHBACK_FAILPOINT ?? '';

/** Passes, unless a test armed this point. */
export const failpoint = (name: string): void => {
  if (armed === '') return;
  // Names have colons of their own.
  const end = armed.lastIndexOf(':');
  if (armed.slice(0, end) !== name) return;
  if (armed.slice(end + 1) === 'kill') process.kill(process.pid, 'SIGKILL');
  throw new Error(`failpoint ${name}`);
};
