import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { judgeProtection } from '../../src/databases/postgres/checks/judge/protection.ts';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';
import { PINNED_SETTINGS } from '../../src/platform/postgres/settings.ts';
import { conninfoOf, readPostgresUrl } from '../../src/platform/postgres/url.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchback-url-'));
const ca = join(folder, 'ca.crt');
writeFileSync(ca, 'pem');
afterAll(() => rmSync(folder, { recursive: true }));

const failure = (url: string): SwitchbackError => {
  try {
    readPostgresUrl(url, 'source');
  } catch (error) {
    if (error instanceof SwitchbackError) return error;
    throw error;
  }
  throw new Error('it was read');
};
const modeOf = (url: string) => readPostgresUrl(url, 'source').protection.mode;

describe('without sslmode', () => {
  test.each(['localhost', '127.0.0.1', '127.8.8.8', '[::1]', '%2Fvar%2Frun'])('%s is local and plain', (host) => {
    expect(readPostgresUrl(`postgresql://u@${host}/d`, 'source').protection).toEqual({ mode: 'disable', local: true });
  });

  test.each(['db.example', '10.0.0.1', '[fd00::1]', '127.example', 'localhost.example'])(
    '%s is verified in full',
    (host) => {
      const { protection, libpq } = readPostgresUrl(`postgresql://u@${host}/d`, 'source');
      expect(protection).toEqual({ mode: 'verify-full', local: false });
      expect(libpq).toMatch(/sslmode=verify-full.*sslrootcert=/);
    },
  );

  test('a host as a parameter is the one that counts', () => {
    expect(modeOf('postgresql://u@localhost/d?host=db.example')).toBe('verify-full');
    expect(modeOf('postgresql://u@db.example/d?host=/var/run/postgresql')).toBe('disable');
  });
});

describe('a mode', () => {
  test.each([
    ['disable', 'disable'],
    ['require', 'require'],
    ['no-verify', 'require'],
    ['verify-full', 'verify-full'],
  ])('%s is %s for the driver and for pg_dump', (written, mode) => {
    const read = readPostgresUrl(`postgresql://u@db.example/d?sslmode=${written}`, 'source');
    expect(read.protection.mode).toBe(mode);
    expect(new URL(read.libpq).searchParams.get('sslmode')).toBe(mode);
    expect(read.driver.ssl === false).toBe(mode === 'disable');
  });

  test('require with an authority checks against it, as in libpq', () => {
    const ssl = (parameters: string) => readPostgresUrl(`postgresql://db.example/d?${parameters}`, 'source').driver.ssl;
    expect(ssl(`sslmode=require&sslrootcert=${ca}`)).toMatchObject({ ca: 'pem', rejectUnauthorized: true });
    expect(ssl('sslmode=require')).toMatchObject({ rejectUnauthorized: false });
  });

  test.each([
    ['sslmode=prefer', /falls back to plain text/],
    ['sslmode=allow', /falls back to plain text/],
    ['sslmode=VERIFY-FULL', /no mode/],
    ['sslmode=', /no mode/],
    ['sslmode=verify-ca', /without an authority/],
    ['sslmode=verify-ca&sslrootcert=system', /without an authority/],
    ['sslmode=verify-full&sslrootcert=/not/there', /sslrootcert=\/not\/there, which cannot be read/],
    ['sslmode=require&sslkey=/not/there', /sslkey/],
    ['ssl=true', /parameter ssl,/],
    ['sslpassword=canary', /parameter sslpassword,/],
    ['options=-c%20synchronous_commit%3Doff', /parameter options,/],
    ['application_name=canary', /parameter application_name,/],
  ])('%s is refused', (parameters, why) => {
    const error = failure(`postgresql://u:canary@db.example/d?${parameters}`);
    expect([error.kind, error.message]).toEqual(['usage', expect.stringMatching(why)]);
    expect(`${error.message} ${error.remedy}`).not.toContain('canary');
  });
});

test('nothing in a URL changes what is pinned on our sessions, and no password is an argument', () => {
  const url = 'postgresql://us%40er:ca%6Eary%2F%zz@localhost:5433/a%2Fb%3F?sslmode=disable';
  const server = new PostgresServer({ url, label: 'source', application: 'switchback/x' });
  const config = server.config('test');
  expect(config).toMatchObject({
    host: 'localhost',
    port: 5433,
    user: 'us@er',
    database: 'a/b?',
    application_name: 'switchback/x:test',
  });
  for (const [name, value] of Object.entries(PINNED_SETTINGS)) expect(config.options).toContain(`-c ${name}=${value}`);
  expect(config).not.toHaveProperty('connectionString');
  const { libpq } = readPostgresUrl(url, 'source');
  expect(libpq).toBe('postgresql:///a%2Fb%3F?host=localhost&sslmode=disable&connect_timeout=10&port=5433&user=us%40er');
});

describe('check', () => {
  const judged = (url: string) =>
    judgeProtection({ label: 'source', protection: readPostgresUrl(url, 'source').protection }).map((f) => [
      f.id,
      f.severity,
    ]);

  test.each(['disable', 'require', `verify-ca&sslrootcert=${ca}`])('warns of %s to another machine', (mode) => {
    expect(judged(`postgresql://db.example/d?sslmode=${mode}`)).toEqual([['connection/not-verified', 'warns']]);
  });

  test('is content with verify-full, and with this machine', () => {
    expect(judged('postgresql://db.example/d')).toEqual([]);
    expect(judged('postgresql://localhost/d?sslmode=disable')).toEqual([]);
  });
});

describe('what a server is given to reach another one', () => {
  const common = "connect_timeout='10' options='-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3'";

  test('has every part quoted, and protection as the URL says', () => {
    const url = `postgresql://us%27er:p%5Cw%27d@db.example:6543/my%20db?sslrootcert=/there/ca.crt`;
    expect(conninfoOf(url, 'source')).toBe(
      `host='db.example' port='6543' dbname='my db' user='us\\'er' password='p\\\\w\\'d' sslmode='verify-full' sslrootcert='/there/ca.crt' ${common}`,
    );
  });

  test('reads no file of ours, and refuses what would fall back to plain text', () => {
    expect(conninfoOf(`postgresql://u@10.0.0.5/d?sslmode=verify-ca&sslrootcert=/nowhere/ca.crt`, 'source')).toContain(
      `sslmode='verify-ca' sslrootcert='/nowhere/ca.crt'`,
    );
    expect(() => conninfoOf('postgresql://u@10.0.0.5/d?sslmode=prefer', 'source')).toThrow('sslmode=prefer');
    expect(() => conninfoOf('postgresql://u@10.0.0.5/d?options=-cx=1', 'source')).toThrow('the parameter options');
  });
});
