import { sql as raw } from 'kysely';
import type { SqlExecutor } from '../domain/sql.ts';
import type { ChainEnd } from './chain.ts';
import { build, execute, fetch } from './tables.ts';

/** Stores a certificate under its id, whole. */
export const writeCertificate = async (
  sql: SqlExecutor,
  certificate: { readonly id: string; readonly phase: string },
): Promise<void> => {
  await execute(
    sql,
    build
      .insertInto('certificate')
      .values({ id: certificate.id, phase: certificate.phase, doc: JSON.stringify(certificate) }),
  );
};

/** A stored certificate and its age by the server's clock. */
export interface StoredCertificate<Document> {
  readonly document: Document;
  readonly at: string;
  readonly ageMs: number;
}

/** The newest certificate of a phase, or null. */
export const readCertificate = async <Document>(
  sql: SqlExecutor,
  phase: string,
): Promise<StoredCertificate<Document> | null> => {
  const [row] = await fetch(
    sql,
    build
      .selectFrom('certificate')
      .select(['doc', 'at', raw<string>`(extract(epoch from now() - at) * 1000)::bigint`.as('age')])
      .where('phase', '=', phase)
      .orderBy('at', 'desc')
      .limit(1),
  );
  return row ? { document: JSON.parse(row.doc) as Document, at: row.at, ageMs: Number(row.age) } : null;
};

/** One sample of a lane's lag. */
export interface LagSample {
  readonly lane: string;
  readonly at: string;
  readonly ms: number;
  readonly changes: number;
}

/** Samples kept per run: a day and a half at one in five seconds for one lane; older ones make room. */
const LAG_SAMPLES_KEPT = 25_000;

/** Stores a sample, and forgets the oldest ones. */
export const writeLag = async (sql: SqlExecutor, sample: Omit<LagSample, 'at'>): Promise<void> => {
  const [row] = await fetch(
    sql,
    build
      .insertInto('lag')
      .values({ lane: sample.lane, ms: String(Math.round(sample.ms)), changes: String(sample.changes) })
      .returning('id'),
  );
  const id = Number(row?.id ?? 0);
  if (id % 100 === 0) await execute(sql, build.deleteFrom('lag').where('id', '<', String(id - LAG_SAMPLES_KEPT)));
};

/** All samples, oldest first. */
export const readLag = async (sql: SqlExecutor): Promise<readonly LagSample[]> => {
  const rows = await fetch(sql, build.selectFrom('lag').select(['lane', 'at', 'ms', 'changes']).orderBy('id'));
  return rows.map((row) => ({ lane: row.lane, at: row.at, ms: Number(row.ms), changes: Number(row.changes) }));
};

/** Newest lag sample of each lane, with its age in milliseconds. */
export const readLatestLag = async (
  sql: SqlExecutor,
): Promise<ReadonlyMap<string, { readonly ms: number; readonly ageMs: number }>> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('lag')
      .distinctOn('lane')
      .select(['lane', 'ms', raw<string>`(extract(epoch from now() - at) * 1000)::bigint`.as('age')])
      .orderBy('lane')
      .orderBy('id', 'desc'),
  );
  return new Map(rows.map((row) => [row.lane, { ms: Number(row.ms), ageMs: Number(row.age) }]));
};

/**
 * Stores what somebody on call needs while the source is down, and notes with it where the journal's chain ended. An end
 * that is noted is never replaced: should the journal be cut and go on, the two do not agree.
 */
export const writeMirror = async (
  sql: SqlExecutor,
  key: string,
  { document, end }: { readonly document: unknown; readonly end: ChainEnd | null },
): Promise<void> => {
  const doc = JSON.stringify(document);
  const mirror = build
    .insertInto('mirror')
    .values({ key, doc })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ doc, at: raw<string>`now()` }));
  await execute(sql, mirror);
  if (end === null || end.id === 0n) return;
  await execute(
    sql,
    build
      .insertInto('chain_end')
      .values({ entry: String(end.id), hash: end.hash })
      .onConflict((conflict) => conflict.doNothing()),
  );
};

/** Puts the mirrored status aside under another key, where nothing writes over it, unless that has been done. */
export const keepMirror = async (sql: SqlExecutor, key: string): Promise<void> => {
  await execute(
    sql,
    build
      .insertInto('mirror')
      .columns(['key', 'doc'])
      .expression(
        build
          .selectFrom('mirror')
          .select([raw<string>`${key}::text`.as('key'), 'doc'])
          .where('key', '=', 'status'),
      )
      .onConflict((conflict) => conflict.doNothing()),
  );
};

/** Removes a mirrored document. */
export const removeMirror = async (sql: SqlExecutor, key: string): Promise<void> => {
  await execute(sql, build.deleteFrom('mirror').where('key', '=', key));
};

/** Reads a mirrored document and when it was written, or null. */
export const readMirror = async <Document>(
  sql: SqlExecutor,
  key: string,
): Promise<{ readonly document: Document; readonly at: string } | null> => {
  const [row] = await fetch(sql, build.selectFrom('mirror').select(['doc', 'at']).where('key', '=', key));
  return row ? { document: JSON.parse(row.doc) as Document, at: row.at } : null;
};

/** Stores objects that we created on the target, in order. */
export const writeCreated = async (sql: SqlExecutor, objects: readonly unknown[]): Promise<void> => {
  for (const [ordinal, object] of objects.entries()) {
    await execute(
      sql,
      build
        .insertInto('created')
        .values({ ordinal: String(ordinal), doc: JSON.stringify(object) })
        .onConflict((conflict) => conflict.doNothing()),
    );
  }
};

/** Objects that we created on the target, in order. */
export const readCreated = async <Created>(sql: SqlExecutor): Promise<readonly Created[]> => {
  const rows = await fetch(sql, build.selectFrom('created').select('doc').orderBy('ordinal'));
  return rows.map((row) => JSON.parse(row.doc) as Created);
};

/** Stores definitions of what is dropped for the copy, before it is dropped. */
export const writeDeferred = async (sql: SqlExecutor, phase: string, items: readonly unknown[]): Promise<void> => {
  for (const [ordinal, item] of items.entries()) {
    await execute(
      sql,
      build
        .insertInto('deferred')
        .values({ phase, ordinal: String(ordinal), doc: JSON.stringify(item), built: 'false' })
        .onConflict((conflict) => conflict.doNothing()),
    );
  }
};

/** Definitions of a phase that were dropped for the copy, in order. */
export const readDeferred = async <Item>(sql: SqlExecutor, phase: string): Promise<readonly Item[]> => {
  const rows = await fetch(
    sql,
    build.selectFrom('deferred').select('doc').where('phase', '=', phase).orderBy('ordinal'),
  );
  return rows.map((row) => JSON.parse(row.doc) as Item);
};
