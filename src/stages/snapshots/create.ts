import { randomBytes } from 'node:crypto';
import { isKind, messageOf, SwitchbackError } from '../../domain/errors.ts';
import { blocks } from '../../domain/finding.ts';
import type { LanePosition, SnapshotPosition } from '../../domain/snapshot.ts';
import { isIdOf, snapshotId } from '../../domain/snapshot-id.ts';
import { type SqlExecutor, underSnapshot } from '../../domain/sql.ts';
import { displayName } from '../../domain/table.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { redactText } from '../../platform/redact.ts';
import { laneName, readProgress } from '../../sidecar/lanes.ts';
import { serverTime } from '../../sidecar/phases.ts';
import { readSnapshots, type SnapshotRecord, writeSnapshot } from '../../sidecar/snapshots.ts';
import type { ManifestBasis, SeenAt, Snapshot, SnapshotStore, WaitOptions } from '../../snapshots/store.ts';
import type { RunContext, RunScope } from '../context.ts';
import { readScope } from '../scope.ts';
import { alone } from './alone.ts';
import { listOwned, restorable } from './ours.ts';
import { record, runOf, storeOf } from './records.ts';
import { digestTables } from './table-digests.ts';

/** A snapshot that is asked for. */
export interface CreateOptions extends WaitOptions {
  /** `by hand`, `before cutover of orders`. */
  readonly reason: string;
  /** Whether to wait for one that somebody else is making, and take that; else null is the answer. */
  readonly isPatient: boolean;
}

/** A snapshot that is there now, and how it came. */
export interface Created {
  readonly snapshot: Snapshot;
  readonly how: 'made' | 'gone on with' | 'waited for';
}

/** What is to be made, and whether an earlier process has begun it. */
type Begun = { readonly intent: SnapshotRecord; readonly isOld: boolean };

/** One that was made and not recorded is the answer to whoever asks again; later than this, another one is wanted. */
const ASKED_AGAIN_MS = 3_600_000;

/** The lock under which snapshots of a plan's source are made. */
const lockName = ({ plan }: RunContext): string => `snapshot of ${plan.name}`;

/**
 * Makes a snapshot of the source, or goes on with one that was begun and not finished. It changes nobody's ownership, so that
 * it takes no lease: it works while a worker runs, and before a run is begun; then nothing is recorded but in the store. Returns
 * null when somebody else is at it and is not to be waited for. Throws kind `findings` when the store says what would keep one
 * from being begun, and what the store throws: a quota that is reached, or a full disk, may be so by the one that is to be gone on with.
 */
export const createSnapshot = async (context: RunContext, options: CreateOptions): Promise<Created | null> => {
  const store = storeOf(context);
  const before = new Set((await availableOf(context)).map(({ id }) => id));
  const onTaken = () => {
    const text = 'another process is making a snapshot; waiting for it';
    if (options.isPatient) options.progress({ text, percent: null });
    return options.isPatient;
  };
  const turn = { name: lockName(context), signal: options.signal, onTaken };
  return await alone(context.source.sql, turn, async (signal, hasWaited): Promise<Created> => {
    if (hasWaited) {
      const made = (await availableOf(context)).find(({ id }) => !before.has(id));
      if (made) return { snapshot: await complete(store, made, { ...options, signal }), how: 'waited for' };
    }
    return await make(context, store, { ...options, signal });
  });
};

/**
 * Does what may be missing of one that can be restored already: whoever made it may have died while it was copied or shared. A store
 * in which nothing is missing says so at once.
 */
const complete = async (store: SnapshotStore, snapshot: Snapshot, options: WaitOptions): Promise<Snapshot> => {
  if (snapshot.manifest === null) return snapshot;
  const look = () => Promise.reject(new SwitchbackError('internal', `${snapshot.id} was made already`));
  return await store.create({ basis: snapshot.manifest, look }, options);
};

const availableOf = async (context: RunContext): Promise<readonly Snapshot[]> => {
  const { snapshots, owner } = await listOwned(context);
  return restorable(owner, snapshots);
};

const assertPossible = async (store: SnapshotStore): Promise<void> => {
  const findings = await store.findings();
  if (!blocks(findings)) return;
  const list = findings.filter((f) => f.severity === 'blocks').map((f) => `  ${f.subject}: ${f.fact}; ${f.remedy}`);
  throw new SwitchbackError('findings', ['no snapshot can be made:', ...list].join('\n'), {
    findings,
    remedy: 'mend what is named, then give the command again: switchback snapshot create PLAN',
  });
};

const make = async (context: RunContext, store: SnapshotStore, options: CreateOptions): Promise<Created> => {
  const { intent, isOld } = await begin(context, store, options);
  const scope = await readScope(context);
  failpoint('snapshot:intended');
  try {
    const basis = await basisOf(context, intent, scope);
    const look = (exported: string | null, position: SnapshotPosition, signal: AbortSignal) =>
      seeUnder(context, { scope, exported, position, options: { ...options, signal } });
    // Also one that is there already: its copies may be missing.
    const snapshot = await store.create({ basis, look }, options);
    failpoint('snapshot:made');
    await record(context, (sql) => writeSnapshot(sql, asMade(intent, snapshot)));
    return { snapshot, how: isOld ? 'gone on with' : 'made' };
  } catch (error) {
    // Still to be gone on with: only the store says that one has failed for good.
    const left = { ...intent, detail: redactText(messageOf(error)) };
    await record(context, (sql) => writeSnapshot(sql, left)).catch(() => undefined);
    throw error;
  }
};

const asMade = (intent: SnapshotRecord, { state, detail, manifest }: Snapshot): SnapshotRecord => ({
  ...intent,
  state: state === 'failed' ? 'failed' : 'available',
  detail,
  takenAt: manifest?.createdAt ?? null,
});

