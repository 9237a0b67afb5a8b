// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to the environment are what is tested
import { describe, expect, test } from 'vitest';
import { messageOf } from '../../src/domain/errors.ts';
import { parsePlan } from '../../src/plan/load.ts';
import type { RouterPlan } from '../../src/plan/router-plan.ts';

const SECRET = 'c4nary-in-the-environment';
const ENV = {
  SECRET,
  SHORT: 'c4nary',
  HOOK: 'https://hooks.example/c4nary-path',
  PLAIN: 'http://c4nary.example/',
};

const parsed = (router: string): RouterPlan | undefined => {
  const text = `version: 1
name: shop
source: { url: "postgresql://old/shop" }
target: { url: "postgresql://new/shop" }
phases: [{ name: all, tables: [public.*], router: app }]
routers: { app: { ${router} } }
`;
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
    ['url: "https://me:c4nary@h/", secret: "${SECRET}"', 'routers.app.url holds a password: value "https://me:***@h/"'],
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
