interface Waiting {
  readonly urgency: number;
  readonly sit: () => void;
}

/**
 * A few seats for work that many ask for at once. The most urgent of those who wait is next, among equals whoever came
 * first.
 */
export class Seats {
  #free: number;
  readonly #waiting: Waiting[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Whether somebody who comes now need not wait. */
  get hasFree(): boolean {
    return this.#free > 0;
  }

  /** Runs the work on a seat as soon as there is one. Rejects with the signal's reason when it is aborted before. */
  async run<T>(
    options: { readonly urgency: number; readonly signal: AbortSignal },
    work: () => Promise<T>,
  ): Promise<T> {
    await this.#sit(options);
    try {
      return await work();
    } finally {
      this.#free += 1;
      this.#callNext();
    }
  }

  async #sit({ urgency, signal }: { readonly urgency: number; readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = { urgency, sit: resolve };
    const leave = (): void => {
      const at = this.#waiting.indexOf(waiting);
      // Whoever has been called already sits, and will find the signal aborted by itself.
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      reject(signal.reason);
    };
    signal.addEventListener('abort', leave, { once: true });
    this.#waiting.push(waiting);
    this.#callNext();
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #callNext(): void {
    if (this.#free === 0) return;
    const next = this.#waiting.reduce<Waiting | undefined>(
      (best, one) => (best !== undefined && best.urgency >= one.urgency ? best : one),
      undefined,
    );
    if (next === undefined) return;
    this.#waiting.splice(this.#waiting.indexOf(next), 1);
    this.#free -= 1;
    next.sit();
  }
}
