import { tmpdir } from 'node:os';
import { SwitchbackError } from '../../../domain/errors.ts';
import type { Direction } from '../../../domain/position.ts';
import { displayName } from '../../../domain/table.ts';
import { Lsn } from '../../../platform/postgres/lsn.ts';
import { PostgresServer } from '../../../platform/postgres/server.ts';
import type { ArchiveOptions, ArchivePlace, Replayed } from '../../archive.ts';
import type { LaneObserver, LaneProgress, ReplayInto } from '../../engine.ts';
import { BatchApplier } from '../apply-batches.ts';
import { type LaneContext, SHARED_MARKER } from '../context.ts';
import type { LaneTables } from '../lane-table.ts';
import { getReady, type Ready } from '../ready.ts';
import { SpoolPlace } from '../spool.ts';
import type { Chain } from './chain.ts';
import { firstNeeded, missingAfter, type Reached, reachedBy } from './cover.ts';
import { damaged, type Item } from './item.ts';
import { ArchiveSource } from './source.ts';

/** What one replay works with. */
interface Replay {
  readonly place: ArchivePlace;
  readonly into: ReplayInto;
  readonly server: PostgresServer;
  readonly reached: Reached;
  readonly signal: AbortSignal;
  readonly onRead: () => void;
}

/** Replays a chain that was verified; see `Archives.replay`. */
export const replayChain = async (
  chain: Chain,
  { place, into }: { readonly place: ArchivePlace; readonly into: ReplayInto },
  options: ArchiveOptions,
): Promise<Replayed> => {
  const { url, label } = into;
  const server = new PostgresServer({ url, label, application: 'switchback' });
  try {
    const reached = switchedBy(chain, await reachedIn(server, into));
    assertNotPast(into, reached);
    const missing = missingAfter(chain, reached) ?? unreachable(chain, into) ?? untold(chain, into, reached);
    if (missing !== null) throw damaged(place, missing);
    const items = chain.items.slice(firstNeeded(chain.items, reached));
    let done = chain.items.length;
    const onRead = (): void => {
      done += 1;
      options.progress({ done, of: chain.items.length + items.length });
    };
    return await replayItems(items, { place, into, server, reached, signal: options.signal, onRead });
  } finally {
    await server.close();
  }
};

const reachedIn = async (server: PostgresServer, { stores, source }: ReplayInto): Promise<Reached> => {
  const forward = await stores.forward.progress(server);
  const reverse = await stores.reverse.progress(server);
  const position = forward?.position ?? source.atLeast;
  return reachedBy({
    source: { atLeast: position, atMost: forward === null ? source.atMost : position },
    reverse: reverse?.position ?? null,
  });
};

/**
 * A state with progress of the reverse lane from a switch on has everything that the source wrote before that switch, whatever its
 * snapshot was said to be between. Applied once more, it would go over what the reverse lane has brought since then. Where that lane
 * began anew the source may be another one, and an older switch says nothing of it.
 */
const switchedBy = ({ items }: Chain, { forward, reverse }: Reached): Reached => {
  const links = items.filter(({ kind, direction }) => kind === 'link' && direction === 'reverse');
  const ended = links.findLast(({ from }) => reverse !== null && reverse >= from)?.ended ?? 0n;
  const later = (position: bigint): bigint => (position < ended ? ended : position);
  return { forward: { atLeast: later(forward.atLeast), atMost: later(forward.atMost) }, reverse };
};

/** What is in the place already cannot be taken out of it. */
const assertNotPast = ({ label, until }: ReplayInto, { forward, reverse }: Reached): void => {
  if (until === null) return;
  const reached = until.direction === 'forward' ? forward.atLeast : (reverse ?? 0n);
  if (reached <= Lsn.parse(until.position)) return;
  throw new SwitchbackError(
    'refused',
    `the ${label} has what came before ${Lsn.format(reached)} of direction ${until.direction} already, more than what came before ${until.position}`,
    {
      remedy:
        'nothing was applied; restore into another database, or an older snapshot: switchback snapshot restore PLAN ID --into URL',
    },
  );
};

/** Why it cannot be replayed as far as was asked for. */
const unreachable = ({ items }: Chain, { until }: ReplayInto): string | null => {
  if (until === null) return null;
  const last = items.findLast((item) => item.direction === until.direction);
  if (last !== undefined && last.until >= Lsn.parse(until.position)) return null;
  return `it ends before ${until.position} of direction ${until.direction}`;
};

/**
 * A change of a table without a key can be applied once only. Where the state stands between two positions it is not known
 * which of the changes between them are in it.
 */
