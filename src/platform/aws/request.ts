import { after } from '../clock.ts';
import { awsError, type Request } from './errors.ts';

/** How often the SDK itself sends a request. */
const ATTEMPTS = 3;
/** For everything that one request takes, with all of its attempts. */
const REQUEST_MS = 20_000;

/** The same for a request whose every attempt may take so long, since it carries much. */
export const budgetOf = (attemptMs: number): number => ATTEMPTS * attemptMs;

/** How every client is made. Credentials and the endpoint are found by the SDK, as by every program of AWS. */
export const clientConfig = (region: string | undefined) => ({
  ...(region === undefined ? {} : { region }),
  maxAttempts: ATTEMPTS,
  requestHandler: { connectionTimeout: 3_000, requestTimeout: 5_000, throwOnRequestTimeout: true },
});

/**
 * Asks AWS, for `budgetMs` at most, also while the SDK looks for credentials, which nobody can abort. Throws kind `unreachable`
 * when it did not answer or had no time, `unknown` when a change was sent and its answer was lost, `refused` for every definite no.
 */
export const ask = async <T>(
  request: Request,
  send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
  budgetMs = REQUEST_MS,
): Promise<T> => {
  const abort = new AbortController();
  const late = Promise.withResolvers<never>();
  const cancel = after(budgetMs, () => {
    abort.abort();
    late.reject(new Error(`no answer within ${budgetMs / 1_000} s, credentials included`));
  });
  try {
    return await Promise.race([send({ abortSignal: abort.signal }), late.promise]);
  } catch (error) {
    throw awsError(request, error);
  } finally {
    cancel();
  }
};
