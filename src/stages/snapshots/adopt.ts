import { SwitchbackError } from '../../domain/errors.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { diffPlans } from '../../plan/diff.ts';
import type { Json } from '../../plan/document.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { installSidecar, reinstallSidecar } from '../../sidecar/install.ts';
import { type Ownership, ownershipGuard, readOwnership } from '../../sidecar/ownership.ts';
import { adoptSidecar, claimSource } from '../../sidecar/restored.ts';
import { type RestoredFrom, type RunRow, readRun, writePlan, writeRun } from '../../sidecar/run.ts';
import { salvage } from '../../sidecar/salvage.ts';
import { isWhole, readShape } from '../../sidecar/shape.ts';
import type { RunContext, SidePorts } from '../context.ts';
import { describeRun, newRunId } from '../open.ts';
import { EPOCH_MARGIN } from '../rebuild/begin.ts';
import type { LookOptions } from '../rebuild/look.ts';
import { propose, rebuild } from '../rebuild/rebuild.ts';

/** What a restored source is, and how far it has been adopted. */
export interface RestoredSource {
  readonly restored: RestoredFrom;
  /** The run that it was of and that the target is a part of. */
  readonly run: string;
  /** `foreign`: nothing knows it. `begun`: its adoption has begun and not ended. `adopted`: it is the run's source. */
  readonly stands: 'foreign' | 'begun' | 'adopted';
  /** The target has no sidecar any more, because the run had ended; a person has stated that the application writes there. */
  readonly isOver: boolean;
}

const readRunRow = async ({ sql }: SidePorts): Promise<RunRow | null> => {
  const shape = await readShape(sql);
  return isWhole(shape, 'run') ? await readRun(sql) : null;
};

/**
 * Looks whether the plan's source is a restored place that may take the place of the run's source. Changes nothing. Throws kind
 * `refused` when it is none, when it or the target is of another run or plan, when another database has taken that place, when
 * a phase has not all its writes on the target; `unreachable` when a side does not answer.
 */
export const readRestored = async (options: LookOptions): Promise<RestoredSource> => {
  const { context } = options;
  const [source, target] = await Promise.all([context.source.sessions.describe(), context.target.sessions.describe()]);
  if (source.instance === target.instance) throw sameDatabase(context, source.identity);
  const [own, other] = [await readRunRow(context.source), await readRunRow(context.target)];
  if (!own?.facts.restored) throw notRestored(context, own);
  if (!other) return await readOver(options, { own, target: target.identity });
  assertSameRun(context, { own, other, target: target.identity });
  const isOwn = own.identity === source.identity;
  const stands = isOwn ? (own.facts.rebuilding === true ? 'begun' : 'adopted') : 'foreign';
  assertPlaceOf(other, own.facts.restored, isOwn ? source.identity : null);
  if (stands === 'foreign') assertOnTarget(options, await readOwnership(context.target.sql));
  return { restored: own.facts.restored, run: other.id, stands, isOver: false };
};

const sameDatabase = ({ plan }: RunContext, identity: string): SwitchbackError =>
  new SwitchbackError('refused', `source and target are the same database (${identity})`, {
    remedy: `lead the source's URL to the restored database, then: switchback failback ${plan.path} PHASE --from-snapshot`,
  });

const notRestored = ({ plan }: RunContext, own: RunRow | null): SwitchbackError => {
  if (own === null) {
    return new SwitchbackError('refused', 'the source is no restored place', {
      remedy: `restore one, then lead the source's URL to it: switchback snapshot restore ${plan.path} --into URL`,
    });
  }
  return new SwitchbackError('refused', `the source is the run's own (${own.identity}), not one that was restored`, {
    remedy: `it can be gone back to without a snapshot: switchback failback ${plan.path} PHASE --confirm PHASE`,
  });
};

/**
 * The end of a run takes the target's sidecar away. What was restored says which database that was, and nobody but a person knows
 * whether the application still writes there.
 */
