// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to the environment are what is tested
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { generatedFiles } from '../../scripts/generated.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { differenceText, diffPlans } from '../../src/plan/diff.ts';
import { holdsPassword, interpolate } from '../../src/plan/interpolate.ts';
import { loadPlan, type Plan, parsePlan } from '../../src/plan/load.ts';
import { editDistance, nearest } from '../../src/plan/nearest.ts';
import { redactText } from '../../src/platform/redact.ts';

const CANARY = 'c4nary-p4ssw0rd';
const ENV = {
  OLD_DATABASE_URL: `postgresql://me:${CANARY}@old.example/shop`,
  NEW_DATABASE_URL: `postgresql://me:${CANARY}@new.example/shop`,
  OLD_DATABASE_URL_WITHIN: `postgresql://me:${CANARY}@10.0.0.5/shop`,
  NEW_DATABASE_URL_WITHIN: `postgresql://me:${CANARY}@10.0.0.6/shop`,
  PGBOUNCER_ADMIN_URL: `postgresql://me:${CANARY}@pool.example:6432/pgbouncer`,
  PGBOUNCER_2_ADMIN_URL: `postgresql://me:${CANARY}@pool-2.example:6432/pgbouncer`,
  CATALOG_URL: `postgresql://app:${CANARY}@pool.example:6432/shop_catalog`,
  SHOP_URL: `postgresql://app:${CANARY}@pool.example:6432/shop`,
  DATABASE_PASSWORD: CANARY,
  SNAPSHOT_KEY: 'c4'.repeat(32),
  EMPTY: '',
};

/** A plan with a text in each of its parts; a part that is given replaces the usual one. */
const planText = (parts: Readonly<Record<string, string>> = {}): string =>
  Object.entries({
    version: '1',
    name: 'shop',
    source: '{ url: "${OLD_DATABASE_URL}" }',
    target: '{ url: "${NEW_DATABASE_URL}" }',
    phases: '[{ name: all, tables: [public.*], router: app }]',
    routers: '{ app: { kind: file, path: primary.json } }',
    ...parts,
  })
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('');

const parse = (text: string | Uint8Array): Plan =>
  parsePlan(typeof text === 'string' ? new TextEncoder().encode(text) : text, 'plans/p.yaml', ENV);

/** The problem lines of a text, without the file's name. Never with a secret in them. */
const problemsOf = (text: string | Uint8Array): readonly string[] => {
  try {
    parse(text);
    return [];
  } catch (error) {
    if (!(error instanceof SwitchbackError)) throw error;
    expect(error.kind).toBe('usage');
    expect(error.message).not.toContain(CANARY);
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.replace('plans/p.yaml:', ''));
  }
};

