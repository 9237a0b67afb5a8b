import type { Finding } from '../../../domain/finding.ts';
import type { Sequence, Table, TableName } from '../../../domain/table.ts';
import type { PostgresServer } from '../../../platform/postgres/server.ts';
import { type GrantFacts, readGrants } from './facts/grants.ts';
import { readRelations } from './facts/relations.ts';
import { readReplication } from './facts/replication.ts';
import { readRole } from './facts/role.ts';
import { readSchema } from './facts/schema.ts';
import { readServer } from './facts/server.ts';
import { readExisting, readExtensions, readFilled } from './facts/target.ts';
import { judgeDrift } from './judge/drift.ts';
import { judgeGrants } from './judge/grants.ts';
import { judgeProtection } from './judge/protection.ts';
import { judgeRowAccess, judgeSourceRelations, type Placement } from './judge/relations.ts';
import { judgeReplication } from './judge/replication.ts';
import { judgeRole } from './judge/role.ts';
import { judgePair, judgeServer } from './judge/server.ts';
import { judgeExisting, judgeExtensions, judgeFilled } from './judge/target.ts';
import { look } from './look.ts';

/** One phase's relations, from the source's catalogue. */
export interface CheckedPhase {
  readonly name: string;
  readonly tables: readonly Table[];
  readonly roots: readonly TableName[];
  readonly sequences: readonly Sequence[];
}

/** What is checked, and how far it has come. */
export interface PostgresChecksInput {
  readonly source: PostgresServer;
  readonly target: PostgresServer;
  readonly scope: { readonly phases: ReadonlyMap<string, CheckedPhase>; readonly ignored: readonly TableName[] };
  /** Phases whose target tables may hold rows. */
  readonly begun: ReadonlySet<string>;
  /** Whether the target's tables stand as they will be; before that, they must not exist. */
  readonly schemaReady: boolean;
  /** Phases whose indexes and foreign keys are put off on the target at the moment. None without it. */
  readonly copying?: ReadonlySet<string>;
}

/** The input with what all areas need from it. */
interface Checked extends PostgresChecksInput {
  /** Tables and roots of all phases. */
  readonly relations: readonly TableName[];
  readonly sequences: readonly TableName[];
}

type Area = (input: Checked) => Promise<readonly Finding[]>;

const servers: Area = async ({ source, target, scope, schemaReady }) => {
  const [a, b] = await Promise.all([readServer(source), readServer(target)]);
  const lanes = scope.phases.size;
  const made = schemaReady ? 0 : a.relations;
  return [...judgePair(a, b), ...judgeServer(a, { lanes, made: 0 }), ...judgeServer(b, { lanes, made })];
};

const roles: Area = async ({ source, target, relations, sequences }) => {
  const wanted = { tables: relations, sequences };
  const [a, b] = await Promise.all([readRole(source, wanted), readRole(target, wanted)]);
  return [...judgeRole(a, { buildsIndexes: false }), ...judgeRole(b, { buildsIndexes: true })];
};

const placementOf = ({ scope }: Checked): Placement => {
  const key = (table: TableName) => `${table.schema}\0${table.name}`;
  const ignored = new Set(scope.ignored.map(key));
  const phases = new Map<string, { phase: string }>();
  for (const [phase, { tables, roots }] of scope.phases) {
    for (const table of [...tables, ...roots]) phases.set(key(table), { phase });
  }
  return (table) => phases.get(key(table)) ?? (ignored.has(key(table)) ? 'ignored' : undefined);
};

const surroundings: Area = async (input) => {
  const { source, target, relations } = input;
  const [a, b] = await Promise.all([readRelations(source, relations), readRelations(target, relations)]);
  const [mine, theirs] = await Promise.all([readAccess(source), readAccess(target)]);
  return [...judgeSourceRelations(a, placementOf(input)), ...judgeRowAccess(a, mine), ...judgeRowAccess(b, theirs)];
};

const readAccess = async (server: PostgresServer) => {
  const { rows } = await server.query(
    'SELECT rolname AS role, rolsuper OR rolbypassrls AS bypasses FROM pg_roles WHERE rolname = current_user',
  );
  return { side: server.label, role: rows[0]?.role ?? '', bypassesRowSecurity: rows[0]?.bypasses === 't' };
};

const others: Area = async ({ source, target, relations }) => {
  const of = (server: PostgresServer) =>
    look(server, {
      what: 'who else replicates these tables',
      grant: 'GRANT SELECT (subname, subenabled, subdbid) ON pg_subscription TO <our role>;',
      read: (sql) => readReplication(sql, { side: server.label, tables: relations }),
    });
  const looked = await Promise.all([of(source), of(target)]);
  return looked.flatMap(({ facts, findings }) => (facts === null ? findings : judgeReplication(facts)));
};

const grants: Area = async ({ source, target, relations, sequences, schemaReady }) => {
  const wanted = [...relations, ...sequences];
  const [a, b]: readonly GrantFacts[] = await Promise.all([readGrants(source, wanted), readGrants(target, wanted)]);
  return a === undefined || b === undefined ? [] : judgeGrants(a, b, { schemaReady });
};

/** The target as it must be before its schema is made. */
const bareTarget: Area = async ({ source, target, relations, schemaReady }) => {
  if (schemaReady) return [];
  const [existing, here, there] = await Promise.all([
    readExisting(target, relations),
    readExtensions(source),
    readExtensions(target),
  ]);
  return [...judgeExisting(existing), ...judgeExtensions(here.installed, there.available)];
};

/** The target as it must be from then on. */
const madeTarget: Area = async ({ source, target, scope, relations, begun, copying, schemaReady }) => {
  if (!schemaReady) return [];
  const phases = [...scope.phases.values()];
  const untouched = phases.filter(({ name }) => !begun.has(name)).flatMap(({ tables }) => tables);
  const deferred = phases
    .filter(({ name }) => copying?.has(name))
    .flatMap(({ tables, roots }) => [...tables, ...roots]);
  const [here, there, filled] = await Promise.all([
    readSchema(source, relations),
    readSchema(target, relations),
    look(target, {
      what: 'whether tables are empty',
      grant: 'GRANT SELECT ON ALL TABLES IN SCHEMA … TO <our role>;',
      read: (sql) => readFilled(sql, untouched),
    }),
  ]);
  return [
    ...judgeDrift(here, there, deferred),
    ...(filled.facts === null ? filled.findings : judgeFilled(filled.facts)),
  ];
};

/** Nothing is asked of the servers: what their URLs mean is known. */
const protection: Area = async ({ source, target }) => [...judgeProtection(source), ...judgeProtection(target)];

const AREAS: readonly Area[] = [protection, servers, roles, surroundings, others, grants, bareTarget, madeTarget];

/**
 * Everything that preflight finds about two PostgreSQL databases, whatever the engine. All areas are looked at and all
 * findings reported. Changes nothing. Throws kind `unreachable` when a side cannot be asked, and what the server said when
 * we could not look for another reason than a missing privilege.
 */
export const postgresChecks = async (input: PostgresChecksInput): Promise<readonly Finding[]> => {
  const phases = [...input.scope.phases.values()];
  const checked: Checked = {
    ...input,
    relations: phases.flatMap(({ tables, roots }) => [...tables, ...roots]),
    sequences: phases.flatMap(({ sequences }) => sequences),
  };
  const findings: Finding[] = [];
  // One area after the other: each asks both sides at once, and a busy source has better things to do than check itself.
  for (const area of AREAS) findings.push(...(await area(checked)));
  return findings;
};
