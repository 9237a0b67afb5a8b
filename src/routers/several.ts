/**
 * Does work for each of some items, for at most `most` of them at the same time, and gives what came of it in their order.
 * Rejects as soon as one fails; none is begun after that.
 */
export const several = async <T, R>(
  items: readonly T[],
  most: number,
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> => {
  const results: R[] = [];
  const rest = [...items.entries()];
  const take = async (): Promise<void> => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
      const [index, item] = next;
      try {
        results[index] = await work(item);
      } catch (error) {
        rest.length = 0;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, take));
  return results;
};