describe('a plan', () => {
  test('has defaults, milliseconds and absolute paths', () => {
    const plan = parse(planText());
    expect(plan).toMatchObject({
      engine: 'stream',
      schema: { from: 'pg_dump' },
      ignore: [],
      switch: {
        maxLagMs: 2_000,
        windowMs: 5_000,
        blockers: { waitMs: 2_000, action: 'abort' },
        sessionsLeft: { waitMs: 2_000, action: 'tell' },
      },
      probes: new Map(),
      verify: { freshForMs: 3_600_000 },
      soak: { forMs: 259_200_000 },
      directory: join(process.cwd(), 'plans'),
    });
    expect(plan.source.url).toBe(ENV.OLD_DATABASE_URL);
    expect(plan.phases[0]).toMatchObject({ name: 'all', after: [] });
    expect(plan.routers.get('app')).toEqual({
      kind: 'file',
      path: join(process.cwd(), 'plans/primary.json'),
      format: 'json',
    });
  });

  test('sees the format of a route file by its end', () => {
    const formatOf = (path: string): unknown =>
      parse(planText({ routers: `{ app: { kind: file, path: ${path} } }` })).routers.get('app');
    for (const [path, format] of [
      ['a.yaml', 'yaml'],
      ['a.yml', 'yaml'],
      ['a.properties', 'properties'],
      ['a.env', 'env'],
    ] as const) {
      expect(formatOf(path)).toMatchObject({ format });
    }
    expect(formatOf('a.json, format: yaml')).toMatchObject({ format: 'yaml' });
  });

  test('reads every duration unit', () => {
    const plan = parse(
      planText({
        switch:
          '{ max_lag: 250ms, window: 5m, blockers: { wait: 0s, then: terminate }, sessions_left: { wait: 1m, then: terminate } }',
        verify: '{ fresh_for: 1h }',
        soak: '{ for: 7d }',
      }),
    );
    expect(plan.switch).toEqual({
      maxLagMs: 250,
      windowMs: 300_000,
      blockers: { waitMs: 0, action: 'terminate' },
      sessionsLeft: { waitMs: 60_000, action: 'terminate' },
    });
    expect(plan.soak.forMs).toBe(604_800_000);
  });

  test('reads every unit of a rate, and copies without a limit where there is none', () => {
    const limit = (text: string) => parse(planText({ copy: `{ limit: ${text} }` })).copy.bytesPerSecond;
    expect([limit('1500kB/s'), limit('50MB/s'), limit('1GB/s')]).toEqual([1.5e6, 50e6, 1e9]);
    expect(parse(planText()).copy.bytesPerSecond).toBeNull();
  });

  test('knows one router of a phase, or several in the order in which they act', () => {
    const routers = '{ app: { kind: file, path: a.json }, dns: { kind: file, path: b.json } }';
    const of = (router: string) =>
      parse(planText({ phases: `[{ name: all, tables: [public.*], router: ${router} }]`, routers })).phases[0]?.routers;
    expect(of('[dns, app]')).toEqual(['dns', 'app']);
    expect(parse(planText()).phases[0]?.routers).toEqual(['app']);
    // As an author would have written it before there could be several: the pinned hash stays.
    expect(parse(planText()).canonical).toMatchObject({ phases: [{ router: 'app' }] });
  });

  test('tells each pooler which phases it leads, also where it is one of several', () => {
    const pooler = '{ kind: pgbouncer, admin: "postgresql://a", config: d.ini, database: shop }';
    const phases = '[{ name: all, tables: [public.*], router: [app, dns] }]';
    const plan = parse(planText({ phases, routers: `{ app: ${pooler}, dns: { kind: file, path: b.json } }` }));
    expect(plan.routers.get('app')).toMatchObject({ databases: new Map([['all', 'shop']]) });
  });

  test('knows routers that lead only readers, apart from those of the writers', () => {
    const routers = '{ app: { kind: file, path: a.json }, dns: { kind: file, path: b.json } }';
    const [phase] = parse(
      planText({ phases: '[{ name: all, tables: [public.*], router: app, reads: dns }]', routers }),
    ).phases;
    expect(phase).toMatchObject({ routers: ['app'], readers: ['dns'] });
    expect(parse(planText()).phases[0]?.readers).toEqual([]);
  });

  const TWO_ROUTERS = '{ app: { kind: file, path: a.json }, dns: { kind: file, path: b.json } }';
  const phaseWith = (name: string, router: string): string =>
    `{ name: ${name}, tables: [p.${name}], router: ${router} }`;
  test.each([
    [`[${phaseWith('a', '[app, dms]')}]`, '5:50: phases[0].router[1] names no router: value "dms"; did you mean dns'],
    [
      `[${phaseWith('a', '[app, dns, app]')}]`,
      '5:55: phases[0].router[2] is a router that the phase has already, in phases[0].router[0]: value "app"; name each router once',
    ],
    [`[${phaseWith('a', '[]')}]`, 'phases[0].router is an empty list; give at least one'],
    [
      `[${phaseWith('a', '3')}]`,
      'phases[0].router must be text or a list of texts: value "3"; write one, or [one, two]',
    ],
    [`[${phaseWith('a', '[app, 3]')}]`, 'phases[0].router'],
    [`[${phaseWith('a', '[app]')}]`, '6:47: routers.dns is used by no phase: value "dns"'],
    [
      `[${phaseWith('a', '[app, dns]')}, ${phaseWith('b', '[dns, app]')}]`,
      'phases[1].router has its routers in another order than the phases before it: value "dns, app"; let routers act in one order in all phases',
    ],
    [
      `[${phaseWith('a', '[app, dns], reads: dns')}]`,
      '5:63: phases[0].reads is a router that the phase has already, in phases[0].router[1]: value "dns"; lead readers by a router of their own, or they would be moved with the writers',
    ],
    [
      `[${phaseWith('a', 'app, reads: [dns, dns]')}]`,
      'phases[0].reads[1] is a router that the phase has already, in phases[0].reads[0]: value "dns"; name each router once',
    ],
    [`[${phaseWith('a', '[app, dns], reads: dms')}]`, 'phases[0].reads names no router: value "dms"; did you mean dns'],
    [
      `[${phaseWith('a', 'app, reads: dns')}, ${phaseWith('b', 'app, reads: [app]')}]`,
      'phases[1].reads[0] is a router that the phase has already, in phases[1].router: value "app"',
    ],
  ])('refuses routers of a phase that make no sense: %s', (phases, problem) => {
    const found = problemsOf(planText({ phases, routers: TWO_ROUTERS }));
    expect(found.join('\n')).toContain(problem);
  });

  test.each([
    '{ app: { kind: file, path: a.json }, dns: { kind: file, path: a.json } }',
    `{ app: { kind: pgbouncer, admin: "postgresql://a", config: d.ini, database: shop },
       dns: { kind: pgbouncer, admin: "postgresql://b", config: d.ini, databases: { a: shop } } }`,
    '{ app: { kind: route53, zone: Z1, record: DB.shop.internal }, dns: { kind: route53, zone: Z1, record: db.shop.internal. } }',
  ])('refuses readers that are led by what leads the writers: %s', (routers) => {
    expect(
      problemsOf(planText({ phases: `[${phaseWith('a', 'app, reads: dns')}]`, routers }).replace(/\n +/g, ' ')).join(
        '\n',
      ),
    ).toContain(
      'phases[0].reads leads readers by the same file or entry as phases[0].router leads writers: value "dns"; lead readers by a router of their own',
    );
  });

  const KEYS = 'source: a, target: b';
  const K8S = 'kind: kubernetes, kubeconfig: k, namespace: shop';
  const DNS = 'kind: route53, zone: Z1';

  test.each([
    ['[app, dns]', `{ ${K8S}, ${KEYS}, object: configmap/s/HOST }`, `{ ${K8S}, ${KEYS}, object: configmap/s/PORT }`],
    ['app, reads: dns', `{ ${K8S}, ${KEYS}, object: secret/s/A }`, `{ ${K8S}, ${KEYS}, objects: { a: secret/s/B } }`],
    ['[app, dns]', `{ ${DNS}, type: A, record: db.x }`, `{ ${DNS}, type: AAAA, records: { a: DB.x. } }`],
  ])('refuses routers of a phase that share a mark: %s %s', (routers, app, dns) => {
    const phases = `[${phaseWith('a', routers)}]`;
    const found = (one: string, other: string) =>
      problemsOf(planText({ phases, routers: `{ app: ${one}, dns: ${other} }` })).join('\n');
    const mark =
      / would keep its mark of the phase at the same (object|name of a record) as phases\[0\]\.router.*: value /;
    expect(found(app, dns)).toMatch(mark);
    expect(found(app, dns)).toMatch(
      /^5:\d+: .*: value "(configmap\/s|secret\/s|db\.x)"; give each router of the phase an? /,
    );
    // Another object or name, and another namespace or zone.
    expect(found(app, dns.replace('/s/', '/t/').replace('DB.x', 'db2.x'))).not.toMatch(mark);
    expect(found(app, dns.replace('shop', 'other').replace('Z1', 'Z2'))).not.toMatch(mark);
  });

  test('knows the three sources of a schema and both routers', () => {
    expect(parse(planText({ schema: '{ from: existing }' })).schema).toEqual({ from: 'existing' });
    expect(parse(planText({ schema: '{ files: [a.sql, /b.sql] }' })).schema).toEqual({
      from: 'files',
      files: [join(process.cwd(), 'plans/a.sql'), '/b.sql'],
    });
    const routers = '{ app: { kind: command, repoint: [./r, "{phases}", "--to={side}", "{{phase}"], timeout: 3s } }';
    expect(parse(planText({ routers })).routers.get('app')).toEqual({
      kind: 'command',
      repoint: ['./r', '{phases}', '--to={side}', '{{phase}'],
      timeoutMs: 3_000,
      directory: join(process.cwd(), 'plans'),
    });
  });

  test('names poolers, their files and the entry of each phase', () => {
    const router = (more: string) => `{ app: { kind: pgbouncer, ${more} } }`;
    const one = router('admin: "${PGBOUNCER_ADMIN_URL}", config: d.ini, database: shop');
    expect(parse(planText({ routers: one })).routers.get('app')).toEqual({
      kind: 'pgbouncer',
      foreignSettings: 'refuse',
      instances: [{ admin: ENV.PGBOUNCER_ADMIN_URL, config: join(process.cwd(), 'plans/d.ini') }],
      databases: new Map([['all', 'shop']]),
      foreignSettings: 'refuse',
      source: {},
      target: {},
    });
    const admin = 'admin: ["${PGBOUNCER_ADMIN_URL}", "postgresql://pool-2/pgbouncer"]';
    const two = router(
      `${admin}, config: [/1.ini, /2.ini], databases: { all: shop }, target: { host: new, port: 5433 }`,
    );
    expect(parse(planText({ routers: two })).routers.get('app')).toMatchObject({
      instances: [
        { admin: ENV.PGBOUNCER_ADMIN_URL, config: '/1.ini' },
        { admin: 'postgresql://pool-2/pgbouncer', config: '/2.ini' },
      ],
      databases: new Map([['all', 'shop']]),
      target: { host: 'new', port: 5433 },
    });
  });

  test.each([
    [
      'database: shop, admin: 1',
      'routers.app.admin must be text or a list of texts: value "1"; write one, or [one, two]',
    ],
    ['database: shop, admin: []', 'routers.app.admin is an empty list'],
    ['database: shop, admin: mysql://a', 'routers.app.admin is not a PostgreSQL URL'],
    ['admin: "postgresql://a"', 'routers.app needs exactly one of `database` and `databases`'],
    ['database: shop, databases: { a: b, b: c }, admin: "postgresql://a"', 'needs exactly one of'],
    ['database: "my shop", admin: "postgresql://a"', 'routers.app.database is no name of an entry'],
    ['database: shop, admin: "postgresql://a"', 'phase b would be led by the same entry as phase a: value "shop"'],
    ['databases: { a: s, b: s }, admin: "postgresql://a"', 'phase b would be led by the same entry as phase a'],
    ['databases: { a: s }, admin: "postgresql://a"', 'routers.app.databases has no entry for phase b; add b:'],
    [
      'databases: { a: s, b: t, c: u }, admin: "postgresql://a"',
      'names a phase that the router does not lead: value "c"',
    ],
    [
      'databases: { a: s, b: t }, admin: "postgresql://a", target: { port: x }',
      'target.port must be a number: value "x"',
    ],
    [
      'databases: { a: s, b: t }, admin: "postgresql://a", source: { dbname: "it\'s" }',
      'dbname cannot stand in an entry',
    ],
  ])('refuses poolers that lead nobody, or two at once: %s', (more, problem) => {
    const phases = '[{ name: a, tables: [p.a], router: app }, { name: b, tables: [p.b], router: app }]';
    const routers = `{ app: { kind: pgbouncer, config: [d.ini], ${more} } }`;
    expect(problemsOf(planText({ phases, routers })).join('\n')).toContain(problem);
  });

  const TWO = '[{ name: a, tables: [p.a], router: app }, { name: b, tables: [p.b], router: app }]';

  test('names the paths by which a router is proven, for each phase', () => {
    const parsed = (probe: string) =>
      parse(planText({ phases: TWO, routers: `{ app: { kind: file, path: /r.json, probe: ${probe} } }` })).probes;
    const url = 'postgresql://shop@pool/shop';
    const both = new Map([
      ['a', [url]],
      ['b', [url]],
    ]);
    expect(parsed(`{ url: "${url}" }`)).toEqual(new Map([['app', { urls: both, withinMs: 30_000 }]]));
    const each = `{ urls: { a: "${url}", b: ["${url}/1", "\${PGBOUNCER_ADMIN_URL}"] }, within: 2m }`;
    expect(parsed(each).get('app')).toEqual({
      urls: new Map([
        ['a', [url]],
        ['b', [`${url}/1`, ENV.PGBOUNCER_ADMIN_URL]],
      ]),
      withinMs: 120_000,
    });
  });

  test.each([
    ['{}', 'routers.app.probe needs exactly one of `url` and `urls`; keep the one that is meant'],
    ['{ url: "postgresql://h/d", urls: { a: "postgresql://h/d", b: "postgresql://h/d" } }', 'needs exactly one of'],
    ['{ url: http://h }', 'routers.app.probe.url is not a PostgreSQL URL: value "http://h"'],
    ['{ url: "postgresql://u:secret@h/d" }', 'routers.app.probe.url holds a password'],
    ['{ urls: { a: "postgresql://h/d" } }', '6:55: routers.app.probe.urls has no URL for phase b; add b: and its URL'],
    [
      '{ urls: { a: "postgresql://h/d", b: "postgresql://h/d", bb: "postgresql://h/d" } }',
      'routers.app.probe.urls names a phase that the router does not lead: value "bb"; did you mean b',
    ],
    ['{ url: "postgresql://h/d", within: 5 }', 'routers.app.probe.within must be a duration: value "5"'],
    ['"postgresql://h/d"', 'routers.app.probe must be a mapping of keys and values'],
  ])('refuses a probe that asks nobody: %s', (probe, problem) => {
    const routers = `{ app: { kind: file, path: /r.json, probe: ${probe} } }`;
    expect(problemsOf(planText({ phases: TWO, routers })).join('\n')).toContain(problem);
  });

  test('refuses an entry that two routers lead, and another number of files than of poolers', () => {
    const phases = '[{ name: a, tables: [p.a], router: one }, { name: b, tables: [p.b], router: two }]';
    const router = '{ kind: pgbouncer, admin: "postgresql://a", config: d.ini, database: shop }';
    expect(problemsOf(planText({ phases, routers: `{ one: ${router}, two: ${router} }` })).join()).toContain(
      'phase b would be led by the same entry as phase a',
    );
    const files = '{ app: { kind: pgbouncer, admin: ["postgresql://a"], config: [a.ini, b.ini], database: shop } }';
    expect(problemsOf(planText({ routers: files })).join()).toContain('has another number of files than of poolers');
  });

  test('names records, secrets and parameters of AWS, and what they say of each side', () => {
    const routerOf = (router: string) => parse(planText({ routers: `{ app: ${router} }` })).routers.get('app');
    const dns = '{ kind: route53, zone: Z1, record: db.shop.internal, target: new.internal }';
    expect(routerOf(dns)).toEqual({
      kind: 'route53',
      zone: 'Z1',
      region: undefined,
      type: 'CNAME',
      records: new Map([['all', 'db.shop.internal']]),
      source: undefined,
      target: ['new.internal'],
    });
    const sides = 'source: { host: old, port: 5432 }, target: { port: 5433, host: new }';
    const ids = new Map([['all', 'shop/db']]);
    expect(routerOf(`{ kind: secrets-manager, region: eu-central-1, secrets: { all: shop/db }, ${sides} }`)).toEqual({
      kind: 'secrets-manager',
      region: 'eu-central-1',
      ids,
      source: { host: 'old', port: 5432 },
      target: { host: 'new', port: 5433 },
    });
    expect(routerOf('{ kind: secrets-manager, secret: shop/db }')).toMatchObject({ ids, source: undefined });
    expect(routerOf('{ kind: ssm, parameter: /shop/db, source: old, target: new }')).toMatchObject({
      kind: 'ssm',
      ids: new Map([['all', '/shop/db']]),
      source: 'old',
      target: 'new',
    });
  });

  test.each([
    ['kind: route53, zone: /hostedzone/Z1, record: db.a', 'routers.app.zone is no id of a hosted zone'],
    ['kind: route53, zone: Z1, record: "*.a"', 'routers.app.record is no name of a record'],
    ['kind: route53, zone: Z1', 'routers.app needs exactly one of `record` and `records`'],
    ['kind: route53, zone: Z1, record: db.a', 'phase b would be led by the same record as phase a: value "db.a"'],
    ['kind: route53, zone: Z1, records: { a: db.a }', 'routers.app.records has no record for phase b; add b:'],
    ['kind: route53, zone: Z1, record: db.a, source: [a, b]', 'gives several values to a CNAME'],
    ['kind: secrets-manager, secret: "my secret"', 'routers.app.secret is no name of a secret'],
    ['kind: secrets-manager, secret: s, source: { host: a }', 'says other keys of `source` than of `target`'],
    ['kind: secrets-manager, secret: s, source: { a: b }, target: { c: d }', 'says other keys of `source` than of'],
    [
      'kind: secrets-manager, secret: s, source: { password: c4nary-p4ssw0rd }, target: { password: "${DATABASE_PASSWORD}" }',
      'routers.app.source.password holds a password; keep it in the environment',
    ],
    ['kind: secrets-manager, secret: s, source: {}, target: {}', 'routers.app.source is empty'],
    ['kind: secrets-manager, secrets: { a: s, b: s }', 'phase b would be led by the same secret as phase a'],
    ['kind: ssm, parameter: p, source: a, target: { host: b }', 'says other keys of `source` than of `target`'],
    ['kind: ssm, parameter: p, source: a', 'routers.app.target'],
    ['kind: ssm, parameters: { a: s, c: t }, source: a, target: b', 'names a phase that the router does not lead'],
  ])('refuses routers of AWS that lead nobody, or two at once: %s', (router, problem) => {
    const phases = '[{ name: a, tables: [p.a], router: app }, { name: b, tables: [p.b], router: app }]';
    expect(problemsOf(planText({ phases, routers: `{ app: { ${router} } }` })).join('\n')).toContain(problem);
  });

  test('names proxies, their files, and the server and frontend of each phase', () => {
    const router = (more: string) => `{ app: { kind: haproxy, ${more} } }`;
    const one = router('socket: run/admin.sock, config: /etc/h.cfg, server: shop/db');
    expect(parse(planText({ routers: one })).routers.get('app')).toEqual({
      kind: 'haproxy',
      instances: [{ socket: join(process.cwd(), 'plans/run/admin.sock'), config: '/etc/h.cfg' }],
      leads: new Map([['all', { frontend: 'shop', server: { backend: 'shop', server: 'db' } }]]),
      sessions: 'end',
      source: {},
      target: {},
    });
    const two = router(
      'socket: [/1.sock, "10.0.0.7:9999"], config: [/1, /2], servers: { all: shop/db }, frontends: { all: in }, sessions: keep, target: { port: 5433 }',
    );
    expect(parse(planText({ routers: two })).routers.get('app')).toMatchObject({
      instances: [
        { socket: '/1.sock', config: '/1' },
        { socket: '10.0.0.7:9999', config: '/2' },
      ],
      leads: new Map([['all', { frontend: 'in', server: { backend: 'shop', server: 'db' } }]]),
      sessions: 'keep',
      target: { port: 5433 },
    });
  });

  test.each([
    ['socket: admin.sock, server: s/a', 'routers.app.socket is no runtime socket: value "admin.sock"; write its path'],
    ['server: s', 'routers.app.server is no server of a backend: value "s"; write backend/server'],
    ['server: s/a, frontend: "a b"', 'routers.app.frontend is no name of a frontend'],
    ['server: s/a, servers: { a: s/a, b: t/a }', 'needs exactly one of `server` and `servers`'],
    ['servers: { a: s/a, b: t/a }, frontend: in', 'has `frontend` without `server`'],
    ['server: s/a, frontends: { a: in }', 'has `frontends` without `servers`'],
    ['server: s/a, config: [a, b]', 'has another number of files than of sockets'],
    [
      'server: s/a',
      'phase b would be led by the same server as phase a: value "s/a"; make them one phase, or give each',
    ],
    ['servers: { a: s/a, b: s/a }', 'phase b would be led by the same server as phase a'],
    [
      'servers: { a: s/a, b: t/a }, frontends: { a: in, b: in }',
      'phase b would be led by the same frontend as phase a',
    ],
    [
      'servers: { a: shop/x, b: pool/y }, frontends: { b: shop }',
      'phase a would be led by the same frontend as phase b: value "shop"',
    ],
    ['servers: { a: s/a, b: s/b }', 'phase b would be led by the same frontend as phase a: value "s"'],
    ['servers: { a: s/a }', 'routers.app.servers has no server for phase b; add b: and its server'],
    [
      'servers: { a: s/a, b: t/a }, frontends: { c: in }',
      'routers.app.frontends names a phase that the router does not',
    ],
    ['servers: { a: s/a, b: t/a }, sessions: drop', 'routers.app.sessions must be one of end, keep: value "drop"'],
    ['servers: { a: s/a, b: t/a }, target: { host: "[::1]" }', 'target.host is no host'],
  ])('refuses proxies that lead nobody, or two at once: %s', (more, problem) => {
    const phases = '[{ name: a, tables: [p.a], router: app }, { name: b, tables: [p.b], router: app }]';
    const usual = ['socket: ./s.sock', 'config: h.cfg'].filter((key) => !more.includes(key.slice(0, 7)));
    const routers = `{ app: { kind: haproxy, ${[...usual, more].join(', ')} } }`;
    expect(problemsOf(planText({ phases, routers })).join('\n')).toContain(problem);
  });

  test('say how the servers reach each other, with engine native', () => {
    const { source, target } = parse(planText()).native;
    expect({ source, target }).toEqual({ source: ENV.OLD_DATABASE_URL, target: ENV.NEW_DATABASE_URL });
    const native = '{ source: { url: "${OLD_DATABASE_URL_WITHIN}" } }';
    expect(parse(planText({ engine: 'native', native })).native).toEqual({
      source: ENV.OLD_DATABASE_URL_WITHIN,
      target: ENV.NEW_DATABASE_URL,
    });
  });

  test('may use anchors', () => {
    const phases = '[{ name: a, tables: &t [public.a], router: app }, { name: b, tables: *t, router: app }]';
    expect(parse(planText({ phases })).phases[1]?.tables).toEqual(['public.a']);
  });
});

