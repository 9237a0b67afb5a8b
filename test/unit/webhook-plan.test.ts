// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to the environment are what is tested
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { messageOf } from '../../src/domain/errors.ts';
import { parsePlan } from '../../src/plan/load.ts';
import type { RouterPlan } from '../../src/plan/router-plan.ts';
import { urlSecrets } from '../../src/platform/url-secrets.ts';

const SECRET = 'c4nary-in-the-environment';
const ENV = {
  SECRET,
  SHORT: 'c4nary',
  HOOK: 'https://hooks.example/c4nary-path',
  PLAIN: 'http://c4nary.example/',
};

const planText = (routers: string): string => `version: 1
name: shop
source: { url: "postgresql://old/shop" }
target: { url: "postgresql://new/shop" }
phases: [{ name: all, tables: [public.*], router: app }]
${routers}
`;

const parsed = (router: string): RouterPlan | undefined => {
  const text = planText(`routers: { app: { ${router} } }`);
  return parsePlan(new TextEncoder().encode(text), '/plans/p.yaml', ENV).routers.get('app');
};

const problemOf = (router: string): string => {
  try {
    parsed(router);
    return 'it was read';
  } catch (error) {
    return messageOf(error);
  }
};

describe('the samples on the page', () => {
  test.each(['webhook', 'etcd'])('of %s are read', (kind) => {
    const page = readFileSync(fileURLToPath(new URL('../../docs/repointing.md', import.meta.url)), 'utf8');
    const samples = [...page.matchAll(/```yaml\n(routers:[\s\S]*?)```/g)].map(([, sample = '']) => sample);
    const sample = samples.find((one) => one.includes(`kind: ${kind}`)) ?? '';
    const text = planText(sample);
    const env = { ROUTE_WEBHOOK_URL: ENV.HOOK, ROUTE_WEBHOOK_SECRET: SECRET, ETCD_PASSWORD: SECRET };
    expect(parsePlan(new TextEncoder().encode(text), '/p.yaml', env).routers.get('app')).toMatchObject({ kind });
  });
});

describe('the plan of a webhook', () => {
  test('has defaults, milliseconds and an absolute path', () => {
    expect(parsed('kind: webhook, url: "${HOOK}", secret: "${SECRET}"')).toEqual({
      kind: 'webhook',
      url: ENV.HOOK,
      secret: SECRET,
      observe: null,
      holds: false,
      timeoutMs: 10_000,
    });
    const all = 'observe: POST, hold: true, timeout: 3s, ca: ca.pem';
    expect(parsed(`kind: webhook, url: "http://localhost:80/", secret: "\${SECRET}", ${all}`)).toMatchObject({
      observe: 'POST',
      holds: true,
      timeoutMs: 3_000,
      ca: '/plans/ca.pem',
    });
  });

  test.each([
    [
      'url: "${PLAIN}", secret: "${SECRET}"',
      '6:39: routers.app.url is no address that can be trusted: value "${PLAIN}"; ',
    ],
    ['url: "https://me:c4nary@h/", secret: "${SECRET}"', 'routers.app.url holds a password; keep it'],
    ['url: "https://c4nary@h/", secret: "${SECRET}"', 'routers.app.url holds what looks like a secret, in its user, '],
    ['url: "https://h/?token=c4nary", secret: "${SECRET}"', 'routers.app.url holds what looks like a secret'],
    ['url: "https://h/?token=${X:-c4nary}", secret: "${SECRET}"', 'routers.app.url holds what looks like a secret'],
    ['url: "https://h/c4nary7K2mPq9XwZ/r", secret: "${SECRET}"', 'routers.app.url holds what looks like a secret'],
    ['url: "https://h/${NOPE}?token=c4nary", secret: "${SECRET}"', 'routers.app.url refers to NOPE, which is not set'],
    ['url: "ftp://h/c4nary", secret: "${SECRET}"', 'routers.app.url is no address that can be trusted; write'],
    ['url: "${HOOK}"', 'routers.app.secret is missing; add it'],
    ['url: "${HOOK}", secret: "${SHORT}"', '6:58: routers.app.secret is too short; use at least 16 characters'],
    [
      'url: "${HOOK}", secret: c4nary-that-is-written-out',
      'routers.app.secret is written out; keep it in the environment',
    ],
    ['url: "${HOOK}", secret: c4nary', 'routers.app.secret is written out; '],
    ['url: "${HOOK}", secret: "${NOPE:-c4nary-of-a-default}"', 'routers.app.secret is written out; '],
    [
      'url: "${HOOK}", secret: "c4nary-${NOPE}"',
      'routers.app.secret refers to NOPE, which is not set in the environment; ',
    ],
    ['url: "${HOOK}", secret: [c4nary]', 'routers.app.secret must be text, and is a list; '],
    ['url: "${HOOK}", secret: "${SECRET}", observe: PUT', 'routers.app.observe must be one of GET, POST: value "PUT"'],
    ['url: "${HOOK}", secret: "${SECRET}", hold: 1', 'routers.app.hold must be boolean'],
  ])('refuses %s and tells no secret', (router, problem) => {
    const told = problemOf(`kind: webhook, ${router}`);
    expect(told).toContain(problem);
    expect(told.replaceAll('${', '')).not.toContain('c4nary');
  });
});

