import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunningServer } from '../../src/demo/servers.ts';
import { sleep } from '../../src/platform/clock.ts';
import { runSql } from './servers.ts';

/** Authorities and certificates made by openssl, in a folder of their own. */
export interface Certificates {
  /** Path of an authority's certificate. */
  authority(name: 'ours' | 'other'): string;
  /** Puts `server.key` and `server.crt` into a folder, for its owner: whose name is in it, and how long it is valid. */
  issue(folder: string, certificate: { readonly names: string; readonly days: number }): void;
  /** Lets a server present the certificate: whose name is in it, and whether it has expired. Reloads it. */
  install(server: RunningServer, certificate: { readonly names: string; readonly days: number }): Promise<void>;
  remove(): void;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Null, with a loud line, where there is no openssl; under CI=true that is a failure. */
export const makeCertificates = (): Certificates | null => {
  const folder = mkdtempSync(join(tmpdir(), 'switchback-tls-'));
  const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  try {
    openssl('version');
  } catch (error) {
    rmSync(folder, { recursive: true });
    if (process.env.CI === 'true') throw error;
    process.stderr.write('SKIPPED: no openssl here, so nothing is known about TLS\n');
    return null;
  }
  for (const name of ['ours', 'other']) {
    openssl(
      'req',
      '-x509',
      ...KEY,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
      '-subj',
      `/CN=${name}`,
      '-days',
      '2',
    );
  }
  const issue: Certificates['issue'] = (to, { names, days }) => {
    writeFileSync(join(folder, 'names'), `subjectAltName=${names}\n`);
    openssl('req', ...KEY, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=server');
    const signed = ['-CA', 'ours.crt', '-CAkey', 'ours.key', '-CAcreateserial', '-extfile', 'names'];
    openssl('x509', '-req', '-in', 'server.csr', ...signed, '-days', String(days), '-out', 'server.crt');
    const { uid, gid } = statSync(to);
    for (const name of ['server.key', 'server.crt']) {
      copyFileSync(join(folder, name), join(to, name));
      chmodSync(join(to, name), 0o600);
      chownSync(join(to, name), uid, gid);
    }
  };
  return {
    authority: (name) => join(folder, `${name}.crt`),
    issue,
    install: async (server, certificate) => {
      issue(join(server.directory, 'data'), certificate);
      await runSql(server.url, 'ALTER SYSTEM SET ssl = on');
      await runSql(server.url, 'SELECT pg_reload_conf()');
      // The server says nothing when it has read them; a session begun now may still see the certificate before.
      await sleep(500);
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
};
