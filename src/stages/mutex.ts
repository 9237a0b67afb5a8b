/** Lets one piece of work at a time at something; those that come meanwhile wait in order. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs the work when everything before it has ended, however that ended. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined);
    return await turn;
  }
}
