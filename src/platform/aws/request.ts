import { after } from '../clock.ts';
import { awsError, type Request } from './errors.ts';

/** For everything that one request takes, with the SDK's own three attempts. */
const REQUEST_MS = 20_000;

/** How every client is made. Credentials and the endpoint are found by the SDK, as by every program of AWS. */
export const clientConfig = (region: string | undefined) => ({
  ...(region === undefined ? {} : { region }),
  maxAttempts: 3,
  requestHandler: { connectionTimeout: 3_000, requestTimeout: 5_000, throwOnRequestTimeout: true },
});

/**
 * Asks AWS, for {@link REQUEST_MS} at most, also while the SDK looks for credentials, which nobody can abort. Throws kind `unreachable` when it did not answer or had no time, `unknown` when a
 * change was sent and its answer was lost, `refused` for every definite no.
 */
export const ask = async <T>(
  request: Request,
  send: (options: { readonly abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> => {
  const abort = new AbortController();
  const late = Promise.withResolvers<never>();
  const cancel = after(REQUEST_MS, () => {
    abort.abort();
    late.reject(new Error(`no answer within ${REQUEST_MS / 1_000} s, credentials included`));
  });
  try {
    return await Promise.race([send({ abortSignal: abort.signal }), late.promise]);
  } catch (error) {
    throw awsError(request, error);
  } finally {
    cancel();
  }
};
