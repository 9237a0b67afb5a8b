import { randomBytes } from 'node:crypto';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { reinstallSidecar } from '../../sidecar/install.ts';
import { readChainEnd, writeJournal } from '../../sidecar/journal.ts';
import { assertLease, restoreLease } from '../../sidecar/lease.ts';
import { holdPlaces } from '../../sidecar/ownership.ts';
import { keepMirror } from '../../sidecar/records.ts';
import { type RunFacts, writeFacts, writeRun } from '../../sidecar/run.ts';
import { portsOf, type RunContext } from '../context.ts';
import { isHeld } from '../holder.ts';
import { describeRun } from '../open.ts';
import { Tenure } from '../tenure.ts';
import type { Remains } from './look.ts';

/**
 * Added to the newest epoch that is left. The newest epoch of all may have been raised by a worker that left no trace of it
 * in what is left; every switch and every take-over raises it by one and writes it to both sides, so it is behind by a few.
 */
export const EPOCH_MARGIN = 1_000n;

/**
 * Makes both sidecars stand again and takes the lease, above every epoch that somebody may still act under (S7). The first
 * entry of the journal says that it begins anew. From here until the end of the rebuild no other command acts on the run.
 * Throws kind `refused` while a worker holds the lease.
 */
export const beginRebuild = async (context: RunContext, remains: Remains): Promise<Tenure> => {
  await assertNoWorker(context, remains);
  const run = remains.source.run?.id ?? remains.target.run?.id ?? randomBytes(4).toString('hex');
  const epoch = remains.epoch + EPOCH_MARGIN;
  const lease = { run, epoch, over: remains.source.lease?.epoch ?? null };
  await makeStand(context, { side: 'source', run, remains }, async (sql) => {
    if (!(await restoreLease(sql, lease))) throw changed();
    const facts: RunFacts = { ...remains.source.run?.facts, rebuilding: true };
    await writeFacts(sql, facts);
    const phases = context.plan.phases.map(({ name }) => name);
    const entry = {
      epoch,
      scope: 'rebuild',
      phases,
      step: 'begin',
      status: 'done',
      detail: beginText(remains),
    } as const;
    const at = await assertLease(sql, epoch);
    await writeJournal(sql, await readChainEnd(sql), { at, ...entry, ms: null });
  });
  await makeStand(context, { side: 'target', run, remains }, async (sql) => {
    await keepMirror(sql, 'rebuild');
    const begun = remains.phases.some(({ evidence }) => evidence.target.hasTriggers || evidence.target.holdsRows);
    const { sourcePlace: _, ...rest } = remains.target.run?.facts ?? {};
    // As the source says it, which one that has lost its records cannot any more.
    const sourcePlace = remains.source.run?.facts?.restored?.place;
    const facts = sourcePlace === undefined ? rest : { ...rest, sourcePlace };
    await writeFacts(sql, begun ? { ...facts, schemaReady: true } : facts);
  });
  // Sessions of a worker whose lease is gone are found by their name only.
  for (const worker of remains.workers) {
    for (const side of ['source', 'target'] as const) await portsOf(context, side).sessions.endWorker(worker);
  }
  return await Tenure.take(context, run);
};

/** Somebody has changed what we looked at. */
export const changed = (): SwitchbackError =>
  new SwitchbackError('refused', 'something has changed since it was shown; nothing was concluded from it', {
    remedy: 'look at what is left now, then confirm that: switchback resume PLAN --rebuild',
  });

const assertNoWorker = async (context: RunContext, { source: { lease } }: Remains): Promise<void> => {
  if (!lease || !(await isHeld(context, lease))) return;
  throw new SwitchbackError('refused', `worker ${lease.holder} on ${lease.host} holds the lease`, {
    remedy: 'end that process, then give the command again: switchback resume PLAN --rebuild',
  });
};

const beginText = ({ source, target }: Remains): string => {
  const of = (side: Side, { shape }: Remains['source']): string => {
    if (!shape.exists) return `the sidecar of the ${side} was gone`;
    const parts = [
      ...shape.missing,
      ...shape.malformed,
      ...shape.unreadable.map(({ table, key }) => `${table} (${key})`),
    ];
    return parts.length === 0 ? '' : `damaged on the ${side}: ${parts.join(', ')}`;
  };
  const what = [of('source', source), of('target', target)].filter((text) => text !== '');
  const lost = source.shape.exists && !source.shape.missing.includes('journal') ? '' : 'the journal begins anew here; ';
  return `${lost}rebuilt from what was left${what.length > 0 ? ` (${what.join('; ')})` : ''}`;
};

interface Standing {
  readonly side: Side;
  readonly run: string;
  readonly remains: Remains;
}

const makeStand = async (
  context: RunContext,
  { side, run, remains }: Standing,
  more: (sql: Parameters<typeof writeJournal>[0]) => Promise<void>,
): Promise<void> => {
  const { plan } = context;
  const row = await describeRun(context, { side, id: run });
  await portsOf(context, side).sql.transaction(async (sql) => {
    await reinstallSidecar(sql, remains[side].shape);
    await writeRun(sql, row);
    await holdPlaces(
      sql,
      plan.phases.map(({ name }) => name),
      remains.epoch + EPOCH_MARGIN,
    );
    await more(sql);
  });
};
