import { SwitchbackError } from '../../domain/errors.ts';
import { displayName } from '../../domain/table.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { textOf } from '../../platform/postgres/row.ts';
import { codeOf } from '../../platform/postgres/server.ts';
import type { LaneProgress } from '../engine.ts';
import type { NativeContext } from './context.ts';
import { countsMarkers, makeArrivals } from './marker.ts';
import { explainSubscribing } from './reach.ts';
import { assertSameSchemas, publishedTables } from './schemas.ts';
import { freeSlot } from './slot.ts';
import { dissolve, readSubscription, subscribe } from './subscription.ts';
import { noteKeys } from './touched.ts';

/** Enabled subscriptions that write to this side what a publication of the same name on the other side publishes. */
const OPPOSITE = `
  SELECT s.subname::text AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
   WHERE d.datname = current_database() AND s.subenabled AND $1 = ANY (s.subpublications)`;

const READY = `
  SELECT n.nspname AS schema, c.relname AS name FROM pg_subscription_rel r
    JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE r.srsubid = $1::oid AND r.srsubstate = 'r'`;

/**
 * Whether a subscription that runs already, because the worker that began it was killed, takes all that is published. Tables
 * that came since are not its: it would pass over their rows.
 */
const takesAll = async ({ spec, from, to }: NativeContext, oid: string): Promise<boolean> => {
  const published = await publishedTables(from, spec.publication);
  const { rows } = await to.query(READY, [oid]);
  const ready = new Set(rows.map((row) => displayName({ schema: textOf(row, 'schema'), name: textOf(row, 'name') })));
  return published !== null && published.length === ready.size && published.every((t) => ready.has(displayName(t)));
};

const assertAlone = async ({ spec, from }: NativeContext): Promise<void> => {
  const [other] = (await from.query(OPPOSITE, [spec.publication])).rows;
  if (other === undefined) return;
  throw new SwitchbackError(
    'busy',
    `subscription ${other.name} on the ${from.label} still brings changes the other way; lane ${spec.lane} waits for its end`,
    { remedy: 'it is ended with its lane: switchback resume PLAN; then give the command again' },
  );
};

const UNDEFINED_TABLE = '42P01';
const LOCK_NOT_AVAILABLE = '55P03';
/** For a trigger, and between two attempts: everybody queues behind it, and in the window of a switch nobody can wait for long. */
const LOCK_ATTEMPT_MS = 200;
/** Somebody who holds a table's lock for longer is told of. */
const LOCKED_MS = 3_000;

/**
 * Makes the lane's subscription run from where the lane is. One that runs is taken over; any other is made anew, so that
 * nothing of an earlier one (tables, address, what it had counted) is left. Resolves with the lane's progress.
 *
 * One transaction on the written side, under the epoch of whoever does it (S7): a worker that slept can neither make one nor
 * enable it. Kind `halted` when the schemas differ; `busy` while the lane the other way still runs, whose changes would come
 * back (S9), or while a table of the written side stays locked; `unreachable` when the servers do not reach each other.
 */
export const startSubscription = async (
  context: NativeContext,
  claimed: LaneProgress,
  signal: AbortSignal,
): Promise<LaneProgress> => {
  const begunMs = monotonicMs();
  for (;;) {
    try {
      return await attempt(context, claimed);
    } catch (error) {
      if (codeOf(error) !== LOCK_NOT_AVAILABLE || monotonicMs() - begunMs > LOCKED_MS) throw error;
    }
    await sleep(LOCK_ATTEMPT_MS, signal);
  }
};

const attempt = async (context: NativeContext, claimed: LaneProgress): Promise<LaneProgress> => {
  const { spec, from, to } = context;
  await assertSameSchemas(context);
  const found = await readSubscription(to, spec.slot);
  if (found?.enabled && (await takesAll(context, found.oid)) && (await countsMarkers(to, spec))) return claimed;
  await dissolve(context);
  await assertAlone(context);
  await freeSlot(from, spec.slot);
  return await to.transaction(async (sql) => {
    const progress = (await spec.store.progress(sql)) ?? claimed;
    await spec.store.record(sql, progress);
    await sql.query(`SET LOCAL lock_timeout = ${LOCK_ATTEMPT_MS}`);
    await makeArrivals(sql, spec, progress.marker);
    await noteKeys(sql, spec);
    await subscribe(sql, context, progress).catch(async (error: unknown) => {
      // A table that has just been published, and is not here.
      if (codeOf(error) === UNDEFINED_TABLE) await assertSameSchemas(context);
      throw explainSubscribing(context, error);
    });
    return progress;
  });
};