describe('problems', () => {
  /** Part of the plan, its text, and the whole line that is told of it. */
  const CASES: readonly (readonly [part: string, text: string, line: string])[] = [
    ['version', '2', '1:10: version must be 1: value "2"; use 1'],
    ['name', '', '1:1: name is missing; add it'],
    ['name', 'Shop', 'name must be a name: value "Shop"; use at most 30 of a-z, 0-9, _ and -, with a letter first'],
    ['name', '"shop-${EMPTY:-x}"', 'name refers to the environment: value "shop-${EMPTY:-x}"; write it out'],
    ['engine', 'sream', '7:9: engine must be one of stream, native: value "sream"; did you mean stream'],
    ['native', '{}', '7:1: native is read with engine: native alone; write engine: native, or take it out'],
    ['enigne', 'stream', '7:1: enigne is not a key of a plan: value "enigne"; did you mean engine'],
    ['__proto__', '{ a: 1 }', '7:1: __proto__ is not a key of a plan'],
    [
      'schema',
      '{ from: pgdump }',
      '7:17: schema.from must be one of pg_dump, existing: value "pgdump"; did you mean pg_dump',
    ],
    ['schema', '{ from: pg_dump, files: [a] }', '7:9: schema needs exactly one of `from` and `files`; keep the one'],
    [
      'source',
      '{ url: "mysql://h/d" }',
      'source.url is not a PostgreSQL URL: value "mysql://h/d"; write postgresql://',
    ],
    [
      'source',
      '{ url: "${NOPE}" }',
      '3:16: source.url refers to NOPE, which is not set in the environment: value "${NOPE}"; set NOPE',
    ],
    ['source', '{ url: "${EMPTY}" }', 'source.url refers to EMPTY, which is set to nothing in the environment'],
    ['source', '{ url: "${toString}" }', 'source.url refers to toString, which is not set'],
    ['source', '{ url: "${A-b}" }', 'source.url has a reference that cannot be read (${A-b})'],
    ['source', '{ url: "postgres://u:${DATABASE_PASSWORD}/x@h" }', 'source.url'],
    [
      'source',
      '{ url: "postgres://u:s3cret@h/d" }',
      '3:16: source.url holds a password: value "postgres://u:***@h/d"; keep it',
    ],
    ['source', '{ url: "postgres://u@h/d?password=s3cret" }', 'value "postgres://u@h/d?password=***"'],
    ['source', '{ url: "postgres://u:${P:-s3cret}@h/d" }', 'source.url holds a password: value "postgres://u:***@h/d"'],
    [
      'target',
      '{ url: "${OLD_DATABASE_URL}" }',
      '4:16: target.url leads to the same database as source.url: value "${OLD_DATABASE_URL}"',
    ],
    ['phases', '[]', 'phases is an empty list; a plan needs at least one phase'],
    [
      'phases',
      '[{ name: a, tables: [product], router: app }]',
      '5:30: phases[0].tables[0] has no schema: value "product"; write public.product',
    ],
    ['phases', '[{ name: a, tables: ["!p.x"], router: app }]', '5:29: phases[0].tables only excludes'],
    [
      'phases',
      '[{ name: a, tables: public.*, router: app }]',
      'phases[0].tables must be a list, and is text: value "public.*"; write it as [one, two]',
    ],
    ['phases', '[{ name: a, tables: [p.*] }]', '5:10: phases[0].router is missing; add it'],
    [
      'phases',
      '[{ name: a, tables: [p.*], router: ap }]',
      '5:44: phases[0].router names no router: value "ap"; did you mean app',
    ],
    ['phases', '[{ name: a, tables: [p.*], router: app, after: [a] }]', 'phases wait for each other: a;'],
    ['phases', '[{ name: a, tables: [p.*], router: app, after: [c] }]', 'phases[0].after[0] names no phase: value "c"'],
    [
      'phases',
      '[{ name: a, tables: [p.a], router: app }, { name: a, tables: [p.b], router: app }]',
      'phases[1].name is the name of an earlier phase, in line 5: value "a"',
    ],
    ['routers', '{ app: { kind: fil, path: a.json } }', 'routers.app.kind must be one of file, command, pgbouncer'],
    ['routers', '{ app: { path: a.json } }', 'routers.app.kind is missing; add it: one of file, command, pgbouncer'],
    [
      'routers',
      '{ app: { kind: file, path: a.ini } }',
      'routers.app.path does not tell its format: value "a.ini"; add format',
    ],
    [
      'routers',
      '{ app: { kind: file, path: a.json, frmat: json } }',
      '6:45: routers.app.frmat is not a key of a plan: value "frmat"; did you mean format',
    ],
    ['routers', '{ app: { kind: command, repoint: [] } }', 'routers.app.repoint names no program'],
    ['routers', '{ app: { kind: command, repoint: ./go } }', 'routers.app.repoint must be a list, and is text'],
    [
      'routers',
      '{ app: { kind: command, repoint: [r, "{sde}"] } }',
      'routers.app.repoint[1] has a placeholder {sde} that this action does not know: value "{sde}"; did you mean {side}',
    ],
    [
      'routers',
      '{ app: { kind: command, repoint: [r], hold: [h, "{side}"] } }',
      'routers.app.hold[1] has a placeholder {side}',
    ],
    [
      'routers',
      '{ app: { kind: file, path: a.json }, App: { kind: file, path: b.json } }',
      'routers.App must be a name: value "App"',
    ],
    [
      'routers',
      '{ app: { kind: file, path: a.json }, old: { kind: file, path: b.json } }',
      '6:47: routers.old is used by no phase',
    ],
    [
      'switch',
      '{ window: 5 }',
      '7:19: switch.window must be a duration: value "5"; write a whole number with its unit',
    ],
    ['switch', '{ window: 5 s }', 'switch.window must be a duration: value "5 s"'],
    ['switch', '{ window: 5S }', 'switch.window must be a duration'],
    ['switch', '{ window: -5s }', 'switch.window must be a duration'],
    ['switch', '{ window: 1.5s }', 'switch.window must be a duration'],
    ['switch', '{ window: 5w }', 'switch.window must be a duration'],
    ['switch', '{ window: 0s }', 'switch.window is too short: value "0s"; write at least 100ms'],
    [
      'copy',
      '{ limit: 50MB }',
      '7:16: copy.limit must be a rate: value "50MB"; write a whole number with its unit, such as 500kB/s',
    ],
    ['copy', '{ limit: 50 }', 'copy.limit must be a rate: value "50"'],
    ['copy', '{ limit: 999kB/s }', 'copy.limit is too slow: value "999kB/s"; write at least 1MB/s'],
    ['soak', '{ for: 366d }', 'soak.for is too long: value "366d"; write at most 365d'],
    ['soak', '', ''],
    ['soak', '~', 'soak must be a mapping of keys and values, and is empty; give it a value, or take it out'],
    [
      'switch',
      '{ window: 1s, blockers: { wait: 1s } }',
      'switch.blockers.wait is not shorter than switch.window: value "1s"',
    ],
    [
      'switch',
      '{ sessions_left: { then: end } }',
      'switch.sessions_left.then must be one of tell, terminate: value "end"',
    ],
    ['switch', '{ blockers: { then: kill } }', 'switch.blockers.then must be one of abort, terminate: value "kill"'],
    [
      'ignore',
      '[!public.audit_log]',
      '7:10: this is not valid YAML: Unresolved tag: !public.audit_log; put quotes around',
    ],
    ['ignore', '[*.audit_log]', '7:10: *.audit_log refers to an anchor that is not there; put quotes around'],
  ];

  test.each(CASES)('%s: %s', (part, text, line) => {
    const problems = problemsOf(planText({ [part]: text }));
    if (line === '') expect(problems).toEqual([]);
    else expect(problems.join('\n')).toContain(line);
  });

  test('are all told at once, in the order of the file', () => {
    const problems = problemsOf(
      planText({ name: 'Shop', source: '{ url: "${NOPE}" }', soak: '{ fro: 1h }', verify: '{ fresh_for: 1 }' }),
    );
    expect(problems.map((line) => line.split(' ')[1])).toEqual(['name', 'source.url', 'soak.fro', 'verify.fresh_for']);
  });

  test('name the phases of a cycle, and not those that wait for it', () => {
    const phase = (name: string, after: string): string =>
      `{ name: ${name}, after: [${after}], tables: [p.${name}], router: app }`;
    const phases = `[${phase('a', 'b')}, ${phase('b', 'c')}, ${phase('c', 'a')}, ${phase('d', 'a')}, ${phase('e', '')}]`;
    expect(problemsOf(planText({ phases })).join()).toContain('phases wait for each other: a, b, c;');
  });

  test('name a variable that two phases of a properties file would share', () => {
    const phases = '[{ name: a-b, tables: [p.a], router: app }, { name: a_b, tables: [p.b], router: app }]';
    const of = (path: string) => problemsOf(planText({ phases, routers: `{ app: { kind: file, path: ${path} } }` }));
    expect(of('a.properties').join()).toContain('would share the variable SWITCHBACK_A_B');
    expect(of('a, format: properties').join()).toContain('would share the variable SWITCHBACK_A_B');
    expect(of('a.yaml')).toEqual([]);
  });

  test('name a variable that two phases of an env file would share', () => {
    const routers = '{ app: { kind: file, path: a.env } }';
    for (const [one, two] of [
      ['a-b', 'a_b'],
      ['a', 'a_held'],
      ['a_epoch', 'a'],
    ] as const) {
      const phases = `[{ name: ${one}, tables: [p.a], router: app }, { name: ${two}, tables: [p.b], router: app }]`;
      expect(problemsOf(planText({ phases, routers })).join()).toContain('would share the variable SWITCHBACK_A');
      expect(problemsOf(planText({ phases }))).toEqual([]);
    }
  });
});

