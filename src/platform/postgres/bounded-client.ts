import pg from 'pg';

/** How long a session may take to say goodbye. */
const END_MS = 2_000;

/**
 * A client whose `end` does not wait for a server that has fallen silent: TCP would go on repeating itself for a quarter of
 * an hour, and whoever closes a session in order to park would be kept just as long.
 */
export class BoundedClient extends pg.Client {
  override end(): Promise<void>;
  override end(callback: (error: Error) => void): void;
  override end(callback?: (error: Error) => void): Promise<void> | undefined {
    const timer = setTimeout(() => this.connection.stream.destroy(), END_MS);
    timer.unref();
    const ended = super.end().finally(() => clearTimeout(timer));
    if (!callback) return ended;
    ended.then(() => (callback as () => void)(), callback);
    return undefined;
  }
}
