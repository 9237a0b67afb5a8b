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

/** The newest certificate of every phase that has one, by phase. */
export const readCertificates = async <Document>(
  sql: SqlExecutor,
): Promise<ReadonlyMap<string, StoredCertificate<Document>>> => {
  const rows = await fetch(
    sql,
    build
      .selectFrom('certificate')
      .distinctOn('phase')
      .select(['phase', 'doc', 'at', raw<string>`(extract(epoch from now() - at) * 1000)::bigint`.as('age')])
      .orderBy('phase')
      .orderBy('at', 'desc'),
  );
  return new Map(
    rows.map((row) => [row.phase, { document: JSON.parse(row.doc) as Document, at: row.at, ageMs: Number(row.age) }]),
  );
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

/** Stores samples, at least one, by one statement, and forgets the oldest ones. */
export const writeLag = async (sql: SqlExecutor, samples: readonly Omit<LagSample, 'at'>[]): Promise<void> => {
  const values = samples.map(({ lane, ms, changes }) => ({
    lane,
    ms: String(Math.round(ms)),
    changes: String(changes),
  }));
  const rows = await fetch(sql, build.insertInto('lag').values(values).returning('id'));
  const ids = rows.map(({ id }) => Number(id));
  const newest = Math.max(...ids);
  if (ids.some((id) => id % 100 === 0))
    await execute(sql, build.deleteFrom('lag').where('id', '<', String(newest - LAG_SAMPLES_KEPT)));
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

/** A statement has at most 65,535 parameters; a list of 6,000 objects in as many statements took seconds. */
const ROWS_PER_STATEMENT = 1_000;

/** Items with their ordinals, in slices that one statement can store. */
const slices = <Item>(items: readonly Item[]): readonly (readonly (readonly [number, Item])[])[] => {
  const numbered = [...items.entries()];
  const starts = Array.from(
    { length: Math.ceil(items.length / ROWS_PER_STATEMENT) },
    (_, at) => at * ROWS_PER_STATEMENT,
  );
  return starts.map((start) => numbered.slice(start, start + ROWS_PER_STATEMENT));
};

/** Stores objects that we created on the target, in order. */
export const writeCreated = async (sql: SqlExecutor, objects: readonly unknown[]): Promise<void> => {
  for (const some of slices(objects)) {
    const rows = some.map(([ordinal, object]) => ({ ordinal: String(ordinal), doc: JSON.stringify(object) }));
    await execute(
      sql,
      build
        .insertInto('created')
        .values(rows)
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
  for (const some of slices(items)) {
    const rows = some.map(([ordinal, item]) => {
      return { phase, ordinal: String(ordinal), doc: JSON.stringify(item), built: 'false' };
    });
    await execute(
      sql,
      build
        .insertInto('deferred')
        .values(rows)
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
