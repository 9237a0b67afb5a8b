import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SwitchbackError } from '../../../src/domain/errors.ts';

/** What a reader that throws everything away is to read. */
export interface DecodeOrder {
  readonly url: string;
  readonly slot: string;
  readonly publication: string;
  /** It ends with the first commit that ends here or later. */
  readonly until: string;
}

/** What it tells at the end; milliseconds from the request to the last commit. */
export type DecodeTold =
  | { readonly type: 'read'; readonly ms: number; readonly messages: number; readonly bytes: number }
  | { readonly type: 'failed'; readonly message: string };

const CHILD = fileURLToPath(new URL('decode-child.ts', import.meta.url));

/**
 * Reads a backlog from a slot with the raw protocol and throws it away, in a process of its own, and resolves with what
 * that took: the speed of the server's own decoding, which no reader of a slot can pass. The slot confirms nothing.
 */
export const decodeOnly = async (order: DecodeOrder): Promise<DecodeTold & { readonly type: 'read' }> => {
  const child = fork(CHILD, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const told = await new Promise<DecodeTold>((resolve, reject) => {
    child.once('message', (message: DecodeTold) => resolve(message));
    child.once('error', reject);
    child.once('exit', (code) => resolve({ type: 'failed', message: `the reader ended with ${code}` }));
    child.send(order);
  });
  if (told.type === 'failed') throw new SwitchbackError('internal', `decode only: ${told.message}`);
  return told;
};
