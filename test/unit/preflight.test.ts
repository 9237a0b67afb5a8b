import { describe, expect, test } from 'vitest';
import type { GrantFacts } from '../../src/databases/postgres/checks/facts/grants.ts';
import type { RelationFacts } from '../../src/databases/postgres/checks/facts/relations.ts';
import type { RoleFacts } from '../../src/databases/postgres/checks/facts/role.ts';
import type { ServerFacts } from '../../src/databases/postgres/checks/facts/server.ts';
import { judgeGrants } from '../../src/databases/postgres/checks/judge/grants.ts';
import {
  judgeRowAccess,
  judgeSourceRelations,
  type Placement,
} from '../../src/databases/postgres/checks/judge/relations.ts';
import { judgeReplication } from '../../src/databases/postgres/checks/judge/replication.ts';
import { judgeRole } from '../../src/databases/postgres/checks/judge/role.ts';
import { judgePair, judgeServer } from '../../src/databases/postgres/checks/judge/server.ts';
import { judgeExisting, judgeExtensions, judgeFilled } from '../../src/databases/postgres/checks/judge/target.ts';
import type { Finding } from '../../src/domain/finding.ts';
import type { TableName } from '../../src/domain/table.ts';
import type { OriginTable } from '../../src/engines/stream/checks/facts.ts';
import { judgeOrigin } from '../../src/engines/stream/checks/judge.ts';

/** Enough of a finding to recognise it by. */
const brief = (findings: readonly Finding[]): readonly string[] => findings.map((f) => `${f.severity} ${f.id}`);
const name = (text: string): TableName => ({ schema: 'shop', name: text });