describe('hostile files', () => {
  test('an empty one, a comment, a list, a text', () => {
    for (const text of ['', '# nothing\n', '[]', 'shop']) {
      expect(problemsOf(text)[0], text).toContain('1:1: the plan must be a mapping of keys and values, and is');
    }
  });

  test('bytes that are no text, and text with NUL', () => {
    expect(problemsOf(new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 0xff]))[0]).toContain('the file is not UTF-8 text');
    expect(problemsOf('version: 1\0')[0]).toContain('the file is not UTF-8 text');
  });

  test('tabs, two documents, broken syntax', () => {
    expect(problemsOf('source:\n\turl: x\n')[0]).toContain('2:1: this is not valid YAML: Tabs are not allowed');
    expect(problemsOf(`${planText()}---\n${planText()}`)[0]).toContain('a plan is one document');
    expect(problemsOf('phases: [')[0]).toContain('1:10: this is not valid YAML');
  });

  test('duplicate keys, each with both lines, beside other problems', () => {
    const problems = problemsOf(`${planText({ name: 'Shop' })}version: 1\nswitch: { window: 5s, window: 6s }\n`);
    expect(problems).toEqual([
      expect.stringContaining('2:7: name must be a name'),
      '7:1: version stands twice, first in line 1; keep one of them',
      '8:23: switch.window stands twice, first in line 8; keep one of them',
    ]);
  });

  test('aliases that explode', () => {
    const levels = Array.from({ length: 9 }, (_, level) => {
      const alias = `*l${level}, `;
      return `l${level + 1}: &l${level + 1} [${alias.repeat(9)}]\n`;
    });
    expect(problemsOf(`l0: &l0 [x]\n${levels.join('')}`).join()).toMatch(/aliases|values/);
    expect(problemsOf('a: &a [*a]').join()).toContain('the plan is nested more than 20 deep');
  });

  test('deep nesting and large files, without taking long', () => {
    const begun = performance.now();
    expect(problemsOf(`a: ${'['.repeat(30)}${']'.repeat(30)}`).join()).toContain('nested more than 20 deep');
    expect(problemsOf(`a: ${'['.repeat(20_000)}`).length).toBeGreaterThan(0);
    expect(problemsOf(`a: ${'x'.repeat(1024 * 1024)}`)[0]).toContain('the file has more than 1048576 bytes');
    // 60,000 keys took the parser's own search for duplicates more than a minute.
    const keys = Array.from({ length: 60_000 }, (_, index) => `k${index}: 1`).join('\n');
    expect(problemsOf(keys).join()).toContain('the plan holds more than 50000 values');
    expect(performance.now() - begun).toBeLessThan(20_000);
  });

  // Each is refused with its line, what stands there, and what to do, and nothing is done with what it says.
  test.each([
    [
      'a custom tag',
      'name: !!js/function "return 1"\n',
      /^1:7: .*tag.*; put quotes around a value that begins with !/i,
    ],
    ['a tag of an object', 'source: !ruby/object:Gem {}\n', /^1:9: .*tag/i],
    ['binary', 'name: !!binary aGVsbG8=\n', /^1:16: .*tag/i],
    ['a set', 'routers: !!set { a }\n', /^1:16: the tag .*set.*; put quotes/],
    ['a merge key', 'a: &a { version: 1 }\n<<: *a\n', /^2:1: <</],
    ['__proto__', '__proto__: { polluted: true }\n', /^1:1: __proto__/],
    ['__proto__ inside', 'source: { __proto__: { url: x } }\n', /^1:11: source\.__proto__/],
    ['constructor', 'constructor: { prototype: { polluted: true } }\n', /^1:1: constructor/],
    ['a duplicate of __proto__', '__proto__: 1\n__proto__: 2\n', /^2:1: __proto__ stands twice/],
    ['a key that is a list', '? [a, b]\n: c\n', /^1:3: /],
    ['a directive of another version', '%YAML 3.7\n---\nversion: 1\n', /^1:7: .*3\.7/],
    ['a directive that makes tags', '%TAG ! tag:example.com,2000:\n---\nname: !x y\n', /tag/i],
    ['UTF-16', Buffer.from('\ufeffversion: 1\n', 'utf16le'), /^1:1: the file is not UTF-8 text; .*save it as UTF-8/],
    ['half a character', Buffer.from([0x6e, 0x3a, 0x20, 0xc3]), /^1:1: the file is not UTF-8 text/],
    ['a surrogate as bytes', Buffer.from([0x6e, 0x3a, 0x20, 0xed, 0xa0, 0x80]), /^1:1: the file is not UTF-8/],
    ['NUL in quotes', 'name: "a\\0b"\n', /^1:7: name must be a name/],
    ['an anchor that holds itself', 'a: &a { b: *a }\n', /nested more than 20 deep; write a plan of ordinary size/],
  ] as const)('%s', (_what, text, line) => {
    const bytes = typeof text === 'string' ? text : new Uint8Array(text);
    const problems = problemsOf(bytes);
    expect(problems.some((problem) => line.test(problem))).toBe(true);
    for (const problem of problems) expect(problem).toMatch(/^\d+:\d+: .+; .+/);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test('bombs, in bounded memory', () => {
    const bombs = [
      // 9^9 values by way of mappings, which merge keys would have multiplied.
      Array.from(
        { length: 10 },
        (_, level) =>
          `l${level}: &l${level} { ${Array.from({ length: 9 }, (_x, i) => `k${i}: ${level === 0 ? 'x' : `*l${level - 1}`}`).join(', ')} }`,
      ).join('\n'),
      `a: &a [${'x, '.repeat(400)}x]\nb: [${'*a, '.repeat(90)}*a]\nc: &c [${'*a, '.repeat(90)}*a]\n`,
      `${'- '.repeat(100_000)}x`,
      `${'{a: '.repeat(50_000)}`,
      `${'? '.repeat(100_000)}x`,
      `a: "${'\\x41'.repeat(200_000)}"`,
      `${'&a '.repeat(100_000)}`,
      `${'!x '.repeat(100_000)}`,
      `${'a: b\n'.repeat(150_000)}`,
    ];
    for (const bomb of bombs) {
      const before = process.memoryUsage().rss;
      expect(problemsOf(bomb).length).toBeGreaterThan(0);
      expect(process.memoryUsage().rss - before).toBeLessThan(600 * 2 ** 20);
    }
  });

  test('a file that is not there, a folder, a link to a device', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'switchback-plan-'));
    try {
      await symlink('/dev/zero', join(folder, 'zero.yaml'));
      await expect(loadPlan(join(folder, 'no.yaml'), ENV)).rejects.toMatchObject({ kind: 'usage' });
      await expect(loadPlan(folder, ENV)).rejects.toMatchObject({ kind: 'usage' });
      await expect(loadPlan(join(folder, 'zero.yaml'), ENV)).rejects.toThrow('more than 1048576 bytes');
      await writeFile(join(folder, 'p.yaml'), planText());
      expect((await loadPlan(join(folder, 'p.yaml'), ENV)).directory).toBe(folder);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('anything else gives a plan or problems, and never another error', () => {
    const piece = fc.constantFrom(
      'a',
      ':',
      ' ',
      '\n',
      '- ',
      '[',
      ']',
      '{',
      '}',
      '"',
      '!',
      '*',
      '&',
      '${',
      '}',
      '|',
      '1',
      '#',
      '<<: ',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => void problemsOf(pieces.join(''))),
      { numRuns: 500 },
    );
  });

  test('one damaged character of a good plan gives a plan or problems', () => {
    const good = planText({ switch: '{ window: 5s }', ignore: '["public.x"]' });
    const damage = fc.tuple(
      fc.nat(good.length - 1),
      fc.constantFrom('', ' ', ':', '"', '${', '\t', '!', '[', '\n', '0'),
    );
    fc.assert(
      fc.property(damage, ([at, by]) => void problemsOf(good.slice(0, at) + by + good.slice(at + 1))),
      { numRuns: 500 },
    );
  });
});

