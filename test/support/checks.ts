import { beforeAll } from 'vitest';
import type { Inventory } from '../../src/databases/database.ts';
import {
  type CheckedPhase,
  type PostgresChecksInput,
  postgresChecks,
} from '../../src/databases/postgres/checks/checks.ts';
import { postgresDatabase } from '../../src/databases/postgres/database.ts';
import type { StartOptions } from '../../src/demo/servers.ts';
import type { Finding } from '../../src/domain/finding.ts';
import type { TableName } from '../../src/domain/table.ts';
import { streamChecks } from '../../src/engines/stream/checks/checks.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { createDatabase, runSql, useServerPair } from './servers.ts';

/** A schema with one of nearly everything, and nothing that preflight would find. Runs on 13 and newer. */
export const CLEAN_SCHEMA = `
  CREATE SCHEMA shop;
  SET search_path = shop;
  CREATE TYPE mood AS ENUM ('glad', 'sad');
  CREATE TYPE pair AS (a int, b text);
  CREATE DOMAIN code AS varchar(8) CHECK (value ~ '^[A-Z]+$');
  CREATE SEQUENCE invoice INCREMENT 7;
  CREATE TABLE customer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email varchar(80) NOT NULL UNIQUE,
    kind varchar(10) NOT NULL DEFAULT 'plain' CHECK (kind IN ('plain', 'gold')),
    mood mood, code code, pair pair, tags text[] DEFAULT '{}',
    born date CHECK (born > '1900-01-01'),
    name text COLLATE "C",
    shout text GENERATED ALWAYS AS (upper(name)) STORED,
    made timestamptz NOT NULL DEFAULT now());
  CREATE INDEX customer_kind ON customer (kind) WHERE kind <> 'plain';
  CREATE TABLE purchase (
    id serial PRIMARY KEY, customer bigint NOT NULL REFERENCES customer ON DELETE CASCADE,
    invoice bigint DEFAULT nextval('shop.invoice'), total numeric(12,2) NOT NULL, during tstzrange,
    EXCLUDE USING gist (during WITH &&));
  CREATE TABLE event (id bigint, day date NOT NULL, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
  CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
  CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM ('2021-01-01') TO (MAXVALUE);
  CREATE TABLE log (at timestamptz, line text);
  ALTER TABLE log REPLICA IDENTITY FULL;
  CREATE VIEW gold AS SELECT * FROM customer WHERE kind = 'gold';
  CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.made = now(); RETURN NEW; END $$;
  CREATE TRIGGER touch BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION touch();
  RESET search_path;`;

/** A server of ours for a URL. The caller closes it. */
export const serverFor = (url: string, label: 'source' | 'target'): PostgresServer =>
  new PostgresServer({ url, label, application: 'switchback/test' });

/** Everything in schema `shop` as one phase, or the given tables (and their roots) as phases of their own. */
export const phasesOf = (
  inventory: Inventory,
  split: Readonly<Record<string, readonly string[]>> = { shop: [] },
): ReadonlyMap<string, CheckedPhase> => {
  const named = new Set(Object.values(split).flat());
  const phases = new Map<string, CheckedPhase>();
  for (const [name, members] of Object.entries(split)) {
    const isOurs = (table: TableName) =>
      table.schema === 'shop' && (members.length === 0 ? !named.has(table.name) : members.includes(table.name));
    phases.set(name, {
      name,
      tables: inventory.tables.filter((table) => isOurs(table.root ?? table)),
      roots: inventory.roots.filter(isOurs),
      sequences: members.length === 0 ? inventory.sequences : [],
    });
  }
  return phases;
};

/** The input for a check of all of `shop` as it stands on the source. */
export const checkInput = async (
  sides: { readonly source: PostgresServer; readonly target: PostgresServer },
  changes: Partial<PostgresChecksInput> = {},
): Promise<PostgresChecksInput> => ({
  ...sides,
  scope: { phases: phasesOf(await postgresDatabase(sides.source).inventory()), ignored: [] },
  begun: new Set(),
  schemaReady: true,
  ...changes,
});

/** A source and a target, by what a test needs of them. */
export type Sides<T> = Readonly<Record<'source' | 'target', T>>;

/** Servers of ours for two URLs, closed when the work is done. */
export const withServers = async <T>(
  urls: Sides<string>,
  work: (sides: Sides<PostgresServer>) => Promise<T>,
): Promise<T> => {
  const sides = { source: serverFor(urls.source, 'source'), target: serverFor(urls.target, 'target') };
  try {
    return await work(sides);
  } finally {
    await Promise.all([sides.source.close(), sides.target.close()]);
  }
};

/** Changes to the input of a check, made from the input itself. */
export type ChangeInput = (input: PostgresChecksInput) => Partial<PostgresChecksInput>;

/** Both sets of checks, as a plan with the stream engine has them run. */
export const checkAll = async (urls: Sides<string>, change: ChangeInput = () => ({})): Promise<readonly Finding[]> =>
  await withServers(urls, async (sides) => {
    const input = await checkInput(sides);
    const changed = { ...input, ...change(input) };
    const tables = [...changed.scope.phases.values()].flatMap((phase) => phase.tables);
    return [
      ...(await postgresChecks(changed)),
      ...(await streamChecks({ direction: 'forward', from: sides.source, tables })),
      ...(await streamChecks({ direction: 'reverse', from: sides.target, tables })),
    ];
  });

/** Findings without those about the one table that has no key on purpose. */
export const unexpected = (findings: readonly Finding[]): readonly Finding[] =>
  findings.filter((finding) => finding.id !== 'table/no-key');

/** Starts both servers with {@link CLEAN_SCHEMA} in database `clean`; `copies` makes a pair of databases like it. */
export const useCleanPair = (settings: StartOptions['settings'] = {}) => {
  const pair = useServerPair(settings);
  const clean = 'clean';
  let made = 0;
  beforeAll(async () => {
    for (const server of [pair().source, pair().target]) {
      await runSql(await createDatabase(server, clean), CLEAN_SCHEMA);
    }
  });
  const copies = async (): Promise<Sides<string>> => {
    const name = `copy_${++made}`;
    for (const server of [pair().source, pair().target]) {
      await runSql(server.url, `CREATE DATABASE ${name} TEMPLATE ${clean}`);
    }
    return { source: pair().source.urlFor(name), target: pair().target.urlFor(name) };
  };
  return { pair, clean, copies };
};