describe('servers', () => {
  const good: ServerFacts = {
    side: 'source',
    database: 'shop',
    version: 130_023,
    instance: '1/2@3',
    servers: 1,
    standby: false,
    text: { encoding: 'UTF8', collate: 'C.UTF-8', ctype: 'C.UTF-8', collationVersion: null, recordedVersion: null },
    settings: {
      wal_level: 'logical',
      max_locks_per_transaction: '64',
      max_slot_wal_keep_size: '-1',
      wal_sender_timeout: '60000',
      default_transaction_read_only: 'off',
      fsync: 'on',
    },
    unpinned: [],
    slots: { max: 10, used: 0, ours: 0 },
    senders: { max: 10, used: 0 },
    connections: { max: 97, used: 10 },
    standbys: 0,
    bytes: 10_000_000,
    relations: 20_000,
    locks: 6_400,
    openTransactions: [],
  };
  const withSetting = (setting: string, value: string) => ({ settings: { ...good.settings, [setting]: value } });

  const cases: readonly (readonly [string, Partial<ServerFacts>, readonly string[]])[] = [
    ['nothing', {}, []],
    ['12.22', { version: 120_022 }, ['blocks server/version']],
    ['17.0', { version: 170_000 }, ['blocks server/version']],
    ['17.5', { version: 170_005 }, ['blocks server/version']],
    ['17.6', { version: 170_006 }, []],
    ['18.0', { version: 180_000 }, []],
    ['a standby', { standby: true }, ['blocks server/standby']],
    ['a load balancer', { servers: 2 }, ['blocks server/load-balanced']],
    ['a pooler', { unpinned: ['search_path'] }, ['blocks server/pooler']],
    ['wal_level', withSetting('wal_level', 'replica'), ['blocks server/wal-level']],
    ['slots: two lanes and one to spare', { slots: { max: 10, used: 7, ours: 0 } }, []],
    ['slots: one too few', { slots: { max: 10, used: 8, ours: 0 } }, ['blocks server/slots']],
    ['slots: both lanes have theirs', { slots: { max: 10, used: 9, ours: 2 } }, []],
    ['slots: all taken', { slots: { max: 10, used: 10, ours: 5 } }, ['blocks server/slots']],
    ['senders', { senders: { max: 4, used: 2 } }, ['blocks server/senders']],
    ['connections', { connections: { max: 97, used: 78 } }, ['warns server/connections']],
    ['connections for the lanes alone', { connections: { max: 97, used: 97 - 2 } }, ['warns server/connections']],
    ['connections: fewer than lanes', { connections: { max: 97, used: 97 - 1 } }, ['blocks server/connections']],
    ['slots keep enough', withSetting('max_slot_wal_keep_size', '10'), []],
    ['slots keep too little', withSetting('max_slot_wal_keep_size', '9'), ['warns server/slot-keep-size']],
    ['idle slots', withSetting('idle_replication_slot_timeout', '600'), ['warns server/idle-slots']],
    ['impatient senders', withSetting('wal_sender_timeout', '4999'), ['warns server/sender-timeout']],
    ['senders without a timeout', withSetting('wal_sender_timeout', '0'), []],
    ['transaction_timeout', withSetting('transaction_timeout', '1'), ['blocks server/timeout']],
    ['idle_session_timeout', withSetting('idle_session_timeout', '1'), ['blocks server/timeout']],
    ['fsync', withSetting('fsync', 'off'), ['warns server/fsync']],
    ['read-only', withSetting('default_transaction_read_only', 'on'), ['blocks server/read-only']],
    ['standbys without our slots', { standbys: 1 }, ['warns server/failover']],
    ['standbys with our slots', { standbys: 1, ...withSetting('sync_replication_slots', 'on') }, []],
    [
      'a prepared transaction',
      { openTransactions: [{ pid: 0, user: 'app', seconds: 99, query: `it's` }] },
      ['blocks server/prepared-transaction'],
    ],
    [
      'a long transaction',
      { openTransactions: [{ pid: 7, user: 'app', seconds: 99, query: 'UPDATE x' }] },
      ['warns server/long-transaction'],
    ],
  ];
  test.each(cases)('%s', (_, changes, expected) => {
    expect(brief(judgeServer({ ...good, ...changes }, { lanes: 2, made: 0 }))).toEqual(expected);
  });

  test('many lanes and many tables are told with the numbers that are needed', () => {
    const found = judgeServer(good, { lanes: 200, made: 22_000 });
    expect(found.map(({ id, severity, remedy }) => `${severity} ${id}: ${remedy.split(';')[0]}`)).toEqual([
      `blocks server/slots: ALTER SYSTEM SET max_replication_slots = '201'`,
      `blocks server/senders: ALTER SYSTEM SET max_wal_senders = '201'`,
      `blocks server/connections: ALTER SYSTEM SET max_connections = '431'`,
      `blocks server/locks: ALTER SYSTEM SET max_locks_per_transaction = '230'`,
    ]);
  });

  test('remedies quote what they name', () => {
    const open = [{ pid: 0, user: 'app', seconds: 99, query: `it's` }];
    const [finding] = judgeServer({ ...good, openTransactions: open }, { lanes: 1, made: 0 });
    expect(finding?.remedy).toContain(`ROLLBACK PREPARED 'it''s';`);
  });

  const target: ServerFacts = { ...good, side: 'target', version: 180_004, instance: '4/5@6' };
  const withText = (text: Partial<ServerFacts['text']>) => ({ text: { ...good.text, ...text } });
  const pairs: readonly (readonly [string, Partial<ServerFacts>, readonly string[]])[] = [
    ['nothing', {}, []],
    ['the same database', { instance: good.instance }, ['blocks server/same-database']],
    ['an older target', { version: 120_000 }, ['warns server/downgrade']],
    ['another encoding', withText({ encoding: 'LATIN1' }), ['blocks database/encoding']],
    ['another collation', withText({ collate: 'de_DE' }), ['warns database/collation']],
    ['a version that only one side knows', withText({ collationVersion: '2.31' }), []],
    [
      'indexes older than the collation',
      withText({ collationVersion: '2.36', recordedVersion: '2.31' }),
      ['blocks database/collation-changed'],
    ],
  ];
  test.each(pairs)('together: %s', (_, changes, expected) => {
    expect(brief(judgePair(good, { ...target, ...changes }))).toEqual(expected);
  });

  test('together: versions of one collation', () => {
    const source = { ...good, ...withText({ collationVersion: '2.31' }) };
    const other = { ...target, ...withText({ collationVersion: '2.36' }) };
    expect(brief(judgePair(source, other))).toEqual(['warns database/collation-version']);
  });
});

