import type { Digests, KeyText } from '../databases/digests.ts';
import { displayName, type Table } from '../domain/table.ts';
import { sleep } from '../platform/clock.ts';

/** The two sides of a comparison, and how to wait for what is under way from one to the other. */
export interface Comparison {
  /** The side whose changes are read. */
  readonly from: Digests;
  readonly to: Digests;
  /** Resolves when the lane has passed the origin's head as of the call. */
  appliedPast(): Promise<void>;
  readonly signal: AbortSignal;
}

/** A row that has been seen to differ. The empty key stands for a whole table that has no key. */
export interface Suspect {
  readonly table: Table;
  readonly key: KeyText;
}

/** What became of suspects. The others are equal. */
export interface Settlement {
  /** Differ, and neither side changes. */
  readonly divergent: readonly Suspect[];
  /** Kept changing for as long as we looked. */
  readonly unsettled: readonly Suspect[];
}

/** Looks at a row that must all show the same two hashes before it counts as divergent. */
const STABLE_LOOKS = 3;
const MAX_LOOKS = 30;
const KEYS_PER_STATEMENT = 2_000;
/** So few rows can be watched closely without burdening the origin. */
const WATCHED_AT_MOST = 200;
const WATCH_PAUSE_MS = 5;
/**
 * Between looks. A commit can have travelled before the origin shows it (it waits for its standby; notes: "Visibility is
 * not WAL order"), so looks that follow one another too closely would see the same difference three times.
 */
const LOOK_PAUSE_MS = 250;

interface Pending extends Suspect {
  pair: string;
  looks: number;
}

/** What one look saw of a row: its hash now on each side, and every hash that the origin has had since the look began. */
interface Look {
  readonly from: string | null;
  readonly to: string | null;
  readonly origin: ReadonlySet<string | null>;
}

/**
 * Finds out which suspects differ for good. Before each look the lane passes the origin's head, so what only was under way
 * has arrived. A row that changes faster than it travels is never the same on both sides at one moment; it is equal when
 * the written side shows what the origin showed at some time since the look began, because everything older has been
 * replaced by then. An update that was lost leaves an older value there, which is not among these.
 */
export const settle = async (comparison: Comparison, suspects: readonly Suspect[]): Promise<Settlement> => {
  let pending: readonly Pending[] = suspects.map((suspect) => ({ ...suspect, pair: '', looks: 0 }));
  const divergent: Suspect[] = [];
  for (let round = 0; round < MAX_LOOKS && pending.length > 0; round++) {
    if (round > 0) await sleep(LOOK_PAUSE_MS, comparison.signal);
    comparison.signal.throwIfAborted();
    const looks =
      pending.length <= WATCHED_AT_MOST ? await watch(comparison, pending) : await glance(comparison, pending);
    const left: Pending[] = [];
    for (const [at, suspect] of pending.entries()) {
      const look = looks[at];
      if (look === undefined || look.origin.has(look.to)) continue;
      const pair = `${look.from} ${look.to}`;
      suspect.looks = suspect.pair === pair ? suspect.looks + 1 : 1;
      suspect.pair = pair;
      if (suspect.looks < STABLE_LOOKS) left.push(suspect);
      else divergent.push(suspect);
    }
    pending = left;
  }
  return { divergent, unsettled: pending };
};

/** Both sides once, at the same time. */
const glance = async (comparison: Comparison, suspects: readonly Suspect[]): Promise<readonly Look[]> => {
  await comparison.appliedPast();
  const [from, to] = await Promise.all([hashes(comparison.from, suspects), hashes(comparison.to, suspects)]);
  return suspects.map((_, at) => ({ from: from[at] ?? null, to: to[at] ?? null, origin: new Set([from[at] ?? null]) }));
};

/** The origin again and again, until the lane has passed its head and the other side has been read. */
const watch = async (comparison: Comparison, suspects: readonly Suspect[]): Promise<readonly Look[]> => {
  let ended = false;
  const reading = comparison
    .appliedPast()
    .then(() => hashes(comparison.to, suspects))
    .finally(() => {
      ended = true;
    });
  // Its failure is seen at the end; until then the origin's may come first.
  reading.catch(() => undefined);
  const origin = suspects.map(() => new Set<string | null>());
  let from: readonly (string | null)[] = [];
  do {
    from = await hashes(comparison.from, suspects);
    for (const [at, hash] of from.entries()) origin[at]?.add(hash);
    await sleep(WATCH_PAUSE_MS, comparison.signal);
  } while (!ended);
  const to = await reading;
  return suspects.map((_, at) => ({ from: from[at] ?? null, to: to[at] ?? null, origin: origin[at] ?? new Set() }));
};

/** Hashes of rows of any tables, in the order of the suspects; null where there is no row. */
const hashes = async (digests: Digests, suspects: readonly Suspect[]): Promise<readonly (string | null)[]> => {
  const found = new Map<Suspect, string | null>();
  for (const own of Map.groupBy(suspects, ({ table }) => displayName(table)).values()) {
    for (let at = 0; at < own.length; at += KEYS_PER_STATEMENT) {
      const some = own.slice(at, at + KEYS_PER_STATEMENT);
      const read = await hashesOf(digests, some);
      for (const [i, suspect] of some.entries()) found.set(suspect, read[i] ?? null);
    }
  }
  return suspects.map((suspect) => found.get(suspect) ?? null);
};

const hashesOf = async (digests: Digests, suspects: readonly Suspect[]): Promise<readonly (string | null)[]> => {
  const [first] = suspects;
  if (first === undefined) return [];
  if (first.table.key !== null)
    return await digests.hashesOf(
      first.table,
      suspects.map(({ key }) => key),
    );
  const whole = await digests.ofRange(first.table, { after: null, upTo: null });
  return suspects.map(() => `${whole.rows} ${whole.sum}`);
};