describe('a URL that is written out', () => {
  const canonical = (url: string): string => {
    const text = planText(`routers: { app: { kind: webhook, url: "${url}", secret: "\${SECRET}" } }`);
    return JSON.stringify(parsePlan(new TextEncoder().encode(text), '/plans/p.yaml', ENV).canonical);
  };

  test('is kept as far as its host, with a hash that tells whether the rest changed', () => {
    const one = canonical('https://hooks.example/c4nary?x=c4nary');
    expect(one).toContain('"https://hooks.example/… (SHA-256 ');
    expect(one).not.toContain('c4nary');
    expect(canonical('https://hooks.example/c4nary?x=c4nary')).toBe(one);
    expect(canonical('https://hooks.example/c4nary?x=other')).not.toBe(one);
    expect(canonical('https://hooks.example')).toContain('"https://hooks.example"');
    expect(canonical('${HOOK}')).toContain('"${HOOK}"');
  });

  test('is refused in a program, too, and its secret is not told', () => {
    const told = problemOf('kind: command, repoint: [curl, "https://h/x?sig=c4nary", "{nothing}"]');
    expect(told).toContain('routers.app.repoint[1] holds what looks like a secret');
    expect(told).not.toContain('c4nary');
  });

  test.each([
    ['https://h/?token=abc', ['abc']],
    ['https://h/?a=1&X-Amz-Signature=ab&code=x', ['ab', 'x']],
    ['https://h/?%74oken=a%20b', ['a%20b']],
    ['https://h/services/T024BE7LD/B024BE7LDX2/XXzzXXzzXXzzXXzzXXzzXXzz', ['XXzzXXzzXXzzXXzzXXzzXXzz']],
    ['https://h/api/123e4567-e89b-42d3-a456-42661417400a', ['123e4567-e89b-42d3-a456-42661417400a']],
    ['http://u:p@h/', ['u:p']],
    ['https://h/?0123456789abcdef', ['0123456789abcdef']],
    ['https://h/%zz', []],
    ['https://h:8443/switchback-route-orders-v2/production2026/123456789012?region=eu-west-1&monkey=1&token=', []],
    ['https://ABCDEF0123456789ABCDEF01.gr7.eu-west-1.eks.amazonaws.com', []],
    ['postgresql://u:p@h/d?token=x', []],
    ['--url=https://h/?token=abc and http://x/?sig=d', ['abc', 'd']],
  ])('%s has these secrets: %j', (url, secrets) => {
    expect(urlSecrets(url)).toEqual(secrets);
  });
});

describe('the plan of keys of etcd', () => {
  test('has one member or several, and files at the plan', () => {
    expect(parsed('kind: etcd, endpoints: "http://127.0.0.1:2379", prefix: /route/')).toEqual({
      kind: 'etcd',
      endpoints: ['http://127.0.0.1:2379'],
      prefix: '/route/',
      user: null,
      tls: {},
      timeoutMs: 2_000,
    });
    const all = 'user: mover, password: "${SECRET}", ca: ca.pem, cert: /c.pem, key: c.key, timeout: 500ms';
    expect(parsed(`kind: etcd, endpoints: ["https://a:1", "https://b:2/"], prefix: p, ${all}`)).toEqual({
      kind: 'etcd',
      endpoints: ['https://a:1', 'https://b:2/'],
      prefix: 'p',
      user: { name: 'mover', password: SECRET },
      tls: { ca: '/plans/ca.pem', cert: '/c.pem', key: '/plans/c.key' },
      timeoutMs: 500,
    });
  });

  const ONE = 'endpoints: "https://a:1"';
  test.each([
    ['endpoints: "http://etcd-1.internal:2379", prefix: p', 'routers.app.endpoints is no address that can be trusted'],
    [
      'endpoints: ["https://a", "ftp://b"], prefix: p',
      'routers.app.endpoints[1] is no address that can be trusted: value "ftp://b"',
    ],
    [
      'endpoints: ["https://a/v3"], prefix: p',
      'routers.app.endpoints[0] has a path: value "https://a/v3"; write the address alone',
    ],
    ['endpoints: [], prefix: p', 'routers.app.endpoints is an empty list; give at least one'],
    [
      'endpoints: 1, prefix: p',
      'routers.app.endpoints must be an address or a list of addresses: value "1"; write one',
    ],
    [ONE, 'routers.app.prefix is missing; add it'],
    [`${ONE}, prefix: "a\\nb"`, 'routers.app.prefix cannot stand in a key'],
    [`${ONE}, prefix: p, user: me`, 'routers.app needs both of `user` and `password`, or neither'],
    [`${ONE}, prefix: p, key: c.key`, 'routers.app needs both of `cert` and `key`, or neither'],
    [
      `${ONE}, prefix: p, user: me, password: c4nary`,
      'routers.app.password is written out; keep it in the environment',
    ],
    [`${ONE}, prefix: p, user: me, password: 4`, 'routers.app.password must be text, and is a number; '],
  ])('refuses %s and tells no secret', (router, problem) => {
    const told = problemOf(`kind: etcd, ${router}`);
    expect(told).toContain(problem);
    expect(told).not.toContain('c4nary');
  });
});