describe('roles', () => {
  const good: RoleFacts = {
    side: 'target',
    role: 'mover',
    database: 'shop',
    superuser: false,
    replication: true,
    managed: false,
    bypassesRowSecurity: true,
    createsInDatabase: true,
    temporary: true,
    signals: true,
    readsStats: true,
    applierRemedy: null,
    notOwned: [],
    schemas: [{ name: 'shop', usage: true, create: true }],
    sequences: [],
  };
  const cases: readonly (readonly [string, Partial<RoleFacts>, readonly string[]])[] = [
    ['nothing', {}, []],
    ['replication', { replication: false }, ['ALTER ROLE "mover" REPLICATION;']],
    ['replication on a managed service', { replication: false, managed: true }, ['GRANT rds_replication TO "mover";']],
    ['applying', { applierRemedy: 'GRANT x' }, ['as a superuser: GRANT x']],
    ['the database', { createsInDatabase: false }, ['GRANT CREATE ON DATABASE "shop" TO "mover";']],
    ['temporary tables', { temporary: false }, ['GRANT TEMPORARY ON DATABASE "shop" TO "mover";']],
    ['signals', { signals: false }, ['GRANT pg_signal_backend TO "mover";']],
    ['statistics', { readsStats: false }, ['GRANT pg_read_all_stats TO "mover";']],
    ['ownership', { notOwned: [{ ...name('a'), owner: 'Ow"ner' }] }, ['GRANT "Ow""ner" TO "mover";']],
    [
      'schemas',
      { schemas: [{ name: 'shop', usage: false, create: false }] },
      ['GRANT USAGE, CREATE ON SCHEMA "shop" TO "mover";'],
    ],
    ['sequences', { sequences: [name('s')] }, ['GRANT SELECT, UPDATE ON SEQUENCE "shop"."s" TO "mover";']],
    ['a superuser', { superuser: true, replication: false, createsInDatabase: false }, []],
  ];
  test.each(cases)('%s', (_, changes, remedies) => {
    expect(judgeRole({ ...good, ...changes }, { buildsIndexes: true }).map((f) => f.remedy)).toEqual(remedies);
  });

  test('CREATE on a schema is not asked for where no index is built', () => {
    const facts = { ...good, schemas: [{ name: 'shop', usage: true, create: false }] };
    expect(judgeRole(facts, { buildsIndexes: false })).toEqual([]);
  });
});