const readOver = async (
  { context, stated }: LookOptions,
  { own, target }: { readonly own: RunRow; readonly target: string },
): Promise<RestoredSource> => {
  const { exists } = await readShape(context.target.sql);
  // A snapshot that was made before a run was begun knows of no target: that it is this one is stated with where the writes are.
  const fits = own.peer === target || own.peer === '';
  if (exists || !fits || !own.facts.restored) throw targetUnknown(own, target);
  const open = context.plan.phases.filter(({ name }) => stated.get(name) !== 'target').map(({ name }) => name);
  if (open.length > 0) throw unstated(context, own, open);
  const run = own.id === '' ? newRunId() : own.id;
  return { restored: own.facts.restored, run, stands: 'foreign', isOver: true };
};

const unstated = ({ plan }: RunContext, { id }: RunRow, open: readonly string[]): SwitchbackError => {
  const statements = plan.phases.map(({ name }) => `--primary ${name}=target`).join(' ');
  const why = id === '' ? 'no run is recorded on either side' : `run ${id} has ended`;
  return new SwitchbackError(
    'refused',
    `${why}, so that nothing says where the application writes phase ${open.join(', ')}`,
    {
      remedy: `if it writes to the target: switchback failback ${plan.path} PHASE --from-snapshot ${statements} --confirm PHASE`,
    },
  );
};

const targetUnknown = ({ id, peer }: RunRow, target: string): SwitchbackError =>
  new SwitchbackError('refused', `the target (${target}) has no record of run ${id}, whose target was ${peer}`, {
    remedy: "lead the target's URL to the target of that run, then give the command again",
  });

/**
 * The target has to know this very place as its source (`own`: its identity, once that is in its records), or else the source that
 * the snapshot was made of. Identities alone do not tell: two copies of one server's files have the same.
 */
const assertPlaceOf = ({ id, peer, facts }: RunRow, { place, of }: RestoredFrom, own: string | null): void => {
  const known = facts.sourcePlace ?? peer;
  // Of any source that the run has had: the target has all writes, and a place that was to be its source may be lost as well.
  const names = [known, ...(facts.formerSources ?? [])];
  const isKnown = own === null ? known === place || names.includes(of) : known === place && peer === own;
  if (!isKnown) throw replaced(id, facts.sourcePlace === undefined ? peer : `${known} (${peer})`);
};

const replaced = (id: string, known: string): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `the target knows ${known} as the source of run ${id}: another database has taken its place`,
    {
      remedy: "lead the source's URL to that database, then: switchback status PLAN",
    },
  );

interface Pair {
  readonly own: RunRow;
  readonly other: RunRow;
  /** The target's identity now. */
  readonly target: string;
}

/** What may differ from the plan that the run was begun with: where the source is, and how clients are led to it. */
const MAY_DIFFER = /^(source|routers|snapshots)(\.|\[|$)/;

const assertSameRun = ({ plan }: RunContext, { own, other, target }: Pair): void => {
  const wrong =
    (other.side === 'target' ? null : `the plan's target is the ${other.side} of run ${other.id}`) ??
    (own.side === 'source' ? null : `what was restored was the ${own.side} of run ${own.id}`) ??
    (other.identity === target ? null : `run ${other.id} has ${other.identity} as its target; it is now ${target}`) ??
    // A snapshot that was made before a run was begun is of none; whose it is says the identity.
    (own.id === other.id || own.id === ''
      ? null
      : `the restored source was of run ${own.id} (${own.planName}), the target is of run ${other.id} (${other.planName})`);
  if (wrong !== null) {
    throw new SwitchbackError('refused', wrong, {
      remedy:
        'lead the URLs to the target of the run and to what was restored of its source, then give the command again',
    });
  }
  const changes = diffPlans(other.plan as Json, plan.canonical).filter(({ path }) => !MAY_DIFFER.test(path));
  if (changes.length === 0) return;
  throw new SwitchbackError(
    'refused',
    `the plan has changed since the run began: ${changes.map(({ path, before, after }) => `${path}: ${before} → ${after}`).join('; ')}`,
    { remedy: `put these back: only source, routers and snapshots may differ here: switchback check ${plan.path}` },
  );
};

/** Only of a primary that is lifted is it known that nobody has written anywhere else since. */
const assertOnTarget = ({ context, stated }: LookOptions, rows: readonly Ownership[]): void => {
  for (const { name } of context.plan.phases) {
    const row = rows.find(({ phase }) => phase === name);
    if (row?.role === 'primary' && (!row.fenced || stated.get(name) === 'target')) continue;
    if (row?.role === 'primary') throw inTheMiddle(context, name);
    throw new SwitchbackError(
      'refused',
      `phase ${name} is not on the target: the source that is lost was its primary`,
      {
        remedy:
          'what was written there after the snapshot is in the change archive or nowhere; this command goes back from the target only: docs/runbook.md says what can be done',
      },
    );
  }
};

const inTheMiddle = ({ plan }: RunContext, phase: string): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `a failback of phase ${phase} was under way when the source was lost: whether it was committed is not known any more`,
    {
      remedy: `find out whether the application has written to the old source after it; if it has not: switchback failback ${plan.path} ${phase} --from-snapshot --primary ${phase}=target --confirm ${phase}`,
    },
  );

