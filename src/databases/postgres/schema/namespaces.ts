import type { SqlExecutor } from '../../../domain/sql.ts';
import { quoteName, quoteText } from '../../../platform/postgres/quote.ts';
import { textOf } from '../../../platform/postgres/row.ts';
import type { CreatedObject } from '../../schema.ts';

/** What a dump alters on a schema that is there already, such as `public`: who owns it, who may use it, its comment. */
export interface SchemaSettings {
  readonly owner: string;
  /** Sorted `GRANT` statements that give exactly the privileges that it has. */
  readonly grants: readonly string[];
  readonly grantees: readonly string[];
  readonly comment: string | null;
}

const SETTINGS = `
  SELECT n.nspname AS name, pg_get_userbyid(n.nspowner) AS owner, obj_description(n.oid, 'pg_namespace') AS comment,
         CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END AS grantee,
         a.privilege_type AS privilege, a.is_grantable AS grantable
  FROM pg_namespace n
  LEFT JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a ON true
  WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'switchback')
  ORDER BY n.oid, a.grantee, a.privilege_type`;

/** Reads the settings of every schema of the user's, by name. */
export const schemaSettings = async (sql: SqlExecutor): Promise<ReadonlyMap<string, SchemaSettings>> => {
  const { rows } = await sql.query(SETTINGS);
  const settings = new Map<string, SchemaSettings>();
  for (const [name, own] of Map.groupBy(rows, (row) => textOf(row, 'name'))) {
    const [first] = own;
    const granted = own.filter((row) => row.privilege !== null);
    const granteeOf = (row: (typeof own)[number]) => (row.grantee == null ? 'PUBLIC' : quoteName(row.grantee));
    settings.set(name, {
      owner: first === undefined ? '' : textOf(first, 'owner'),
      comment: first?.comment ?? null,
      grantees: [...new Set(granted.map(granteeOf))],
      grants: granted.map((row) => {
        const option = row.grantable === 't' ? ' WITH GRANT OPTION' : '';
        return `GRANT ${textOf(row, 'privilege')} ON SCHEMA ${quoteName(name)} TO ${granteeOf(row)}${option}`;
      }),
    });
  }
  return settings;
};

/** What has changed of schemas that were there before, each with the statement that puts it back; the owner first. */
export const settingsChanged = (
  before: ReadonlyMap<string, SchemaSettings>,
  after: ReadonlyMap<string, SchemaSettings>,
): readonly CreatedObject[] => {
  const changed: CreatedObject[] = [];
  for (const [name, old] of before) {
    const now = after.get(name);
    if (now === undefined) continue;
    const identity = quoteName(name);
    if (now.owner !== old.owner) {
      const drop = `ALTER SCHEMA ${identity} OWNER TO ${quoteName(old.owner)}`;
      changed.push({ kind: 'schema owner', identity, drop });
    }
    // The owner stands in privileges, too: a change of one is one of the other.
    if (now.owner !== old.owner || now.grants.join() !== old.grants.join()) {
      const grantees = [...new Set([...now.grantees, ...old.grantees, 'PUBLIC'])].join(', ');
      const drop = [`REVOKE ALL ON SCHEMA ${identity} FROM ${grantees}`, ...old.grants].join('; ');
      changed.push({ kind: 'schema privileges', identity, drop });
    }
    if (now.comment !== old.comment) {
      const drop = `COMMENT ON SCHEMA ${identity} IS ${old.comment === null ? 'NULL' : quoteText(old.comment)}`;
      changed.push({ kind: 'schema comment', identity, drop });
    }
  }
  return changed;
};
