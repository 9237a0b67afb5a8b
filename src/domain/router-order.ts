/**
 * One order for all routers that lists put in orders of their own, each list's kept: `[pooler, dns]` and `[dns, proxy]` make
 * `[pooler, dns, proxy]`. What no list puts in an order comes as it is first named. Null when the lists contradict each other.
 *
 * @see Kahn, Topological sorting of large networks (1962)
 */
export const oneOrder = (lists: readonly (readonly string[])[]): readonly string[] | null => {
  const names = [...new Set(lists.flat())];
  const order: string[] = [];
  while (order.length < names.length) {
    const next = names.find((name) => !order.includes(name) && lists.every((list) => isNext(list, name, order)));
    if (next === undefined) return null;
    order.push(next);
  }
  return order;
};

const isNext = (list: readonly string[], name: string, order: readonly string[]): boolean =>
  list.slice(0, Math.max(0, list.indexOf(name))).every((before) => order.includes(before));