/**
 * Makes a restored database the run's source: the target is told first, then the restored sidecar forgets what it was restored
 * with, then a rebuild concludes from the target what the source's sidecar has to say (`stages/rebuild`). Whatever crash leaves
 * it half-way, every other command refuses, and this one goes on. Nothing of the application changes. Throws kind `refused` when
 * a phase has moved meanwhile, `parked` when a rebuild cannot tell where the application may write.
 */
export const adopt = async (
  options: LookOptions & { readonly signal: AbortSignal },
  looked: RestoredSource,
): Promise<void> => {
  if (looked.stands === 'adopted') return;
  if (looked.stands === 'foreign') await takePlace(options, looked);
  // What a person has stated is in the restored sidecar's record of the switch by now.
  const known = { ...options, stated: new Map() };
  const end = await rebuild(known, await propose(known));
  if (end.kind === 'rebuilt') return;
  const why = end.conclusions.flatMap((one) => (one.kind === 'parked' ? [`phase ${one.phase}: ${one.why}`] : []));
  throw new SwitchbackError('parked', `where the application may write is not known: ${why.join('; ')}`, {
    remedy:
      'find out on which side it wrote last, and state it: switchback resume PLAN --rebuild --primary PHASE=target',
  });
};

const takePlace = async (options: LookOptions, { run, restored, isOver }: RestoredSource): Promise<void> => {
  const { context } = options;
  const [source, target] = [await salvage(context.source.sql), await salvage(context.target.sql)];
  const phases = context.plan.phases.map(({ name }) => name);
  const row = await describeRun(context, { side: 'source', id: run });
  const epoch = (source.epoch > target.epoch ? source.epoch : target.epoch) + EPOCH_MARGIN;
  const peer = isOver ? await describeRun(context, { side: 'target', id: run }) : null;
  await context.target.sql.transaction(async (sql) => {
    if (peer) await beginAgain(sql, { peer, phases, epoch, by: context.holder });
    await claimSource(sql, { phases, identity: row.identity, place: restored.place, of: restored.of, epoch }, (rows) =>
      assertOnTarget(options, rows),
    );
    await writePlan(sql, context.plan);
  });
  failpoint('acted adopt/target');
  await context.source.sql.transaction(async (sql) => {
    await reinstallSidecar(sql, source.shape);
    await adoptSidecar(sql, { run: row, restored, phases, epoch, tables: source.run?.facts?.tables });
  });
  failpoint('acted adopt/source');
};

interface Again {
  readonly peer: Parameters<typeof writeRun>[1];
  readonly phases: readonly string[];
  readonly epoch: bigint;
  readonly by: string;
}

/** The target's part of a run that has ended, as it was: the application writes there. */
const beginAgain = async (sql: SqlExecutor, { peer, phases, epoch, by }: Again): Promise<void> => {
  await installSidecar(sql);
  await writeRun(sql, peer);
  await ownershipGuard({ phases, epoch, role: 'primary', fenced: false, by })(sql);
};
