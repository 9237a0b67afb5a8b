import type pg from 'pg';

/**
 * Runs COPY … FROM STDIN with rows that are in memory already: one write, and no stream, whose ticks cost a small batch more
 * than its rows do. Rejects with what the server refused; the session can go on then, once its transaction is rolled back. `onSent` is called when the rest is the
 * server's work.
 */
export const copyIn = async (
  client: pg.Client,
  copy: { readonly sql: string; readonly chunks: readonly Buffer[] },
  onSent: () => void = () => undefined,
): Promise<void> => {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client.query(new CopyIn(copy, { resolve, reject, onSent }));
  await promise;
};

/** What the driver tells a statement, and what it may say to the server. */
interface CopyConnection extends pg.Connection {
  endCopyFrom(): void;
}

const COPY_DATA = 0x64;

interface CopyOutcome {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  readonly onSent: () => void;
}

class CopyIn implements pg.Submittable {
  readonly #sql: string;
  readonly #chunks: readonly Buffer[];
  readonly #outcome: CopyOutcome;

  constructor(copy: { readonly sql: string; readonly chunks: readonly Buffer[] }, outcome: CopyOutcome) {
    this.#sql = copy.sql;
    this.#chunks = copy.chunks;
    this.#outcome = outcome;
  }

  submit(connection: pg.Connection): void {
    connection.query(this.#sql);
  }

  /** All at once: the socket keeps what the server does not take yet, and it is in memory either way. */
  handleCopyInResponse(connection: CopyConnection): void {
    const { stream } = connection;
    stream.cork();
    for (const chunk of this.#chunks) {
      const header = Buffer.allocUnsafe(5);
      header.writeUInt8(COPY_DATA, 0);
      header.writeUInt32BE(4 + chunk.length, 1);
      stream.write(header);
      stream.write(chunk);
    }
    connection.endCopyFrom();
    stream.uncork();
    setImmediate(this.#outcome.onSent);
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#outcome.resolve();
  }

  handleError(error: unknown): void {
    this.#outcome.reject(error);
  }
}
