import { randomBytes } from 'node:crypto';
import { SwitchbackError } from '../domain/errors.ts';
import { otherSide, type Side } from '../domain/position.ts';
import { diffPlans } from '../plan/diff.ts';
import type { Json } from '../plan/document.ts';
import { installSidecar } from '../sidecar/install.ts';
import { epochGuard } from '../sidecar/ownership.ts';
import { seedPhases } from '../sidecar/phases.ts';
import { type RunRow, readRun, writePlan, writeRun } from '../sidecar/run.ts';
import { isWhole, readShape } from '../sidecar/shape.ts';
import { SIDECAR_VERSION } from '../sidecar/tables.ts';
import { portsOf, type RunContext, type SidePorts } from './context.ts';
import { assertSound, notAdopted } from './damage.ts';
import { untilKnown } from './effect.ts';
import { assertRoutersRecorded } from './recorded-routers.ts';
import type { Tenure } from './tenure.ts';

/** What each side says of the run it belongs to; null where there is no sidecar. */
export interface RunRows {
  readonly source: RunRow | null;
  readonly target: RunRow | null;
}

const readSide = async (ports: SidePorts): Promise<RunRow | null> => {
  const shape = await readShape(ports.sql);
  if (!isWhole(shape, 'run') || shape.unreadable.some(({ table }) => table === 'run')) return null;
  return await readRun(ports.sql);
};

/**
 * Reads which run the two databases belong to and refuses what cannot be meant: the same database twice, sides swapped
 * against an earlier run, databases of different runs, a sidecar made by a newer version (faults 10, 61). Changes nothing.
 * Throws kind `parked` when something of the sidecars is damaged or gone: a run that lost one must not begin anew over the
 * databases that the old one has moved.
 */
export const readRuns = async (context: RunContext): Promise<RunRows> => {
  const rows = await readRunsLeft(context);
  await assertSound(context);
  return rows;
};

/** As {@link readRuns}, with what can be read of damaged sidecars: null is also a row that cannot be. */
export const readRunsLeft = async (context: RunContext): Promise<RunRows> => {
  const [source, target] = await Promise.all([context.source.sessions.describe(), context.target.sessions.describe()]);
  if (source.instance === target.instance) {
    throw new SwitchbackError('refused', `source and target are the same database (${source.identity})`, {
      remedy: `correct the URLs in the plan or in its environment, then: switchback check ${context.plan.path}`,
    });
  }
  const rows = { source: await readSide(context.source), target: await readSide(context.target) };
  const found = { source: source.identity, target: target.identity };
  for (const side of ['source', 'target'] as const) assertSide(side, rows[side], found[side]);
  assertPeer('source', rows.target, found.source);
  assertPeer('target', rows.source, found.target);
  if (rows.source && rows.target) assertPlace(rows.source, rows.target);
  if (rows.source && rows.target && rows.source.id !== rows.target.id) {
    throw new SwitchbackError(
      'refused',
      `the source belongs to run ${rows.source.id} (${rows.source.planName}), the target to run ${rows.target.id} (${rows.target.planName})`,
      { remedy: 'lead the URLs to the two databases of one run, then: switchback check PLAN' },
    );
  }
  return rows;
};

/** Throws kind `refused` unless a side is the one that its own records say, made by this version. */
export const assertSide = (side: Side, row: RunRow | null, identity: string): void => {
  if (!row) return;
  if (row.version !== SIDECAR_VERSION) {
    throw new SwitchbackError(
      'refused',
      `the ${side}'s sidecar has version ${row.version}; this is ${SIDECAR_VERSION}`,
      {
        remedy: 'go on with the version of Switchback that began the run; this one is told by: switchback --version',
      },
    );
  }
  if (row.side !== side) {
    throw new SwitchbackError('refused', `the plan's ${side} is the ${row.side} of run ${row.id} (${row.planName})`, {
      remedy:
        'source and target are swapped; they keep their names for the whole run, also after a cutover. Swap the URLs back, then: switchback check PLAN',
    });
  }
  if (row.identity !== identity) {
    if (row.facts.restored) throw notAdopted(row);
    // A copy of the database's files or a dump of our schema would say that it is part of the run; its slots are not.
    throw new SwitchbackError('refused', `run ${row.id} began on ${row.identity}; the ${side} is now ${identity}`, {
      remedy: `lead the ${side}'s URL to the database that the run began on; a restored copy cannot take its place. Then: switchback check PLAN`,
    });
  }
};

/** A side without a sidecar is the run's only if the other side knows it: an empty database is nobody's. */
const assertPeer = (side: Side, otherRow: RunRow | null, identity: string): void => {
  if (!otherRow || otherRow.peer === identity) return;
  throw new SwitchbackError(
    'refused',
    `run ${otherRow.id} began with ${otherRow.peer} as its ${side}; it is now ${identity}`,
    {
      remedy: `lead the ${side}'s URL to the database that the run began with, then: switchback check PLAN`,
    },
  );
};

/**
 * Once a restored place has become the run's source, what it was restored from, and other copies of that, are not it, although a
 * copy of files has the same identity. A rebuild of a source whose records are gone knows no place any more.
 */
const assertPlace = ({ facts: source }: RunRow, { id, facts: { sourcePlace } }: RunRow): void => {
  if (sourcePlace === undefined || source.restored?.place === sourcePlace || source.rebuilding === true) return;
  throw new SwitchbackError(
    'refused',
    `the source of run ${id} is ${sourcePlace} by now, restored from a snapshot; this is ${source.restored?.place ?? 'the one that it had before'}`,
    { remedy: "lead the source's URL to the database that was restored, then: switchback check PLAN" },
  );
};