/**
 * The intent, durable before anything of it begins: the one that was left unfinished, as the sidecar knows it, or without a
 * sidecar as the store does; else a new one.
 */
const begin = async (context: RunContext, store: SnapshotStore, options: CreateOptions): Promise<Begun> => {
  const { snapshots, owner } = await listOwned(context);
  const there = new Map(snapshots.map((snapshot) => [snapshot.id, snapshot]));
  const run = await runOf(context, 'source');
  const known = run === null ? [] : await readSnapshots(context.source.sql);
  for (const intent of known.filter(({ state }) => state === 'creating')) {
    const found = there.get(intent.id);
    const isMade = found?.state === 'available';
    if (found?.state !== 'failed' && (!isMade || intent.askedMs < ASKED_AGAIN_MS)) {
      if (found === undefined) await assertPossible(store);
      return { intent, isOld: true };
    }
    const end = isMade ? await completeOld(store, found, options) : found;
    await record(context, (sql) => writeSnapshot(sql, asMade(intent, end)));
  }
  const asked = { reason: options.reason, by: context.by, state: 'creating', detail: null, takenAt: null } as const;
  const isKnown = (id: string) => known.some((one) => one.id === id);
  const [newest] = restorable(owner, snapshots);
  // Nobody has noted whether all was done of one that was made before there was a sidecar.
  if (newest !== undefined && !isKnown(newest.id)) await completeOld(store, newest, options);
  const left = await leftUnknown(context, snapshots, isKnown);
  if (left === null) await assertPossible(store);
  const intent = { ...asked, id: left?.id ?? (await newId(context)) };
  await record(context, (sql) => writeSnapshot(sql, intent));
  return { intent, isOld: left !== null };
};

/** One that was begun of this very database when there was no sidecar: whoever is at one of another database has a lock there. */
const leftUnknown = async (
  { plan, source }: RunContext,
  snapshots: readonly Snapshot[],
  isKnown: (id: string) => boolean,
): Promise<Snapshot | null> => {
  const { identity } = await source.sessions.describe();
  const isLeft = ({ id, state, owner }: Snapshot) =>
    state === 'creating' && isIdOf(plan.name, id) && owner?.plan === plan.name && owner.identity === identity;
  return snapshots.find((one) => isLeft(one) && !isKnown(one.id)) ?? null;
};

/** As {@link complete}; what keeps an old one from its copies is told with it, and keeps nobody from making another. */
const completeOld = async (store: SnapshotStore, snapshot: Snapshot, options: CreateOptions): Promise<Snapshot> => {
  try {
    return await complete(store, snapshot, options);
  } catch (error) {
    if (!isKind(error, 'refused')) throw error;
    const detail = redactText(`what was missing of it could not be done: ${messageOf(error)}`);
    options.progress({ text: `${snapshot.id}: ${detail}`, percent: null });
    return { ...snapshot, detail };
  }
};

const newId = async ({ plan, source }: RunContext): Promise<string> => {
  const at = new Date(await serverTime(source.sql));
  return snapshotId({ plan: plan.name, at, random: randomBytes(2).toString('hex') });
};

const basisOf = async (
  context: RunContext,
  { id, by, reason }: SnapshotRecord,
  scope: RunScope,
): Promise<ManifestBasis> => {
  const { plan, source } = context;
  const [run, described] = await Promise.all([runOf(context, 'source'), source.sessions.describe()]);
  return {
    format: 1,
    id,
    kind: plan.snapshots?.store.kind ?? '',
    run: run?.id ?? '',
    plan: { name: plan.name, hash: plan.hash },
    identity: described.identity,
    // As the server says it, without its product's name.
    server: described.version.split(' ').at(-1) ?? '',
    by,
    reason,
    phases: Object.fromEntries([...scope.phases].map(([name, { tables }]) => [name, tables.map(displayName)])),
  };
};

/** What is read while the state that the snapshot holds can be seen. */
const seeUnder = async (
  context: RunContext,
  seen: {
    readonly scope: RunScope;
    readonly exported: string | null;
    readonly position: SnapshotPosition;
    readonly options: CreateOptions;
  },
): Promise<SeenAt> => {
  const { scope, exported, options } = seen;
  const lanes = await lanesUnder(context, exported);
  if (exported === null) return { lanes, digests: null };
  const tables = [...scope.phases.values()].flatMap((phase) => phase.tables);
  const onTable = (done: number, of: number) =>
    options.progress({ text: `digests of ${done} of ${of} tables`, percent: Math.floor((100 * done) / of) });
  return {
    lanes,
    digests: await digestTables(context.source.digests, tables, { exported, signal: options.signal, onTable }),
  };
};

/** The reverse lanes as the snapshot has them; the forward ones as the target has them now, if it answers. */
const lanesUnder = async (context: RunContext, exported: string | null): Promise<SeenAt['lanes']> => {
  if ((await runOf(context, 'source')) === null) return {};
  const { source, target } = context;
  const progress = await source.sql.transaction(async (sql: SqlExecutor) => {
    if (exported !== null) await sql.query(underSnapshot(exported));
    return await readProgress(sql);
  });
  const onTarget = await readProgress(target.sql).catch(() => new Map<string, never>());
  const lanes: Record<string, LanePosition> = {};
  for (const { name: phase } of context.plan.phases) {
    for (const direction of ['forward', 'reverse'] as const) {
      const name = laneName(phase, direction);
      const found = (direction === 'reverse' ? progress : onTarget).get(name);
      if (found) lanes[name] = { phase, direction, position: found.position, marker: String(found.marker) };
    }
  }
  return lanes;
};
