import { messageOf } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Envelope, SealedObject } from '../../platform/objects/envelope.ts';
import { quoteName, quoteText } from '../../platform/postgres/quote.ts';
import { textOf } from '../../platform/postgres/row.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';

/** A right on a database. */
interface Right {
  /** Null for everybody. */
  readonly to: string | null;
  /** `CONNECT`. */
  readonly right: string;
  readonly isGrantable: boolean;
}

/**
 * What belongs to a database itself and to nothing in it, so that no dump carries it. Applications keep secrets in settings, so it
 * is an object of its own, which is encrypted where the rows are, and no part of the manifest. JSON.
 */
export interface OwnFacts {
  readonly owner: string;
  /** Null where nobody has ever given or taken one: everybody may connect, and make temporary tables. */
  readonly rights: readonly Right[] | null;
  /** `name=value`, set by ALTER DATABASE for all roles, where `role` is null, or for one in this database. */
  readonly settings: readonly { readonly role: string | null; readonly setting: string }[];
}

const OWN = `
  SELECT json_build_object(
    'owner', pg_get_userbyid(d.datdba),
    'rights', CASE WHEN d.datacl IS NOT NULL THEN (
      SELECT coalesce(json_agg(json_build_object('to', r.rolname, 'right', a.privilege_type, 'isGrantable', a.is_grantable)), '[]')
        FROM aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee) END,
    'settings', (
      SELECT coalesce(json_agg(json_build_object('role', r.rolname, 'setting', setting)), '[]')
        FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting LEFT JOIN pg_roles r ON r.oid = s.setrole
       WHERE s.setdatabase = d.oid)) AS own
  FROM pg_database d WHERE d.datname = current_database()`;

/** Reads it of the database that a server's URL leads to. */
export const readOwn = async (server: PostgresServer): Promise<OwnFacts> => {
  const [row = {}] = (await server.query(OWN)).rows;
  return JSON.parse(textOf(row, 'own')) as OwnFacts;
};

const once = async function* (text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
};

/** Keeps it beside a dump. */
export const putOwn = async (envelope: Envelope, id: string, own: OwnFacts): Promise<SealedObject> =>
  await envelope.put(`${id}/database.json`, once(JSON.stringify(own)));

/** Gets it again. Throws kind `refused` when it is not what was put. */
export const getOwn = async (envelope: Envelope, object: SealedObject): Promise<OwnFacts> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of envelope.get(object)) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString('utf8')) as OwnFacts;
};

/** Lists of names are kept as they were written, with quotes where they need them; as one literal they would be one name. */
const LISTS = new Set(['search_path', 'session_preload_libraries', 'local_preload_libraries', 'temp_tablespaces']);

/** A statement, with the database's name filled in, and what is said of it: never the value of a setting. */
interface Step {
  readonly sql: (database: string) => string;
  readonly what: string;
}

const settingStep = ({ role, setting }: OwnFacts['settings'][number]): Step => {
  const at = setting.indexOf('=');
  const [name, value] = [setting.slice(0, at), setting.slice(at + 1)];
  const quoted = name.split('.').map(quoteName).join('.');
  const set = `SET ${quoted} TO ${LISTS.has(name.toLowerCase()) && value !== '' ? value : quoteText(value)}`;
  if (role === null) return { sql: (database) => `ALTER DATABASE ${database} ${set}`, what: `the setting ${name}` };
  return {
    sql: (database) => `ALTER ROLE ${quoteName(role)} IN DATABASE ${database} ${set}`,
    what: `the setting ${name} of role ${role}`,
  };
};

const rightStep = ({ to, right, isGrantable }: Right): Step => ({
  sql: (database) =>
    `GRANT ${right} ON DATABASE ${database} TO ${to === null ? 'PUBLIC' : quoteName(to)}${isGrantable ? ' WITH GRANT OPTION' : ''}`,
  what: `${right} for ${to ?? 'everybody'}`,
});

/** The owner comes last: until then it is ours to give. */
const stepsOf = ({ owner, rights, settings }: OwnFacts, hasRoles: boolean): readonly Step[] => {
  const set = settings.filter(({ role }) => hasRoles || role === null).map(settingStep);
  if (!hasRoles) return set;
  const hand: Step = {
    sql: (database) => `ALTER DATABASE ${database} OWNER TO ${quoteName(owner)}`,
    what: `owner ${owner}`,
  };
  if (rights === null) return [...set, hand];
  const revoke: Step = {
    sql: (database) => `REVOKE ALL ON DATABASE ${database} FROM PUBLIC`,
    what: 'no rights for everybody',
  };
  return [...set, revoke, ...rights.map(rightStep), hand];
};

/** Whom a database is given to must be us, or somebody whose rights we have: else we could neither name it nor remove it. */
const REACHES = `SELECT coalesce(bool_or(pg_has_role(current_user, oid, 'USAGE')), false)::text AS reaches FROM pg_roles WHERE rolname = $1`;
const CONNECTS = `SELECT has_database_privilege(current_user, $1, 'CONNECT')::text AS connects`;

/** Makes a database of a name as the source's is, in place of what a new one is. Returns what could not be done. */
const give = async (server: PostgresServer, name: string, steps: readonly Step[]): Promise<readonly string[]> => {
  const database = quoteName(name);
  const failed: string[] = [];
  for (const { sql, what } of steps) {
    try {
      await server.query(sql(database));
    } catch (error) {
      // What is said of a setting may have its value in it.
      failed.push(what.startsWith('the setting') ? what : `${what} (${messageOf(error)})`);
    }
  }
  if ((await server.query(CONNECTS, [name])).rows[0]?.connects === 'true') return failed;
  await server.query(`GRANT CONNECT ON DATABASE ${database} TO CURRENT_USER`);
  return [...failed, 'no CONNECT for our own role, which needs it'];
};

/**
 * Gives a database what was the source's: settings, and where its roles are there rights and owner. Returns what is otherwise, as
 * findings that warn.
 */
export const giveOwn = async (
  place: { readonly server: PostgresServer; readonly draft: string; readonly name: string },
  own: OwnFacts,
  hasRoles: boolean,
): Promise<readonly Finding[]> => {
  const { server, draft, name } = place;
  const steps = stepsOf(own, hasRoles);
  const reaches = !hasRoles || (await server.query(REACHES, [own.owner])).rows[0]?.reaches === 'true';
  const failed = await give(server, draft, reaches ? steps : steps.slice(0, -1));
  const all = reaches ? failed : [...failed, `owner ${own.owner} (our role is not a member of it)`];
  if (all.length === 0) return [];
  const fact = `the database is not as the source's in this: ${all.join('; ')}`;
  const remedy = 'before it is used, as an administrator: ALTER DATABASE, GRANT, and ALTER ROLE … IN DATABASE';
  return [{ id: 'restore/database', severity: 'warns', subject: name, fact, remedy }];
};