describe('relations', () => {
  const none: RelationFacts = {
    foreignKeys: [],
    heirs: [],
    secured: [],
    firing: [],
    foreignPartitions: [],
    foreignTables: [],
    materializedViews: [],
    cyclingSequences: [],
    largeObjects: 0,
    largeObjectColumns: [],
  };
  const places: Readonly<Record<string, ReturnType<Placement>>> = {
    a: { phase: 'one' },
    b: { phase: 'one' },
    c: { phase: 'two' },
    i: 'ignored',
  };
  const placement: Placement = (table) => places[table.name];
  const link = (child: string, parent: string) => [{ name: 'k', child: name(child), parent: name(parent) }];

  const cases: readonly (readonly [string, Partial<RelationFacts>, readonly string[]])[] = [
    ['nothing', {}, []],
    ['a key within a phase', { foreignKeys: link('a', 'b') }, []],
    ['a key between phases', { foreignKeys: link('a', 'c') }, ['warns plan/foreign-key']],
    ['a key to an ignored table', { foreignKeys: link('a', 'i') }, ['blocks plan/foreign-key']],
    ['a key from an ignored table', { foreignKeys: link('i', 'a') }, ['warns plan/foreign-key']],
    ['a key to a table that is not looked at', { foreignKeys: link('a', 'x') }, ['warns plan/foreign-key']],
    ['a key that does not concern us', { foreignKeys: link('i', 'x') }, []],
    ['an heir within a phase', { heirs: link('a', 'b') }, []],
    ['an heir of another phase', { heirs: link('a', 'c') }, ['blocks plan/inheritance']],
    ['an heir of an ignored table', { heirs: link('a', 'i') }, ['blocks plan/inheritance']],
    ['an ignored heir', { heirs: link('i', 'a') }, []],
    ['large objects', { largeObjects: 3 }, ['warns database/large-objects']],
    [
      'large objects that are referred to',
      { largeObjects: 3, largeObjectColumns: ['shop.a.file'] },
      ['blocks database/large-objects'],
    ],
    ['an oid column without large objects', { largeObjectColumns: ['shop.a.file'] }, []],
    ['a foreign partition', { foreignPartitions: [name('f')] }, ['blocks table/foreign-partition']],
    ['a foreign table', { foreignTables: [name('f')] }, ['warns relation/foreign-table']],
    ['a materialised view', { materializedViews: [name('v')] }, ['warns relation/materialized-view']],
    ['a cycling sequence', { cyclingSequences: [name('s')] }, ['warns sequence/cycles']],
  ];
  test.each(cases)('%s', (_, changes, expected) => {
    expect(brief(judgeSourceRelations({ ...none, ...changes }, placement))).toEqual(expected);
  });

  const secured = (owned: boolean, forced: boolean) => [{ ...name('a'), owned, forced }];
  const access: readonly (readonly [string, Partial<RelationFacts>, boolean, number])[] = [
    ['row security binds a stranger', { secured: secured(false, false) }, false, 1],
    ['row security does not bind the owner', { secured: secured(true, false) }, false, 0],
    ['forced row security binds the owner', { secured: secured(true, true) }, false, 1],
    ['BYPASSRLS passes it', { secured: secured(false, true) }, true, 0],
    ['a trigger that fires for appliers', { firing: [{ table: name('a'), name: 't', what: 'trigger' }] }, true, 1],
  ];
  test.each(access)('%s', (_, changes, bypassesRowSecurity, count) => {
    const role = { side: 'target', role: 'mover', bypassesRowSecurity };
    expect(judgeRowAccess({ ...none, ...changes }, role)).toHaveLength(count);
  });
});

describe('replica identity', () => {
  const good: OriginTable = {
    ...name('a'),
    logged: true,
    identity: 'default',
    identityColumns: ['id'],
    deferrableKey: null,
    hasPrimaryKey: true,
    candidates: [],
    identityAlways: [],
    toastBytesPerRow: 0,
  };
  const key = { index: 'a_pkey', columns: ['id'] };
  const cases: readonly (readonly [string, Partial<OriginTable>, typeof key | null, readonly string[], RegExp])[] = [
    ['a primary key', {}, key, [], /^$/],
    ['unlogged', { logged: false }, key, ['blocks table/unlogged'], /SET LOGGED/],
    [
      'no key at all',
      { identityColumns: [], hasPrimaryKey: false },
      null,
      ['blocks table/no-identity'],
      /IDENTITY FULL/,
    ],
    [
      'a unique index instead',
      { identityColumns: [], hasPrimaryKey: false, candidates: ['u"q'] },
      null,
      ['blocks table/no-identity'],
      /USING INDEX "u""q"/,
    ],
    [
      'a deferrable primary key',
      { identityColumns: [], deferrableKey: 'a_pkey' },
      null,
      ['blocks table/no-identity'],
      /IDENTITY FULL/,
    ],
    ['NOTHING', { identity: 'nothing', identityColumns: [] }, key, ['blocks table/no-identity'], /IDENTITY DEFAULT/],
    ['a lost index', { identity: 'index', identityColumns: [] }, key, ['blocks table/no-identity'], /IDENTITY DEFAULT/],
    ['FULL with a key', { identity: 'full', identityColumns: [] }, key, [], /^$/],
    ['FULL without', { identity: 'full', identityColumns: [] }, null, ['warns table/no-key'], /primary key/],
    ['more columns than the key has', { identityColumns: ['id', 'x'] }, key, [], /^$/],
    ['other columns than the key has', { identityColumns: ['x'] }, key, ['blocks table/identity-differs'], /FULL/],
    ['a key where the other side has none', {}, null, ['blocks table/identity-differs'], /FULL/],
    ['identity ALWAYS as key', { identityAlways: ['id'] }, key, [], /^$/],
    ['identity ALWAYS besides', { identityAlways: ['n'] }, key, ['warns table/identity-always'], /BY DEFAULT/],
    ['huge values', { toastBytesPerRow: 2 ** 27 }, key, ['warns table/huge-values'], /pg_column_size/],
  ];
  test.each(cases)('%s', (_, changes, by, expected, remedy) => {
    const findings = judgeOrigin({ ...good, ...changes }, { key: by, side: 'source' });
    expect(brief(findings)).toEqual(expected);
    expect(findings.map((f) => f.remedy).join()).toMatch(remedy);
  });
});