describe('the environment', () => {
  test('fills in, defaults and escapes', () => {
    const env = { A: 'a', EMPTY: '', TRICK: '${A}' };
    expect(interpolate('x${A}y${B:-b:-c}${EMPTY:-d}${EMPTY:-}$${A}$A$', env)).toEqual({ text: 'xayb:-cd${A}$A$' });
    // What a variable brings along is not looked at again.
    expect(interpolate('${TRICK}', env)).toEqual({ text: '${A}' });
    expect(interpolate('${', env)).toHaveProperty('problems');
    expect(interpolate('${NOPE}${NOPE2}', env)).toMatchObject({ problems: [{}, {}] });
  });

  test('leaves a text without references as it is', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('${')),
        (text) => {
          expect(interpolate(text, {})).toEqual({ text });
        },
      ),
    );
  });

  test('a password is told from what is none', () => {
    for (const text of [
      'postgres://u:p@h',
      'x postgresql://u:p/q@h/d',
      'https://u:p@h',
      'postgres://h/d?x=1&sslpassword=p',
      '${URL:-postgres://u:p@h}',
    ]) {
      expect(holdsPassword(text), text).toBe(true);
      expect(redactText(text), text).not.toContain(':p');
    }
    for (const text of [
      'postgres://u@h:5432/d',
      'postgres://u:${P}@h/d',
      'http://h:80/a@b',
      'postgres://h:5432/d?application_name=a@b',
      'a:b@c',
      'postgres://h/d?password=${P}',
    ]) {
      expect(holdsPassword(text), text).toBe(false);
    }
  });
});