/**
 * Refuses a plan that differs from the one the run was begun with, and says how; the plan's hash is pinned (fault 62).
 */
export const assertPlan = (context: RunContext, row: RunRow): void => {
  if (row.planHash === context.plan.hash) return;
  const changes = diffPlans(row.plan as Json, context.plan.canonical);
  throw new SwitchbackError(
    'refused',
    ['the plan has changed since the run began:', ...changes.map((c) => `  ${c.path}: ${c.before} → ${c.after}`)].join(
      '\n',
    ),
    {
      remedy:
        `if that is meant, and a reviewer agrees: switchback run ${context.plan.path} --accept-plan ${context.plan.hash.slice(0, 12)}` +
        ' (tables, phases, engine, schema and name cannot change while a run is under way)',
    },
  );
};

/** Parts of a plan that have taken effect once the run has begun. */
const FIXED = /^(name|engine|schema|ignore|phases)(\.|\[|$)/;

/** Refuses a changed plan unless the caller names its hash and the change is one that may be made under way. */
const assertAcceptable = ({ plan }: RunContext, row: RunRow, hash: string): void => {
  if (row.planHash === plan.hash) return;
  if (hash.length < 12 || !plan.hash.startsWith(hash)) {
    throw new SwitchbackError(
      'usage',
      `--accept-plan ${hash} is not the hash of ${plan.path}, which begins ${plan.hash.slice(0, 12)}`,
    );
  }
  const fixed = diffPlans(row.plan as Json, plan.canonical).filter((change) => FIXED.test(change.path));
  // A phase's routers and order may change: nothing in the databases depends on them.
  const refused = fixed.filter((change) => !/^phases\.[^.]+\.(router|reads|after)(\.|\[|$)/.test(change.path));
  if (refused.length > 0) {
    throw new SwitchbackError(
      'refused',
      `these cannot change while a run is under way: ${refused.map((c) => c.path).join(', ')}`,
      {
        remedy: `put these back as they were, then: switchback check ${plan.path}; or finish or abort the run and begin another`,
      },
    );
  }
};

/** Throws unless the run may go on with the context's plan: it is the pinned one, or the caller accepts the change. */
const assertPlanOr = (context: RunContext, row: RunRow, accepted: string | undefined): void => {
  if (accepted === undefined) assertPlan(context, row);
  else assertAcceptable(context, row, accepted);
};

/** An id for a run that is begun. */
export const newRunId = (): string => randomBytes(4).toString('hex');

/**
 * Makes the two databases a run: sidecars, run rows, phases. Safe to repeat. A run that stands on the source only is
 * completed if nothing of it has been begun, or all of it is over; otherwise, and with one on the target only, a sidecar has
 * been lost and {@link readRuns} refuses. A changed plan is judged only: {@link pinPlan} follows under the lease. Returns
 * the run's id.
 */
export const openRun = async (context: RunContext, accepted?: string): Promise<string> => {
  const rows = await readRuns(context);
  const known = rows.source ?? rows.target;
  if (known) assertPlanOr(context, known, accepted);
  if (rows.source && rows.target) return rows.source.id;
  const id = known?.id ?? newRunId();
  const source = makeSide(context, { side: 'source', id, after: Promise.resolve() });
  const made = await Promise.allSettled([source, makeSide(context, { side: 'target', id, after: source })]);
  // Not before both are over: whoever tries again would wait for the other's transaction, and find a run that he did not see.
  for (const side of made) if (side.status === 'rejected') throw side.reason;
  return id;
};

/**
 * Judges the plan once more now that the lease is ours, since somebody may have pinned another one before, and pins an
 * accepted change. What the source says decides, so it comes last: after a crash in between the old plan is in force.
 */
export const pinPlan = async (context: RunContext, tenure: Tenure, accepted?: string): Promise<void> => {
  const { plan, source, target } = context;
  const row = await readRun(source.sql);
  if (!row) throw new SwitchbackError('internal', 'the run is gone although its lease is ours');
  assertPlanOr(context, row, accepted);
  if (row.planHash === plan.hash) return;
  await assertRoutersRecorded(context);
  await untilKnown({
    act: async () => {
      await target.sql.transaction(async (sql) => {
        await epochGuard({ phases: 'all', epoch: tenure.epoch })(sql);
        await writePlan(sql, plan);
      });
      await tenure.act((sql) => writePlan(sql, plan));
      return undefined;
    },
  });
};

/** What a side's sidecar says of the run that it is a part of. Throws kind `unreachable`. */
export const describeRun = async (
  context: RunContext,
  { side, id }: Pick<RunRow, 'side' | 'id'>,
): Promise<Parameters<typeof writeRun>[1]> => {
  const sides = [side, otherSide(side)] as const;
  const [own, peer] = await Promise.all(sides.map((one) => portsOf(context, one).sessions.describe()));
  const { name: planName, hash: planHash, canonical: plan } = context.plan;
  const identities = { identity: own?.identity ?? '', peer: peer?.identity ?? '' };
  return { id, side, planName, planHash, plan, ...identities, version: SIDECAR_VERSION };
};

/** Makes a side's part of the run, which is there only once `after` has been done; making the tables needs not wait for that. */
const makeSide = async (
  context: RunContext,
  { side, id, after }: { readonly side: Side; readonly id: string; readonly after: Promise<void> },
): Promise<void> => {
  const { plan } = context;
  const run = await describeRun(context, { side, id });
  await portsOf(context, side).sql.transaction(async (sql) => {
    await installSidecar(sql);
    await writeRun(sql, run);
    if (side === 'source')
      await seedPhases(
        sql,
        plan.phases.map((phase) => phase.name),
      );
    await after;
  });
};
