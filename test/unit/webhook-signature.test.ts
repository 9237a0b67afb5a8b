import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { guardedLookup, isGuarded } from '../../src/platform/http.ts';
import { messageOf } from '../../src/routers/webhook/message.ts';
import { signatureOf } from '../../src/routers/webhook/signature.ts';

const SECRET = 'a secret of the test';
const PAGE = readFileSync(fileURLToPath(new URL('../../docs/repointing.md', import.meta.url)), 'utf8');

type Verify = (
  request: { readonly headers: Readonly<Record<string, string>>; readonly text: string },
  secret: string,
  now?: number,
) => boolean;

/** The verifier that the documentation gives to whoever writes a receiver. */
const documented = async (): Promise<Verify> => {
  const [, code] = /```js\n(\/\/ verify\.mjs[\s\S]*?)```/.exec(PAGE) ?? [];
  const folder = mkdtempSync(join(tmpdir(), 'switchback-verify-'));
  try {
    writeFileSync(join(folder, 'verify.mjs'), code ?? '');
    return ((await import(join(folder, 'verify.mjs'))) as { isGenuine: Verify }).isGenuine;
  } finally {
    rmSync(folder, { recursive: true });
  }
};

// Made by: printf %s "$TIMESTAMP.$TEXT" | openssl dgst -sha256 -hmac "$SECRET"
const VECTORS: readonly (readonly [timestamp: number, text: string, signature: string])[] = [
  [
    1_800_000_000,
    '{"format":1,"run":"shop","action":"hold"}',
    'v1=02957c631a67f6bede1fa35787d2d8546199ccac851dc5bd852ca2b35519b755',
  ],
  [0, '', 'v1=f9658d7639e217e134999997c9f5a94858409dab0db3a0d7364174c748db8da4'],
  [
    1_800_000_001,
    'run=shop&action=observe&phase=größe',
    'v1=23be7f6ff20547a655d64a877865753f9bb355e61dfb83dbafb6833b967f77ad',
  ],
];

describe('the signature of a webhook', () => {
  test.each(VECTORS)('at %i over %s is what openssl makes', (timestamp, text, signature) => {
    expect(signatureOf(SECRET, timestamp, text)).toBe(signature);
  });

  test('is on the page, with the text that it is of', () => {
    const [, timestamp = '', text = '', signature] =
      /timestamp `(\d+)`[\s\S]*?body\s+`([^`]+)`[\s\S]*?signature\s+is\s+`(v1=[0-9a-f]{64})`/.exec(PAGE) ?? [];
    expect(signatureOf('0123456789abcdef0123456789abcdef', Number(timestamp), text)).toBe(signature);
  });

  test('is of the body, and of a GET of its query, at the time that is told', () => {
    const sender = { url: 'https://h/p?a=%20b', secret: SECRET, run: 'shop' };
    for (const method of ['GET', 'POST'] as const) {
      const { url, body, headers } = messageOf(sender, { action: 'observe', phases: ['a'] }, { method, key: 'k' });
      const text = method === 'GET' ? url.search.slice(1) : body;
      expect(text).not.toBe('');
      const timestamp = Number(headers['Switchback-Timestamp']);
      expect(headers['Switchback-Signature']).toBe(signatureOf(SECRET, timestamp, text));
      expect(JSON.stringify([url, body, headers])).not.toContain(SECRET);
    }
  });

  test('is verified by what the documentation gives, and nothing else passes', async () => {
    const isGenuine = await documented();
    const now = 1_800_000_000;
    const text = '{"action":"hold"}';
    const headersOf = (signature: string, timestamp = String(now)) => ({
      'switchback-timestamp': timestamp,
      'switchback-signature': signature,
    });
    const signature = signatureOf(SECRET, now, text);
    expect(isGenuine({ headers: headersOf(signature), text }, SECRET, now + 299)).toBe(true);
    expect(isGenuine({ headers: headersOf(signature), text }, SECRET, now - 299)).toBe(true);
    const others: readonly [string, Parameters<Verify>][] = [
      ['text', [{ headers: headersOf(signature), text: `${text} ` }, SECRET, now]],
      ['secret', [{ headers: headersOf(signature), text }, `${SECRET}!`, now]],
      ['time', [{ headers: headersOf(signature, String(now + 1)), text }, SECRET, now]],
      ['age', [{ headers: headersOf(signature), text }, SECRET, now + 301]],
      ['future', [{ headers: headersOf(signature), text }, SECRET, now - 301]],
      ['no time', [{ headers: headersOf(signatureOf(SECRET, Number.NaN, text), 'NaN'), text }, SECRET, now]],
      ['no headers', [{ headers: {}, text }, SECRET, now]],
      ['length', [{ headers: headersOf(`${signature}0`), text }, SECRET, now]],
      ['letters', [{ headers: headersOf(signature.replace('v', 'é')), text }, SECRET, now]],
    ];
    for (const [what, input] of others) expect(isGenuine(...input), what).toBe(false);
  });
});

describe('an address that secrets are sent to', () => {
  test.each([
    'https://hooks.example/route?a=b',
    'https://10.0.0.5:8443/',
    'https://[fd00::1]/',
    'http://localhost:8080/',
    'http://127.0.0.1/',
    'http://127.8.8.8/',
    'http://[::1]:80/x',
  ])('may be %s', (url) => expect(isGuarded(url)).toBe(true));

  test.each([
    'http://hooks.example/',
    'http://10.0.0.5/',
    'http://localhost.example/',
    'http://0.0.0.0/',
    'http://2852039166/',
    'https://169.254.169.254/latest',
    'https://[fe80::1]/',
    'https://[::ffff:169.254.169.254]/',
    'https://user:password@hooks.example/',
    'https://user@hooks.example/',
    'https://hooks.example/#a',
    'ftp://localhost/',
    'file:///etc/passwd',
    'hooks.example',
    '',
  ])('is never %s', (url) => expect(isGuarded(url)).toBe(false));
});

describe('a name', () => {
  type Resolve = NonNullable<Parameters<typeof guardedLookup>[1]>;
  const asked = (isSecure: boolean, addresses: readonly string[], all: boolean): unknown => {
    const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    const resolve = (_host: string, _options: object, tell: (error: null, found: unknown) => void) => tell(null, found);
    let told: unknown;
    guardedLookup(isSecure, resolve as unknown as Resolve)('h.example', { all }, (error, address) => {
      told = error === null ? address : error.message;
    });
    return told;
  };

  test('is asked at none of its addresses that may not be', () => {
    const refused = 'h.example leads to an address that may not be asked';
    const mixed = ['169.254.169.254', 'fe80::1', '::ffff:169.254.1.1', '10.0.0.5', '::1'];
    expect(asked(true, mixed, true)).toEqual([
      { address: '10.0.0.5', family: 4 },
      { address: '::1', family: 6 },
    ]);
    expect(asked(false, mixed, true)).toEqual([{ address: '::1', family: 6 }]);
    expect(asked(true, mixed, false)).toBe('10.0.0.5');
    expect([asked(true, ['169.254.169.254'], false), asked(false, ['10.0.0.5', 'fd00::1'], true)]).toEqual([
      refused,
      refused,
    ]);
  });
});