const untold = ({ items }: Chain, { tables }: ReplayInto, { forward }: Reached): string | null => {
  const keyless = tables.filter((table) => table.key === null).map(displayName);
  const isWithin = (item: Item): boolean =>
    item.direction === 'forward' && item.transactions > 0 && item.from < forward.atMost && item.until > forward.atLeast;
  if (keyless.length === 0 || forward.atLeast >= forward.atMost || !items.some(isWithin)) return null;
  return `which changes of ${keyless.join(', ')}, without a key, are in the restored state is known only to be those before ${Lsn.format(forward.atMost)} and after ${Lsn.format(forward.atLeast)}`;
};

const replayItems = async (items: readonly Item[], replay: Replay): Promise<Replayed> => {
  const { into, server, place } = replay;
  let result: Replayed = { transactions: 0, changes: 0, end: null };
  const lane = `${place.phase}/replay`;
  const { tables, stores } = into;
  const names = { lane, direction: 'reverse', publication: '', slot: '', roots: [] } as const;
  const context: LaneContext = {
    spec: { ...names, tables, store: stores.reverse },
    from: server,
    to: server,
    isReplay: true,
  };
  const ready = await getReady(context);
  try {
    for (const stretch of stretchesOf(items)) {
      const replayed = await replayStretch(stretch, ready, replay);
      const { transactions, changes } = result;
      result = { ...replayed, transactions: transactions + replayed.transactions, changes: changes + replayed.changes };
      if (replayed.isLast) break;
    }
  } finally {
    await ready.applier.close();
  }
  const { transactions, changes, end } = result;
  return { transactions, changes, end };
};

/** The objects of one lane after another: each link begins the next. */
const stretchesOf = (items: readonly Item[]): readonly (readonly Item[])[] => {
  const stretches: Item[][] = [];
  for (const item of items) {
    const last = stretches.at(-1);
    if (last === undefined || item.kind === 'link') stretches.push([item]);
    else last.push(item);
  }
  return stretches;
};

const replayStretch = async (
  items: readonly Item[],
  { applier, written }: Ready,
  { place, into, server, reached, signal, onRead }: Replay,
): Promise<Replayed & { readonly isLast: boolean }> => {
  const direction: Direction = items[0]?.direction ?? 'forward';
  const stopAt = into.until?.direction === direction ? Lsn.parse(into.until.position) : null;
  const store = into.stores[direction];
  const { label } = into;
  let progress = await beginStretch(items, direction, { into, server, reached });
  const tables: LaneTables = {
    tables: new Map(into.tables.map((table) => [displayName(table), table])),
    written,
    marker: displayName(SHARED_MARKER),
    side: label,
  };
  const applied = Lsn.parse(progress.position);
  const spool = new SpoolPlace(tmpdir());
  const source = new ArchiveSource({ items, place, tables, applied, stopAt, spool, onRead });
  let changes = 0;
  const observer: Pick<LaneObserver, 'applied'> = {
    applied: (told) => {
      changes += told.changes;
    },
  };
  try {
    const batches = new BatchApplier({ applier, store, label, source, observer, progress });
    while (await batches.next(signal, (now) => (progress = now)));
  } finally {
    await source.close();
  }
  const archived = items.at(-1)?.until ?? 0n;
  const isLast = stopAt !== null && stopAt <= archived;
  // A position within a commit record is before the end of the transaction that it ends, which is applied.
  const end = isLast ? Lsn.format(stopAt) : Lsn.max(progress.position, Lsn.format(archived));
  await server.transaction((sql) => store.record(sql, { ...progress, position: end }));
  return { transactions: source.transactions, changes, end: { direction, position: end }, isLast };
};

/** Stores where a stretch begins, unless something of it is replayed already. */
const beginStretch = async (
  [first]: readonly Item[],
  direction: Direction,
  { into, server, reached }: Pick<Replay, 'into' | 'server' | 'reached'>,
): Promise<LaneProgress> => {
  const store = into.stores[direction];
  const { atLeast, atMost } = reached.forward;
  const stored = await store.progress(server);
  if (stored?.strictFrom === null) throw new SwitchbackError('internal', 'a replay onto a lane that is being copied');
  const isBegun = first?.kind === 'link' && (stored === null || !Lsn.reached(stored.position, Lsn.format(first.from)));
  if (stored !== null && !isBegun) return stored;
  const marker = stored?.marker ?? 0n;
  // The state may stand within the first lane, or before the next one begins.
  const isWithin = direction === 'forward' && stored === null && atMost > (first?.from ?? 0n);
  const from = Lsn.format(first?.from ?? 0n);
  const progress: LaneProgress = isWithin
    ? { position: Lsn.format(atLeast), strictFrom: Lsn.format(atMost), marker }
    : { position: from, strictFrom: from, marker };
  await server.transaction((sql) => store.begin(sql, progress));
  return progress;
};