describe('the hash', () => {
  test('does not see the environment, comments or the order of keys', () => {
    const text = planText();
    const { hash } = parse(text);
    const other = { ...ENV, OLD_DATABASE_URL: 'postgres://me:rotated@old.example/shop' };
    expect(parsePlan(new TextEncoder().encode(text), 'elsewhere.yaml', other).hash).toBe(hash);
    expect(parse(`# why\n${text.split('\n').reverse().join('\n')}`).hash).toBe(hash);
    expect(parse(planText({ soak: '{ for: 1h }' })).hash).not.toBe(hash);
    expect(JSON.stringify(parse(text).canonical)).not.toContain(CANARY);
  });

  test('sees the order of phases and patterns', () => {
    const phase = (name: string): string => `{ name: ${name}, tables: [p.*], router: app }`;
    const one = parse(planText({ phases: `[${phase('a')}, ${phase('b')}]` }));
    const two = parse(planText({ phases: `[${phase('b')}, ${phase('a')}]` }));
    expect(one.hash).not.toBe(two.hash);
    expect(diffPlans(one.canonical, two.canonical).map(differenceText)).toEqual(['phases.(order): a, b → b, a']);
  });
});

describe('differences', () => {
  test('are the smallest parts, by the names of the phases', () => {
    const phase = (name: string, tables: string): string => `{ name: ${name}, tables: [${tables}], router: app }`;
    const before = parse(
      planText({ phases: `[${phase('a', 'p.a')}, ${phase('b', 'p.b')}]`, switch: '{ window: 5s }' }),
    );
    const after = parse(
      planText({
        phases: `[${phase('b', 'p.b, p.c')}, ${phase('d', 'p.d')}]`,
        switch: '{ window: 10s }',
        soak: '{ for: 1h }',
      }),
    );
    expect(diffPlans(before.canonical, after.canonical).map(differenceText)).toEqual([
      'phases.a: {"name":"a","router":"app","tables":["p.a"]} → (not set)',
      'phases.b.tables: ["p.b"] → ["p.b","p.c"]',
      'phases.d: (not set) → {"name":"d","router":"app","tables":["p.d"]}',
      'soak: (not set) → {"for":"1h"}',
      'switch.window: 5s → 10s',
    ]);
  });

  test('are none exactly when two values are equal', () => {
    const { json } = fc.letrec((tie) => ({
      json: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom(null, true, 1, 'a', 'name'),
        fc.array(tie('json'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom('name', 'a', 'b'), tie('json')),
      ),
    }));
    const sorted = (value: unknown): string =>
      JSON.stringify(value, (_, inner: unknown) =>
        typeof inner === 'object' && inner !== null && !Array.isArray(inner)
          ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
          : inner,
      );
    fc.assert(
      fc.property(json, json, (a, b) => {
        const differences = diffPlans(a as never, b as never);
        expect(differences.length === 0).toBe(sorted(a) === sorted(b));
      }),
    );
  });
});

