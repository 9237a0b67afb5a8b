import { after } from '../platform/clock.ts';

/** What a promise resolves to, or `false` when it takes longer; rejects as it does. What comes later is of no interest. */
export const within = async <T>(ms: number, promise: Promise<T>): Promise<T | false> => {
  const late = Promise.withResolvers<false>();
  const cancel = after(Math.max(0, ms), () => late.resolve(false));
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    cancel();
  }
};

/** What a promise resolves to; throws when it takes longer. */
export const before = async <T>(ms: number, promise: Promise<T>): Promise<T> => {
  const result = await within(
    ms,
    promise.then((value) => ({ value })),
  );
  if (result === false) throw new Error(`no answer within ${Math.round(ms)} ms`);
  return result.value;
};
