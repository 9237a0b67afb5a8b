import { here, isSimulated } from './world.ts';

/** Stands in for `node:crypto`: what product code believes to be random belongs to the seed. */
export const replacing = async (original: () => Promise<unknown>): Promise<object> => {
  const real = (await original()) as typeof import('node:crypto');
  const randomBytes = (size: number): Buffer => (isSimulated() ? here().world.bytes(size) : real.randomBytes(size));
  return { ...real, randomBytes };
};