describe('what was probably meant', () => {
  test('is near, or nothing', () => {
    expect(nearest('tagret', ['source', 'target'])).toBe('target');
    expect(nearest('ROUTER', ['router', 'routers'])).toBe('router');
    expect(nearest('snapshots', ['source', 'switch', 'soak'])).toBeNull();
    expect(nearest('x', [])).toBeNull();
    expect([editDistance('', 'abc'), editDistance('ab', 'ba'), editDistance('kitten', 'sitting')]).toEqual([3, 1, 3]);
  });
});

describe('what is checked in', () => {
  test('every example loads', async () => {
    const folder = fileURLToPath(new URL('../../plans/', import.meta.url));
    const files = (await readdir(folder)).filter((file) => file.endsWith('.yaml'));
    expect(files.length).toBeGreaterThanOrEqual(3);
    for (const file of files) {
      const plan = await loadPlan(join(folder, file), ENV);
      expect(plan.phases.length, file).toBeGreaterThan(0);
      expect(await readFile(join(folder, file), 'utf8'), file).toMatch(
        /^# yaml-language-server: \$schema=\.\.\/plan\.schema\.json\n/,
      );
    }
  });

  test('generated files are what `npm run generate` would write', async () => {
    for (const { path, content } of await generatedFiles()) expect(await readFile(path, 'utf8'), path).toBe(content);
  });
});
