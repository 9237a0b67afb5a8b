import type { Finding } from '../../../../domain/finding.ts';
import { displayName } from '../../../../domain/table.ts';
import { quoteName, quoteTable } from '../../../../platform/postgres/quote.ts';
import type { RoleFacts } from '../facts/role.ts';

const judgeServerPrivileges = (facts: RoleFacts): readonly Finding[] => {
  const role = quoteName(facts.role);
  const database = quoteName(facts.database);
  const missing = (severity: Finding['severity'], fact: string, remedy: string): Finding => ({
    id: 'privilege/missing',
    severity,
    subject: facts.side,
    fact: `role ${role} ${fact}`,
    remedy,
  });
  const findings: Finding[] = [];
  if (!facts.replication) {
    const remedy = facts.managed ? `GRANT rds_replication TO ${role};` : `ALTER ROLE ${role} REPLICATION;`;
    findings.push(missing('blocks', 'may not read a replication slot', remedy));
  }
  if (facts.applierRemedy !== null) {
    findings.push(missing('blocks', 'may not set session_replication_role', `as a superuser: ${facts.applierRemedy}`));
  }
  if (!facts.createsInDatabase) {
    const remedy = `GRANT CREATE ON DATABASE ${database} TO ${role};`;
    findings.push(missing('blocks', 'may not create a schema or a publication', remedy));
  }
  if (!facts.temporary) {
    const remedy = `GRANT TEMPORARY ON DATABASE ${database} TO ${role};`;
    findings.push(missing('blocks', 'may not create temporary tables', remedy));
  }
  if (!facts.signals) {
    const remedy = `GRANT pg_signal_backend TO ${role};`;
    findings.push(missing('warns', 'may not end the sessions that block a switch', remedy));
  }
  if (!facts.readsStats) {
    const remedy = `GRANT pg_read_all_stats TO ${role};`;
    findings.push(missing('warns', 'is not shown the statements of the sessions that block a switch', remedy));
  }
  return findings;
};

const judgeObjectPrivileges = (facts: RoleFacts, writes: boolean): readonly Finding[] => {
  const role = quoteName(facts.role);
  const findings: Finding[] = [];
  for (const table of facts.notOwned) {
    findings.push({
      id: 'privilege/not-owner',
      severity: 'blocks',
      subject: `${displayName(table)} on the ${facts.side}`,
      fact: `belongs to "${table.owner}"; only an owner can publish and fence it`,
      remedy: `GRANT ${quoteName(table.owner)} TO ${role};`,
    });
  }
  for (const schema of facts.schemas) {
    const wanted = [...(schema.usage ? [] : ['USAGE']), ...(schema.create || !writes ? [] : ['CREATE'])];
    if (wanted.length === 0) continue;
    findings.push({
      id: 'privilege/schema',
      severity: 'blocks',
      subject: `schema ${schema.name} on the ${facts.side}`,
      fact: `role ${role} lacks ${wanted.join(' and ')}`,
      remedy: `GRANT ${wanted.join(', ')} ON SCHEMA ${quoteName(schema.name)} TO ${role};`,
    });
  }
  for (const sequence of facts.sequences) {
    findings.push({
      id: 'privilege/sequence',
      severity: 'blocks',
      subject: `${displayName(sequence)} on the ${facts.side}`,
      fact: `role ${role} may not both read and set it`,
      remedy: `GRANT SELECT, UPDATE ON SEQUENCE ${quoteTable(sequence)} TO ${role};`,
    });
  }
  return findings;
};

/** Judges what our role lacks on a side; `buildsIndexes` where it also makes indexes, which takes CREATE on their schemas. */
export const judgeRole = (facts: RoleFacts, options: { readonly buildsIndexes: boolean }): readonly Finding[] =>
  facts.superuser ? [] : [...judgeServerPrivileges(facts), ...judgeObjectPrivileges(facts, options.buildsIndexes)];
