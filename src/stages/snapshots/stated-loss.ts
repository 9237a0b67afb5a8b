import { messageOf } from '../../domain/errors.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import { displayName, type Table } from '../../domain/table.ts';
import type { Count } from '../../engines/archive.ts';
import { laneName } from '../../sidecar/lanes.ts';
import { serverTime } from '../../sidecar/phases.ts';
import type { WaitOptions } from '../../snapshots/store.ts';
import { type PhaseScope, portsOf, type RunContext, type SidePorts } from '../context.ts';
import { scopeOf } from '../scope.ts';
import { digestTables } from './table-digests.ts';
import { askOwnership, wherePrimary } from './where-primary.ts';

/** A table that is not as the snapshot has it any more. */
export interface ChangedTable {
  readonly table: string;
  readonly rowsThen: string;
  readonly rowsNow: string;
}

/** What the archive of changes has after the snapshot. */
export interface ArchivedAfter {
  readonly transactions: Count;
  readonly changes: Count;
  /** When the newest of them committed; null when there is none. */
  readonly newestAt: string | null;
  /** Why it cannot be replayed onto the snapshot, or null. */
  readonly missing: string | null;
}

/** What a snapshot lacks of what is written by now, as far as it can be told before anything is restored. */
export interface StatedLoss {
  /** When the snapshot's state was that of the source, and what time it is on the primary; ISO 8601. */
  readonly from: string;
  readonly to: string | null;
  /** Null when there is no archive. */
  readonly archived: ArchivedAfter | null;
  /** Null when they cannot be compared; then `untold` says why. */
  readonly tables: readonly ChangedTable[] | null;
  /** What cannot be told, as sentences. */
  readonly untold: readonly string[];
}

/**
 * Tells what going back to a snapshot would lose: the time, what an archive has of it, and which tables are not as it has them.
 * Reads every table of the primary once where the snapshot has digests. Never throws for what does not answer: it says so.
 */
export const stateLoss = async (context: RunContext, manifest: Manifest, options: WaitOptions): Promise<StatedLoss> => {
  const untold: string[] = [];
  const archived = await readArchived(context, manifest).catch((error: unknown) => {
    untold.push(`what the archive has cannot be told: ${messageOf(error)}`);
    return null;
  });
  const known = { from: manifest.createdAt, archived, untold };
  const [source, target] = [await askOwnership(context.source.sql), await askOwnership(context.target.sql)];
  const phases = context.plan.phases.map(({ name }) => name);
  const where = wherePrimary(phases, { source, target });
  if ('untold' in where) {
    untold.push(where.untold);
    return { ...known, to: null, tables: null };
  }
  const primary = portsOf(context, where.side);
  if (manifest.digests === null)
    untold.push('this kind of snapshot has no digests, so its rows cannot be compared before it is restored');
  try {
    const to = await serverTime(primary.sql);
    return { ...known, to, tables: await compareTables(context, { manifest, primary, options }) };
  } catch (error) {
    options.signal.throwIfAborted();
    untold.push(`the ${primary.side} cannot be asked what it has: ${messageOf(error)}`);
    return { ...known, to: null, tables: null };
  }
};

interface Comparing {
  readonly manifest: Manifest;
  readonly primary: SidePorts;
  readonly options: WaitOptions;
}

const compareTables = async (
  { plan }: RunContext,
  { manifest, primary, options }: Comparing,
): Promise<readonly ChangedTable[] | null> => {
  const then = manifest.digests;
  if (then === null) return null;
  const scope = scopeOf(plan, await primary.database.inventory());
  const tables = [...scope.phases.values()].flatMap((phase: PhaseScope): readonly Table[] => phase.tables);
  const onTable = (done: number, of: number) =>
    options.progress({ text: `compared ${done} of ${of} tables`, percent: Math.floor((100 * done) / of) });
  const now = await digestTables(primary.digests, tables, { exported: null, signal: options.signal, onTable });
  return tables.flatMap((table) => {
    const name = displayName(table);
    const [before, after] = [then[name], now[name]];
    if (after === undefined || (before?.rows === after.rows && before.sum === after.sum)) return [];
    return [{ table: name, rowsThen: before?.rows ?? '0', rowsNow: after.rows }];
  });
};

const readArchived = async (context: RunContext, manifest: Manifest): Promise<ArchivedAfter | null> => {
  const { archive, engine, plan } = context;
  if (archive === undefined || engine.archives === undefined) return null;
  const add = (a: Count, b: Count): Count => ({ atLeast: a.atLeast + b.atLeast, atMost: a.atMost + b.atMost });
  let sum: ArchivedAfter = { transactions: NONE, changes: NONE, newestAt: null, missing: null };
  for (const { name: phase } of plan.phases) {
    const place = { objects: archive, run: manifest.run, phase };
    const reverse = manifest.lanes[laneName(phase, 'reverse')]?.position ?? null;
    const [after, { newestAt }] = [
      await engine.archives.since(place, { source: manifest.position, reverse }),
      await engine.archives.summary(place),
    ];
    sum = {
      transactions: add(sum.transactions, after.transactions),
      changes: add(sum.changes, after.changes),
      newestAt: newestAt !== null && newestAt > (sum.newestAt ?? '') ? newestAt : sum.newestAt,
      missing: sum.missing ?? (after.missing === null ? null : `phase ${phase}: ${after.missing}`),
    };
  }
  return sum;
};

const NONE: Count = { atLeast: 0, atMost: 0 };
