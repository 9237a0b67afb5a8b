import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SwitchbackError } from '../../../src/domain/errors.ts';

/** Who is to write pgbench's transactions, and how fast. */
export interface WriteOrder {
  readonly url: string;
  readonly accounts: number;
  readonly branches: number;
  readonly clients: number;
  /** Transactions a second of all clients together; as fast as they can for null. */
  readonly perSecond: number | null;
  readonly seed: number;
}

/** What was written in the end. */
export type WriteTold =
  | { readonly type: 'wrote'; readonly transactions: number; readonly seconds: number }
  | { readonly type: 'failed'; readonly message: string };

/** Does one TPC-B transaction in one statement; see {@link WRITE_FUNCTION_SQL}. */
export const WRITE_FUNCTION = 'bench_write';

/** Makes the function, beside pgbench's tables. */
export const WRITE_FUNCTION_SQL = `
  CREATE FUNCTION ${WRITE_FUNCTION}(account int, branch int, teller int, change int) RETURNS int LANGUAGE plpgsql AS $$
  DECLARE balance int;
  BEGIN
    UPDATE pgbench_accounts SET abalance = abalance + change WHERE aid = account RETURNING abalance INTO balance;
    UPDATE pgbench_tellers SET tbalance = tbalance + change WHERE tid = teller;
    UPDATE pgbench_branches SET bbalance = bbalance + change WHERE bid = branch;
    INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (teller, branch, account, change, now());
    RETURN balance;
  END $$`;

const CHILD = fileURLToPath(new URL('write-child.ts', import.meta.url));

/** Clients that write, in a process of their own, so that they do not disturb what measures. */
export class WriteProcess {
  readonly #child: ChildProcess;
  readonly #told: Promise<WriteTold>;

  /** Begins to write. */
  constructor(order: WriteOrder) {
    this.#child = fork(CHILD, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#told = new Promise((resolve, reject) => {
      this.#child.once('message', (told: WriteTold) => resolve(told));
      this.#child.once('error', reject);
      this.#child.once('exit', (code) => resolve({ type: 'failed', message: `their process ended with ${code}` }));
    });
    this.#told.catch(() => undefined);
    this.#child.send(order);
  }

  /** Lets the transactions under way end; how many there were, a second. */
  async stop(): Promise<number> {
    if (this.#child.connected) this.#child.send('stop');
    const told = await this.#told;
    if (told.type === 'failed') throw new SwitchbackError('internal', `the writing clients: ${told.message}`);
    return told.transactions / told.seconds;
  }

  /** Ends the process at once; nothing when it has ended. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
