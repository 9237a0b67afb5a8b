import { randomBytes } from 'node:crypto';
import { sql as raw } from 'kysely';
import type { SqlExecutor } from '../domain/sql.ts';
import { type Ownership, raiseSide, readOwnership } from './ownership.ts';
import { changeFacts, type RestoredFrom, type RunFacts, type RunRow, readRun, writeFacts, writeRun } from './run.ts';
import { decideOutcome, writeSwitch } from './switches.ts';
import { build, execute, type SidecarTables } from './tables.ts';

/** How the identity in a restored place's run begins. No database says of itself that it is this one. */
const MARK = 'restored:';

/** Whether a run's row is that of a restored place which has not become anybody's source. */
export const isMarked = ({ identity }: Pick<RunRow, 'identity'>): boolean => identity.startsWith(MARK);

/**
 * Notes in a restored place's sidecar, which must stand, that it is one. Its run gets an identity that is no database's, so that
 * every command refuses it as the source until it is adopted: a copy of files has the very identity of its source. `run` is for a
 * snapshot that was made before the run began. Safe to repeat.
 */
export const markRestored = async (
  sql: SqlExecutor,
  run: Omit<RunRow, 'createdAt' | 'facts'>,
  restored: Omit<RestoredFrom, 'at' | 'place' | 'of'>,
): Promise<void> => {
  await writeRun(sql, run);
  const names = await namesOf(sql, { identity: run.identity, snapshot: restored.snapshot });
  await execute(sql, build.updateTable('run').set({ identity: names.place }));
  const { rows } = await sql.query(`SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at`);
  await changeFacts(sql, (facts) => ({ ...facts, restored: { ...restored, ...names, at: rows[0]?.at ?? '' } }));
};

/** What a place is called and what it was made of: as it was marked before, else with a new name. */
const namesOf = async (
  sql: SqlExecutor,
  { identity, snapshot }: { readonly identity: string; readonly snapshot: string },
): Promise<Pick<RestoredFrom, 'place' | 'of'>> => {
  const row = await readRun(sql);
  const before = row?.facts.restored;
  if (row && before && isMarked(row)) return { place: before.place, of: before.of };
  const place = `${MARK}${snapshot}:${randomBytes(8).toString('hex')}`;
  // The source of the snapshot may have been a restored one itself.
  return { place, of: before?.place ?? row?.identity ?? identity };
};

/** What the target is told of the database that takes the source's place. */
export interface SourceClaim {
  readonly phases: readonly string[];
  /** Identity of the restored source. */
  readonly identity: string;
  /** What it is called besides; see {@link RestoredFrom.place}. */
  readonly place: string;
  /** What it was made of; see {@link RestoredFrom.of}. */
  readonly of: string;
  /** Above every epoch that anything left of the run knows. */
  readonly epoch: bigint;
}

/**
 * Makes the target know the restored database as its source, and refuse whoever still acts for the old one: commands by the
 * identity and the place, a worker that sleeps or goes on beside it by the epoch (S7). The phases' ownership rows are locked first, so that
 * a switch of that worker has either fenced the target before `assertOwned` looks, which throws then, or is refused after it. What
 * the source was called before stays known: this one may be lost as well, and then another is made of a snapshot of that.
 */
export const claimSource = async (
  sql: SqlExecutor,
  claim: SourceClaim,
  assertOwned: (rows: readonly Ownership[]) => void,
): Promise<void> => {
  await execute(sql, build.selectFrom('ownership').select('phase').where('phase', 'in', claim.phases).forUpdate());
  assertOwned(await readOwnership(sql));
  await raiseSide(sql, claim.epoch);
  const { peer = '', facts: before } = (await readRun(sql)) ?? {};
  const former = new Set([...(before?.formerSources ?? []), before?.sourcePlace ?? peer, claim.of]);
  former.delete(claim.place);
  await execute(sql, build.updateTable('run').set({ peer: claim.identity }));
  await changeFacts(sql, (facts) => ({ ...facts, sourcePlace: claim.place, formerSources: [...former] }));
};

/** Tables whose rows are of the database that a snapshot was of, and say nothing that is true of the restored one. */
const FOREIGN = [
  'lease',
  'ownership',
  'phase',
  'switch',
  'outcome',
  'lane',
  'chunk',
  'certificate',
  'request',
] as const satisfies readonly (keyof SidecarTables)[];

/** What a restored sidecar is to say instead of what it was restored with. */
export interface Adoption {
  readonly run: Omit<RunRow, 'createdAt' | 'facts'>;
  readonly restored: RestoredFrom;
  readonly phases: readonly string[];
  readonly epoch: bigint;
  /** Tables of phases, as far as the snapshot knew them. */
  readonly tables: RunFacts['tables'];
}

/**
 * Forgets what a restored sidecar says of leases, states, owners, lanes and switches, and makes the database the run's source.
 * The progress of lanes that write to it stays, because it is of the same transaction as the rows beside it, and so does the
 * journal. Until a rebuild has ended, which is begun with this, nothing else acts on the run.
 */
export const adoptSidecar = async (sql: SqlExecutor, adoption: Adoption): Promise<void> => {
  const { run, restored, phases, epoch, tables } = adoption;
  for (const table of FOREIGN) await execute(sql, build.deleteFrom(table));
  await settleSnapshots(sql, restored.snapshot);
  await execute(sql, build.deleteFrom('progress').where('lane', 'not like', '%/reverse'));
  await execute(sql, build.deleteFrom('run'));
  await writeRun(sql, run);
  await writeFacts(sql, { restored, rebuilding: true, ...(tables === undefined ? {} : { tables }) });
  // That the target is the primary was looked up before; who goes on after a crash need not conclude it from the target alone.
  const id = `restored-${epoch}`;
  await writeSwitch(sql, {
    id,
    direction: 'forward',
    phases,
    epoch,
    document: { before: {}, routes: {}, reverseSlots: {} },
  });
  await decideOutcome(sql, { switchId: id, epoch, outcome: 'committed' });
};

/**
 * A snapshot holds the record of its own making, as begun and not ended: whoever asked for a new one would be given that, which is
 * of the source that is lost. It was made, since this was restored from it; what else was being made there is not gone on with here.
 */
const settleSnapshots = async (sql: SqlExecutor, id: string): Promise<void> => {
  const made = { state: 'available', taken_at: raw<string>`coalesce(taken_at, at)` };
  await execute(sql, build.updateTable('snapshot').set(made).where('id', '=', id));
  await execute(sql, build.deleteFrom('snapshot').where('state', '=', 'creating'));
};
