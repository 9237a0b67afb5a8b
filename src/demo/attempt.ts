import pg from 'pg';
import { codeOf, isConnectionLost } from '../platform/postgres/server.ts';

/**
 * How a try at a transaction ended. `refused` means that it certainly had no effect, `unknown` that nobody can tell: only
 * a refused one may be tried again.
 */
export type Attempt<T> =
  | { readonly outcome: 'done'; readonly answer: T; readonly isSessionLost: false }
  | {
      readonly outcome: 'refused';
      readonly code: string;
      /** Whether the session cannot be used any more, or leads to a side that takes no writes. */
      readonly isSessionLost: boolean;
      /** Whether the same may succeed later or elsewhere. */
      readonly mayPass: boolean;
    }
  | { readonly outcome: 'unknown'; readonly code: string; readonly isSessionLost: true };

const READ_ONLY = '25006';
/** Serialization failure, deadlock, lock not available, query cancelled. */
const MAY_PASS = new Set([READ_ONLY, '40001', '40P01', '55P03', '57014']);

/** Runs `work` in a transaction on the session and tells the three outcomes apart. Never throws what the server said. */
export const attempt = async <T>(session: pg.Client, work: () => Promise<T>): Promise<Attempt<T>> => {
  let answer: T;
  try {
    await session.query('BEGIN');
    answer = await work();
  } catch (error) {
    const refusal = refusalOf(error);
    // Nothing was asked to be committed, so nothing was, whatever became of the session.
    if (!refusal.isSessionLost) await session.query('ROLLBACK').catch(() => undefined);
    return refusal;
  }
  try {
    const { command } = await session.query('COMMIT');
    // COMMIT of a transaction that had failed answers ROLLBACK, and no error.
    if (command === 'COMMIT') return { outcome: 'done', answer, isSessionLost: false };
    return { outcome: 'refused', code: command, isSessionLost: false, mayPass: false };
  } catch (error) {
    // The server says ERROR when it has rolled back; FATAL may come after the commit, as may the end of the connection.
    if (error instanceof pg.DatabaseError && error.severity === 'ERROR') return refusalOf(error);
    return { outcome: 'unknown', code: codeOrWord(error), isSessionLost: true };
  }
};

/** The code of anything thrown, or a word when it has none. */
export const codeOrWord = (error: unknown): string => codeOf(error) || (isConnectionLost(error) ? 'lost' : 'error');

const refusalOf = (error: unknown): Attempt<never> & { readonly outcome: 'refused' } => {
  const code = codeOrWord(error);
  const isLost = isConnectionLost(error);
  return {
    outcome: 'refused',
    code,
    isSessionLost: isLost || code === READ_ONLY,
    mayPass: isLost || MAY_PASS.has(code),
  };
};
