import type { Finding } from '../../../../domain/finding.ts';
import { displayName } from '../../../../domain/table.ts';
import { quoteName, quoteTable, quoteText } from '../../../../platform/postgres/quote.ts';
import type { Grant, GrantFacts, SessionSetting } from '../facts/grants.ts';

const grantee = (name: string): string => (name === 'PUBLIC' ? name : quoteName(name));

const objectOf = (grant: Grant): string =>
  grant.on === 'SCHEMA' ? quoteName(grant.object.name) : quoteTable(grant.object);

const nameOf = (grant: Grant): string => (grant.on === 'SCHEMA' ? grant.object.name : displayName(grant.object));

/** One finding per object and grantee, with all the privileges. */
const judgeMissingGrants = (missing: readonly Grant[]): readonly Finding[] => {
  const groups = new Map<string, Grant[]>();
  for (const grant of missing) {
    const key = JSON.stringify([grant.on, grant.object, grant.grantee]);
    groups.set(key, [...(groups.get(key) ?? []), grant]);
  }
  return [...groups.values()].flatMap((group): readonly Finding[] => {
    const [first] = group;
    if (first === undefined) return [];
    const privileges = group.map((grant) => grant.privilege).join(', ');
    return [
      {
        id: 'role/grant-missing',
        severity: 'warns',
        subject: `${first.on.toLowerCase()} ${nameOf(first)}`,
        fact: `${grantee(first.grantee)} has ${privileges} on the source and not on the target`,
        remedy: `on the target: GRANT ${privileges} ON ${first.on} ${objectOf(first)} TO ${grantee(first.grantee)};`,
      },
    ];
  });
};

/** The application's own settings (`app.key`) may hold secrets, so their values are not shown. */
const shown = (setting: string): { readonly name: string; readonly value: string } => {
  const at = setting.indexOf('=');
  const name = setting.slice(0, at);
  return { name, value: name.includes('.') ? '…' : quoteText(setting.slice(at + 1)) };
};

const settingFinding = ({ role, setting }: SessionSetting): Finding => {
  const { name, value } = shown(setting);
  const whose = role === '' ? 'DATABASE …' : `ROLE ${quoteName(role)}`;
  return {
    id: 'role/setting-missing',
    severity: 'warns',
    subject: role === '' ? 'database' : `role ${role}`,
    fact: `sessions have ${name} = ${value} on the source and not on the target`,
    remedy: `on the target: ALTER ${whose} SET ${name} = ${value};`,
  };
};

const keyOf = (grant: Grant): string => JSON.stringify([grant.on, grant.object, grant.grantee, grant.privilege]);

/**
 * Judges whether the application's roles will be able to work on the target. Grants and settings of roles that are not
 * there at all are not told one by one; `schemaReady` is false as long as the tables are yet to be made there.
 */
export const judgeGrants = (
  source: GrantFacts,
  target: GrantFacts,
  options: { readonly schemaReady: boolean },
): readonly Finding[] => {
  const known = new Set([...target.roles, 'PUBLIC', '']);
  const wanted = new Set([...source.owners, ...source.grants.map((grant) => grant.grantee)]);
  const missingRoles = [...wanted].filter((role) => !known.has(role));
  const there = new Set(target.grants.map(keyOf));
  const owners = new Set(target.owners);
  const missingGrants = source.grants.filter(
    (grant) => known.has(grant.grantee) && !there.has(keyOf(grant)) && !owners.has(grant.grantee),
  );
  const settings = new Set(target.settings.map(({ role, setting }) => `${role}\0${setting}`));
  const missingSettings = source.settings.filter(
    ({ role, setting }) => known.has(role) && !settings.has(`${role}\0${setting}`),
  );
  return [
    ...missingRoles.map(
      (role): Finding => ({
        id: 'role/missing',
        severity: 'warns',
        subject: `role ${role}`,
        fact: 'owns or uses tables on the source and does not exist on the target',
        remedy: `on the target: CREATE ROLE ${quoteName(role)} …; as pg_dumpall --roles-only prints it`,
      }),
    ),
    ...(options.schemaReady ? judgeMissingGrants(missingGrants) : []),
    ...missingSettings.map(settingFinding),
  ];
};
