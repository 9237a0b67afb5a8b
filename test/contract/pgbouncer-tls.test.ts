import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeTemporaryDirectory, unprivileged } from '../../src/demo/binaries.ts';
import type { Pooler } from '../../src/demo/poolers.ts';
import { Console } from '../../src/routers/pgbouncer/console.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { describeWithPoolers } from '../support/pgbouncer.ts';

/** Passwords of an admin console go to whoever is at the other end, so that has to be who the URL means. */
describeWithPoolers('the console of a pooler with TLS', (makePooler) => {
  const folder = makeTemporaryDirectory('switchback-pooler-tls-', unprivileged());
  let certificates: Certificates | null;
  let pooler: Pooler;

  beforeAll(async () => {
    certificates = makeCertificates();
    certificates?.issue(folder, { names: 'IP:127.0.0.1', days: 2 });
    const tls = certificates === null ? '' : `client_tls_key_file = ${join(folder, 'server.key')}\n`;
    const more = `${tls}client_tls_cert_file = ${join(folder, 'server.crt')}\nclient_tls_sslmode = allow`;
    pooler = await makePooler({ mode: 'transaction', entries: 'shop = host=a\n', ...(tls === '' ? {} : { more }) });
  });
  afterAll(() => {
    certificates?.remove();
    rmSync(folder, { recursive: true });
  });

  it('is asked where its certificate is what the URL wants, and nowhere else', async (test) => {
    if (certificates === null) return test.skip('no openssl');
    const ask = async (parameters: string, host = '127.0.0.1'): Promise<string> => {
      const url = `${pooler.admin.replace('127.0.0.1', host)}?${parameters}`;
      const asked = new Console(url).settings();
      return await asked.then(
        (settings) => `asked: ${settings.get('client_tls_sslmode')}`,
        (error: unknown) => String(error).replace(/^SwitchbackError: /, ''),
      );
    };
    const root = (name: 'ours' | 'other') => `sslrootcert=${certificates?.authority(name)}`;
    expect(await ask('sslmode=require')).toBe('asked: allow');
    expect(await ask(`sslmode=verify-full&${root('ours')}`)).toBe('asked: allow');
    const refused = /^no session to PgBouncer at .* that is as safe as its URL asks/;
    expect(await ask(`sslmode=verify-full&${root('other')}`)).toMatch(refused);
    expect(await ask(`sslmode=verify-full&${root('ours')}`, 'localhost')).toMatch(refused);
    expect(await ask(`sslmode=verify-ca&${root('ours')}`, 'localhost')).toBe('asked: allow');
  });
});
