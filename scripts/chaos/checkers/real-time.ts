/**
 * An operation on one object whose states are numbered: a write makes its level, a read shows it. Every level was made by
 * one write, so the order of the object's states is known, and linearizability is a question of intervals only.
 */
export interface Leveled {
  readonly op: number;
  readonly level: number;
  readonly isWrite: boolean;
  readonly invokedMs: number;
  /** When its client was told; infinity for a write whose outcome its client never knew. */
  readonly completedMs: number;
}

/** An operation that fits no order that respects real time, and why. */
export interface Misfit {
  readonly op: number;
  readonly why: string;
  /** A read of the past, or a write out of order. */
  readonly isRead: boolean;
}

/**
 * Judges one object's operations in real-time order. Sound and complete for objects whose writes are totally ordered by
 * level (Gibbons and Korach, "Testing Shared Memories", 1997, the case of a known write order): no operation may show or
 * replace a state older than one that somebody had been told of before it began, and none may show a state that nobody had
 * begun to make by the time it ended. Sorting aside it is linear.
 */
export const checkRealTime = (operations: readonly Leveled[]): readonly Misfit[] => [
  ...olderThanTold(operations),
  ...newerThanBegun(operations),
];

const olderThanTold = (operations: readonly Leveled[]): Misfit[] => {
  const byEnd = [...operations].sort((a, b) => a.completedMs - b.completedMs);
  const byBegin = [...operations].sort((a, b) => a.invokedMs - b.invokedMs);
  const misfits: Misfit[] = [];
  let told = { level: 0, op: 0 };
  let next = 0;
  for (const operation of byBegin) {
    for (let ended = byEnd[next]; ended && ended.completedMs < operation.invokedMs; ended = byEnd[++next]) {
      if (ended.level > told.level) told = ended;
    }
    const { op, level, isWrite } = operation;
    if (isWrite ? level > told.level : level >= told.level) continue;
    const what = isWrite ? 'made' : 'showed';
    const why = `${what} state ${level}, but operation ${told.op} had been told of state ${told.level} before it began`;
    misfits.push({ op, why, isRead: !isWrite });
  }
  return misfits;
};

const newerThanBegun = (operations: readonly Leveled[]): Misfit[] => {
  const begun = new Map<number, number>();
  for (const { level, isWrite, invokedMs } of operations) if (isWrite) begun.set(level, invokedMs);
  return operations
    .filter(({ level, isWrite, completedMs }) => !isWrite && (begun.get(level) ?? 0) > completedMs)
    .map(({ op, level }) => ({ op, why: `showed state ${level} before its writer had begun`, isRead: true }));
};