describe('grants, replication of others, the target', () => {
  const facts: GrantFacts = { grants: [], settings: [], roles: ['app'], owners: ['app'] };
  const grant = (grantee: string, privilege = 'SELECT') => ({
    on: 'TABLE' as const,
    object: name('a'),
    grantee,
    privilege,
  });

  test.each<readonly [string, Partial<GrantFacts>, Partial<GrantFacts>, readonly string[]]>([
    ['nothing', {}, {}, []],
    ['a missing owner', { owners: ['gone'] }, {}, ['warns role/missing']],
    [
      'a missing grantee is one finding',
      { grants: [grant('gone'), grant('gone', 'INSERT')] },
      {},
      ['warns role/missing'],
    ],
    [
      'missing privileges are one finding',
      { grants: [grant('PUBLIC'), grant('PUBLIC', 'INSERT')] },
      {},
      ['warns role/grant-missing'],
    ],
    ['a grant that is there', { grants: [grant('PUBLIC')] }, { grants: [grant('PUBLIC')] }, []],
    ['an owner needs no grant', { grants: [grant('app')] }, { owners: ['app'] }, []],
    ['a setting', { settings: [{ role: 'app', setting: 'work_mem=9MB' }] }, {}, ['warns role/setting-missing']],
    ['a setting of a role that is not there', { settings: [{ role: 'gone', setting: 'x=1' }] }, {}, []],
  ])('%s', (_, source, target, expected) => {
    expect(brief(judgeGrants({ ...facts, ...source }, { ...facts, ...target }, { schemaReady: true }))).toEqual(
      expected,
    );
  });

  test("values of the application's own settings are not shown", () => {
    const source = { ...facts, settings: [{ role: '', setting: 'app.secret=canary' }] };
    expect(JSON.stringify(judgeGrants(source, facts, { schemaReady: true }))).not.toContain('canary');
  });

  test('grants on tables that are yet to be made are not asked for', () => {
    expect(judgeGrants({ ...facts, grants: [grant('PUBLIC')] }, facts, { schemaReady: false })).toEqual([]);
  });

  test('subscriptions block, publications warn', () => {
    const members = [{ name: 'p', tables: [name('a'), name('b')] }];
    expect(brief(judgeReplication({ side: 'source', publications: members, subscriptions: [] }))).toEqual([
      'warns replication/publication',
    ]);
    expect(brief(judgeReplication({ side: 'target', publications: [], subscriptions: members }))).toEqual([
      'blocks replication/subscription',
    ]);
    const many = [{ name: 'p', tables: Array.from({ length: 9 }, (_, at) => name(`t${at}`)) }];
    expect(judgeReplication({ side: 'source', publications: many, subscriptions: [] })[0]?.fact).toContain(
      'and 4 more',
    );
  });

  test('rows, tables and extensions of the target', () => {
    expect(brief(judgeFilled([name('a')]))).toEqual(['blocks target/not-empty']);
    expect(brief(judgeExisting([name('a')]))).toEqual(['blocks target/table-exists']);
    expect(brief(judgeExtensions(['hstore', 'plpgsql'], ['plpgsql']))).toEqual(['blocks target/extension-unavailable']);
  });
});
