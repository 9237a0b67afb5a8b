/** Changes to one file by this process, one after another, whichever router object they come from. */
const queues = new Map<string, Promise<unknown>>();

/** Does work when everything that was asked for the same file before has ended, well or not. */
export const inTurn = <T>(path: string, work: () => Promise<T>): Promise<T> => {
  const turn = (queues.get(path) ?? Promise.resolve()).then(work, work);
  queues.set(path, turn);
  const forget = (): void => {
    if (queues.get(path) === turn) queues.delete(path);
  };
  turn.then(forget, forget);
  return turn;
};
