import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Manifest } from '../../domain/snapshot.ts';
import { failpoint } from '../../platform/failpoint.ts';
import { quoteName } from '../../platform/postgres/quote.ts';
import { namesOf } from '../../platform/postgres/row.ts';
import { PostgresServer, redactUrl } from '../../platform/postgres/server.ts';
import { readPostgresUrl } from '../../platform/postgres/url.ts';
import { type Catalogue, requireNoTime } from '../local/catalogue.ts';
import { versionOf } from '../local/database.ts';
import { failedProgram, majorOf, programIn, type Run, runToEnd } from '../local/program.ts';
import { getFiles, type Spool, transferOf } from '../local/spool.ts';
import type { Destination, RestoredPlace, WaitOptions } from '../store.ts';
import type { DumpStored, PgDumpOptions } from './options.ts';
import { getOwn, giveOwn } from './own.ts';
import { Place, type PlaceMark, withDatabase } from './place.ts';

/** What a snapshot is restored with. */
export interface RestoreContext {
  readonly options: PgDumpOptions;
  readonly catalogue: Catalogue;
  readonly spool: Spool;
}

type DumpManifest = Manifest & { readonly store: DumpStored };

/** Restores a dump into a database of its own, which gets its name when it is whole. */
export const restoreDump = async (
  context: RestoreContext,
  { id, into }: { readonly id: string; readonly into: Destination },
  wait: WaitOptions,
): Promise<RestoredPlace> => {
  const { options } = context;
  requireNoTime(into);
  const manifest = (await context.catalogue.manifest(id)) as DumpManifest;
  const place = new Place(urlOf(options, into), { plan: options.plan, place: into.name });
  try {
    const mark = markOf(options, { id, into });
    const known = await requireOurs(place, mark);
    if (known !== null) return placeOf(place, mark, known.differences);
    const lacks = await requireFit(place, manifest, { options, purpose: into.purpose });
    const found = await fill({ ...context, place, mark, hasRoles: !lacks.some(isOfRoles) }, manifest, wait);
    const differences = [...lacks, ...found];
    await place.finish({ ...mark, state: 'done', differences });
    failpoint('restore:named');
    return placeOf(place, mark, differences);
  } finally {
    await place.close();
  }
};

/** Removes the place of a restore, or what there is of it. */
export const removeDump = async (
  options: PgDumpOptions,
  about: { readonly id: string; readonly into: Destination },
): Promise<void> => await removePlace(urlOf(options, about.into), markOf(options, about));

const markOf = (
  { plan }: PgDumpOptions,
  { id, into }: { readonly id: string; readonly into: Destination },
): PlaceMark => ({
  switchback: 'restored',
  plan,
  snapshot: id,
  place: into.name,
  state: 'restoring',
  differences: [],
});

/** A rehearsal may leave the choice to us; the source's own server is where its database fits for sure. */
const urlOf = (options: PgDumpOptions, { name, purpose, at }: Destination): string => {
  if (at !== null) return at;
  if (purpose === 'drill') return withDatabase(options.scratchUrl ?? options.sourceUrl, name.slice(0, 63));
  throw new SwitchbackError('usage', 'nothing says where to restore to', {
    remedy: 'name a database that is not there yet: postgresql://user@host:port/database',
  });
};

/** The mark of a place that stands already; null when there is nothing under its name. Throws kind `refused` for anything else. */
const requireOurs = async (place: Place, mark: PlaceMark): Promise<PlaceMark | null> => {
  const found = await place.find(place.name);
  if (found === null) return null;
  const { mark: theirs } = found;
  const isOurs = theirs?.plan === mark.plan && theirs.place === mark.place && theirs.state === 'done';
  if (isOurs && theirs.snapshot === mark.snapshot) return theirs;
  const what = isOurs ? `snapshot ${theirs.snapshot} is restored there` : 'it is not of this restore';
  throw new SwitchbackError('refused', `database ${place.name} of ${redactUrl(place.url)} is there already: ${what}`, {
    remedy: 'name a database that is not there yet; nothing is ever restored over another one',
  });
};

const isOfRoles = ({ id }: Finding): boolean => id === 'restore/roles';

/**
 * Looks, before anything is touched, whether the server can take the dump. Returns what will be otherwise than it was. Roles are
 * nobody's to make but the administrator's: a rehearsal goes on without them, a place that an application is to use does not.
 */
const requireFit = async (
  place: Place,
  { store, server }: DumpManifest,
  { options, purpose }: { readonly options: PgDumpOptions; readonly purpose: Destination['purpose'] },
): Promise<readonly Finding[]> => {
  const program = programIn(options.bin, 'pg_restore');
  const ours = await majorOf(program);
  if (ours < store.program) {
    throw new SwitchbackError(
      'refused',
      `${program} is of version ${ours}, and the dump was written by version ${store.program}`,
      {
        remedy: `install PostgreSQL's programs of version ${store.program} or later, or name their folder in \`snapshots.bin\``,
      },
    );
  }
  const theirs = await versionOf(place.server);
  if (theirs.major < Number.parseInt(server, 10)) {
    throw new SwitchbackError(
      'refused',
      `the server of ${redactUrl(place.url)} is ${theirs.text}, older than ${server} that the snapshot is of`,
      {
        remedy: 'restore on a server of the same version or a later one',
      },
    );
  }
  await requireExtensions(place, store);
  return await missingRoles(place, store, purpose);
};

