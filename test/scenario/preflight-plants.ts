import type { Finding } from '../../src/domain/finding.ts';
import { type ChangeInput, phasesOf } from '../support/checks.ts';

/** A problem, how it is made, and what must be found. */
export interface Plant {
  readonly what: string;
  readonly source?: string;
  readonly target?: string;
  readonly check?: ChangeInput;
  readonly finding: string;
  readonly severity: Finding['severity'];
  /** What else follows from the same problem. */
  readonly also?: readonly string[];
  readonly fact?: RegExp;
}

/** Every problem that can be made with statements; each copy of the clean pair gets one. */
export const PLANTS: readonly Plant[] = [
  {
    what: 'a table without a primary key',
    source: 'ALTER TABLE shop.purchase DROP CONSTRAINT purchase_pkey',
    finding: 'table/no-identity',
    severity: 'blocks',
    also: ['drift/unique-index', 'table/identity-differs'],
    fact: /no primary key/,
  },
  {
    what: 'a deferrable primary key',
    source: 'ALTER TABLE shop.purchase DROP CONSTRAINT purchase_pkey, ADD PRIMARY KEY (id) DEFERRABLE',
    finding: 'table/no-identity',
    severity: 'blocks',
    also: ['drift/unique-index', 'table/identity-differs'],
    fact: /deferrable/,
  },
  {
    what: 'replica identity NOTHING',
    source: 'ALTER TABLE shop.purchase REPLICA IDENTITY NOTHING',
    finding: 'table/no-identity',
    severity: 'blocks',
  },
  {
    what: 'a chosen identity whose index is gone',
    source: `CREATE UNIQUE INDEX other ON shop.customer (email); ALTER TABLE shop.customer REPLICA IDENTITY USING INDEX other;
             DROP INDEX shop.other`,
    finding: 'table/no-identity',
    severity: 'blocks',
    fact: /index .* is gone/,
  },
  {
    what: 'another identity on the target',
    target: `CREATE UNIQUE INDEX other ON shop.customer (email); ALTER TABLE shop.customer REPLICA IDENTITY USING INDEX other`,
    finding: 'table/identity-differs',
    severity: 'blocks',
  },
  {
    what: 'identity ALWAYS outside the key',
    source: 'ALTER TABLE shop.log ADD n bigint GENERATED ALWAYS AS IDENTITY',
    target: 'ALTER TABLE shop.log ADD n bigint GENERATED ALWAYS AS IDENTITY',
    finding: 'table/identity-always',
    severity: 'warns',
  },
  {
    what: 'an unlogged table',
    source: 'ALTER TABLE shop.log SET UNLOGGED',
    finding: 'table/unlogged',
    severity: 'blocks',
    also: ['drift/table'],
  },
  {
    what: 'large objects that a column refers to',
    source: 'ALTER TABLE shop.log ADD file oid; SELECT lo_create(0)',
    target: 'ALTER TABLE shop.log ADD file oid',
    finding: 'database/large-objects',
    severity: 'blocks',
    fact: /shop\.log\.file/,
  },
  {
    what: 'large objects that nobody refers to',
    source: 'SELECT lo_create(0)',
    finding: 'database/large-objects',
    severity: 'warns',
  },
  {
    what: 'a foreign table',
    source: `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE shop.far (id int) SERVER s`,
    finding: 'relation/foreign-table',
    severity: 'warns',
  },
  {
    what: 'a foreign table as a partition',
    source: `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE TABLE shop.part (id int) PARTITION BY LIST (id);
             CREATE FOREIGN TABLE shop.far PARTITION OF shop.part FOR VALUES IN (1) SERVER s`,
    target: 'CREATE TABLE shop.part (id int) PARTITION BY LIST (id)',
    finding: 'table/foreign-partition',
    severity: 'blocks',
    also: ['drift/table'],
  },
  {
    what: 'a materialised view',
    source: 'CREATE MATERIALIZED VIEW shop.counted AS SELECT count(*) FROM shop.log',
    target: 'CREATE MATERIALIZED VIEW shop.counted AS SELECT count(*) FROM shop.log',
    finding: 'relation/materialized-view',
    severity: 'warns',
  },
  {
    what: 'a foreign key that leaves its phase',
    check: (input) => {
      const all = [...input.scope.phases.values()];
      const inventory = {
        tables: all.flatMap((phase) => phase.tables),
        roots: all.flatMap((phase) => phase.roots),
        sequences: all.flatMap((phase) => phase.sequences),
      };
      return { scope: { phases: phasesOf(inventory, { rest: [], people: ['customer'] }), ignored: [] } };
    },
    finding: 'plan/foreign-key',
    severity: 'warns',
  },
  {
    what: 'a foreign key to an ignored table',
    source:
      'CREATE TABLE public.country (id int PRIMARY KEY); ALTER TABLE shop.log ADD country int REFERENCES public.country',
    target:
      'CREATE TABLE public.country (id int PRIMARY KEY); ALTER TABLE shop.log ADD country int REFERENCES public.country',
    check: (input) => ({ scope: { ...input.scope, ignored: [{ schema: 'public', name: 'country' }] } }),
    finding: 'plan/foreign-key',
    severity: 'blocks',
  },
  {
    what: 'an heir whose parent is in no phase',
    source: 'CREATE TABLE public.old_log (at timestamptz, line text); ALTER TABLE shop.log INHERIT public.old_log',
    finding: 'plan/inheritance',
    severity: 'blocks',
  },
  {
    what: 'a sequence that cycles',
    source: 'ALTER SEQUENCE shop.invoice MAXVALUE 1000 CYCLE',
    target: 'ALTER SEQUENCE shop.invoice MAXVALUE 1000 CYCLE',
    finding: 'sequence/cycles',
    severity: 'warns',
  },
  {
    what: 'a trigger on the target that fires for appliers',
    target: 'ALTER TABLE shop.customer ENABLE ALWAYS TRIGGER touch',
    finding: 'table/firing-trigger',
    severity: 'blocks',
  },
  {
    what: 'a trigger on the source that fires for appliers',
    source: 'ALTER TABLE shop.customer ENABLE REPLICA TRIGGER touch',
    finding: 'table/firing-trigger',
    severity: 'blocks',
  },
  {
    what: 'rows on the target',
    target: `INSERT INTO shop.log VALUES (now(), 'early')`,
    finding: 'target/not-empty',
    severity: 'blocks',
  },
  {
    what: 'a schema that is in the way of the one to be made',
    check: () => ({ schemaReady: false }),
    finding: 'target/table-exists',
    severity: 'blocks',
  },
  {
    what: 'an extension that the target cannot have',
    target: 'DROP SCHEMA shop CASCADE',
    source: `UPDATE pg_extension SET extname = 'ours_only' WHERE extname = 'plpgsql'`,
    check: () => ({ schemaReady: false }),
    finding: 'target/extension-unavailable',
    severity: 'blocks',
  },
  {
    what: 'an extension that the target has not',
    source: 'CREATE EXTENSION hstore',
    finding: 'drift/extension',
    severity: 'blocks',
  },
  {
    what: 'a table that the target has not',
    target: 'DROP TABLE shop.log',
    finding: 'drift/table',
    severity: 'blocks',
  },
  {
    what: 'a partition that only the target has',
    target: `CREATE TABLE shop.event_0 PARTITION OF shop.event FOR VALUES FROM ('2019-01-01') TO ('2020-01-01')`,
    finding: 'drift/table',
    severity: 'blocks',
    fact: /only on the target/,
  },
  {
    what: 'partitions with other bounds',
    target: `ALTER TABLE shop.event DETACH PARTITION shop.event_1; ALTER TABLE shop.event ATTACH PARTITION shop.event_1
             FOR VALUES FROM ('2020-06-01') TO ('2021-01-01')`,
    finding: 'drift/partition-bound',
    severity: 'blocks',
  },
  {
    what: 'a column that the target has not',
    source: 'ALTER TABLE shop.log ADD extra int',
    finding: 'drift/column',
    severity: 'blocks',
  },
  {
    what: 'a column that only the target has',
    target: 'ALTER TABLE shop.log ADD extra int',
    finding: 'drift/column',
    severity: 'blocks',
  },
  {
    what: 'a column of another type',
    target: 'ALTER TABLE shop.purchase ALTER total TYPE numeric(10,2)',
    finding: 'drift/column',
    severity: 'blocks',
    fact: /numeric\(10,2\).*numeric\(12,2\)/,
  },
  {
    what: 'NOT NULL on the target only',
    target: 'ALTER TABLE shop.log ALTER line SET NOT NULL',
    finding: 'drift/not-null',
    severity: 'blocks',
  },
  {
    what: 'another default',
    target: `ALTER TABLE shop.customer ALTER kind SET DEFAULT 'gold'`,
    finding: 'drift/default',
    severity: 'warns',
  },
  {
    what: 'another generated column',
    source: 'ALTER TABLE shop.log ADD g text GENERATED ALWAYS AS (upper(line)) STORED',
    target: 'ALTER TABLE shop.log ADD g text GENERATED ALWAYS AS (lower(line)) STORED',
    finding: 'drift/generated-column',
    severity: 'warns',
  },
  {
    what: 'another identity',
    target: 'ALTER TABLE shop.customer ALTER id SET GENERATED BY DEFAULT',
    finding: 'drift/identity',
    severity: 'warns',
  },
  {
    what: 'another collation',
    source: 'ALTER TABLE shop.log ADD c text COLLATE "C"',
    target: 'ALTER TABLE shop.log ADD c text COLLATE "POSIX"',
    finding: 'drift/collation',
    severity: 'warns',
  },
  {
    what: 'a check that only the target has',
    target: 'ALTER TABLE shop.purchase ADD CHECK (total > 0)',
    finding: 'drift/check',
    severity: 'blocks',
  },
  {
    what: 'another check of the same name',
    target: `ALTER TABLE shop.customer DROP CONSTRAINT customer_born_check, ADD CONSTRAINT customer_born_check CHECK (born > '1950-01-01')`,
    finding: 'drift/check',
    severity: 'warns',
  },
  {
    what: 'a unique index that only the target has',
    target: 'CREATE UNIQUE INDEX extra ON shop.purchase (invoice)',
    finding: 'drift/unique-index',
    severity: 'blocks',
  },
  {
    what: 'a unique index that the target has not',
    target: 'ALTER TABLE shop.customer DROP CONSTRAINT customer_email_key',
    finding: 'drift/unique-index',
    severity: 'blocks',
  },
  {
    what: 'an index that the target has not',
    target: 'DROP INDEX shop.customer_kind',
    finding: 'drift/index',
    severity: 'warns',
  },
  {
    what: 'a foreign key that the target has not',
    target: 'ALTER TABLE shop.purchase DROP CONSTRAINT purchase_customer_fkey',
    finding: 'drift/foreign-key',
    severity: 'warns',
  },
  {
    what: 'an exclusion that the target has not',
    target: 'ALTER TABLE shop.purchase DROP CONSTRAINT purchase_during_excl',
    finding: 'drift/exclusion',
    severity: 'warns',
  },
  {
    what: 'a trigger that the target has not',
    target: 'DROP TRIGGER touch ON shop.customer',
    finding: 'drift/trigger',
    severity: 'warns',
  },
  {
    what: 'enum labels that differ',
    source: `ALTER TYPE shop.mood ADD VALUE 'angry'`,
    finding: 'drift/enum',
    severity: 'blocks',
  },
  {
    what: 'a domain that differs',
    target: `ALTER DOMAIN shop.code ADD CHECK (length(value) > 2)`,
    finding: 'drift/domain',
    severity: 'warns',
  },
  {
    what: 'a composite type that differs',
    target: 'ALTER TYPE shop.pair ADD ATTRIBUTE c int',
    finding: 'drift/composite-type',
    severity: 'blocks',
  },
  {
    what: 'a sequence that differs',
    target: 'ALTER SEQUENCE shop.invoice INCREMENT 1',
    finding: 'drift/sequence',
    severity: 'warns',
  },
  { what: 'a view that the target has not', target: 'DROP VIEW shop.gold', finding: 'drift/view', severity: 'warns' },
  {
    what: 'a function that the target has not',
    source: 'CREATE FUNCTION shop.f(int) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
    finding: 'drift/function',
    severity: 'warns',
  },
  {
    what: 'a publication that others read',
    source: 'CREATE PUBLICATION others FOR TABLE shop.log, shop.event',
    finding: 'replication/publication',
    severity: 'warns',
  },
  {
    what: 'a role that the target has not',
    source: 'CREATE ROLE clerk; GRANT SELECT ON shop.log TO clerk',
    finding: 'role/missing',
    severity: 'warns',
  },
  {
    what: 'a grant that the target has not',
    source: 'GRANT SELECT, INSERT ON shop.log TO PUBLIC',
    finding: 'role/grant-missing',
    severity: 'warns',
    fact: /PUBLIC has INSERT, SELECT/,
  },
  {
    what: 'a setting of the database that the target has not',
    source: `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database()); END $$`,
    finding: 'role/setting-missing',
    severity: 'warns',
  },
];