const requireExtensions = async (place: Place, { database }: DumpStored): Promise<void> => {
  const { rows } = await place.server.query(
    `SELECT coalesce(json_agg(name), '[]') AS missing FROM unnest($1::text[]) name
      WHERE name NOT IN (SELECT name FROM pg_available_extensions)`,
    [database.extensions],
  );
  const missing = namesOf(rows[0] ?? {}, 'missing');
  if (missing.length === 0) return;
  throw new SwitchbackError('refused', `the server of ${redactUrl(place.url)} has no extension ${missing.join(', ')}`, {
    remedy: 'install the packages that bring them on that server, then give the command again',
  });
};

const missingRoles = async (
  place: Place,
  { database }: DumpStored,
  purpose: Destination['purpose'],
): Promise<readonly Finding[]> => {
  const { rows } = await place.server.query(
    `SELECT coalesce(json_agg(name), '[]') AS missing FROM unnest($1::text[]) name
      WHERE name NOT IN (SELECT rolname FROM pg_roles)`,
    [database.roles],
  );
  const missing = namesOf(rows[0] ?? {}, 'missing');
  if (missing.length === 0) return [];
  const fact = `the server of ${redactUrl(place.url)} has no role ${missing.join(', ')}`;
  const remedy = `make them there: ${missing.map((name) => `CREATE ROLE ${quoteName(name)}`).join('; ')}`;
  if (purpose === 'restore') throw new SwitchbackError('refused', fact, { remedy });
  const owned = `${fact}: everything belongs to our role, no rights are given, and what is for such a role alone is left out`;
  return [{ id: 'restore/roles', severity: 'warns', subject: place.name, fact: owned, remedy }];
};

interface FillContext extends RestoreContext {
  readonly place: Place;
  readonly mark: PlaceMark;
  readonly hasRoles: boolean;
}

/** Gets and proves every byte before the database is made, then fills it. Returns what is otherwise than on the source. */
const fill = async (context: FillContext, manifest: DumpManifest, wait: WaitOptions): Promise<readonly Finding[]> => {
  const { options, catalogue, spool, place, mark, hasRoles } = context;
  return await spool.with(place.draft, async (directory) => {
    const total = manifest.store.objects.reduce((sum, { bytes }) => sum + bytes, 0);
    const transfer = { envelope: catalogue.envelope, id: manifest.id, parallel: options.jobs, total };
    await getFiles(manifest.store.objects, directory, transferOf(transfer, wait));
    const own = await getOwn(catalogue.envelope, manifest.store.own);
    failpoint('restore:proven');
    await place.begin(mark, manifest.store.database);
    failpoint('restore:begun');
    try {
      await load(context, directory, wait);
      await analyze(place);
      const differences = await giveOwn(place, own, hasRoles);
      failpoint('restore:filled');
      return differences;
    } catch (error) {
      await place.drop(place.draft).catch(() => undefined);
      throw error;
    }
  });
};

/** What it prints of itself, as against the names of things that it tells of. */
const ERROR = /^pg_restore: error:/;
/** What pg_restore says of itself that changes nothing: settings of newer versions that an older server does not know. */
const BENIGN = /unrecognized configuration parameter "transaction_timeout"|must be owner of extension/;
/** What is for one role alone, a policy or a user mapping, has nobody to be for where that is missing. */
const OF_ROLES = /ERROR: {2}role ".*" does not exist$/;

const load = async ({ options, place, hasRoles }: FillContext, directory: string, wait: WaitOptions): Promise<void> => {
  const { libpq, password } = readPostgresUrl(place.draftUrl, place.server.label);
  const errors: string[] = [];
  let items = 0;
  const run: Run = {
    program: programIn(options.bin, 'pg_restore'),
    args: [
      '--format=directory',
      `--jobs=${options.jobs}`,
      '--no-subscriptions',
      '--no-tablespaces',
      '--no-password',
      '--verbose',
      ...(hasRoles ? [] : ['--no-owner', '--no-privileges']),
      `--dbname=${libpq}`,
      directory,
    ],
    password,
    signal: wait.signal,
    onLine: (line) => {
      const isBenign = BENIGN.test(line) || (!hasRoles && OF_ROLES.test(line));
      if (ERROR.test(line) && !isBenign && errors.length < 20) errors.push(line);
      if (!/processing|creating|finished item/.test(line)) return;
      items += 1;
      wait.progress({ text: `pg_restore: ${items} steps`, percent: null });
    },
  };
  const end = await runToEnd(run);
  const isWhole = end.code === 0 || (end.code === 1 && /errors ignored on restore/.test(end.stderr));
  if (!isWhole || errors.length > 0) throw failedProgram(run, { ...end, stderr: errors.join('\n') || end.stderr });
};

/** What a dump does not carry of what it holds: the planner's statistics. */
const analyze = async (place: Place): Promise<void> => {
  const database = new PostgresServer({
    url: place.draftUrl,
    label: 'restored place',
    application: 'switchback:restore',
  });
  try {
    const session = await database.connect('restore');
    try {
      await session.query('ANALYZE');
    } finally {
      await session.end();
    }
  } catch (error) {
    throw database.wrap(error);
  } finally {
    await database.close();
  }
};

const placeOf = ({ url }: Place, mark: PlaceMark, differences: readonly Finding[]): RestoredPlace => ({
  url,
  differences,
  remove: () => removePlace(url, mark),
});

/** Looks again whose the database is, since a place may have been given another use long after. */
const removePlace = async (url: string, mark: PlaceMark): Promise<void> => {
  const place = new Place(url, { plan: mark.plan, place: mark.place });
  try {
    await place.drop(place.draft);
    if ((await place.find(place.name)) === null) return;
    await requireOurs(place, mark);
    await place.drop(place.name);
  } finally {
    await place.close();
  }
};
