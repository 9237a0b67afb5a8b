import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { unprivileged } from '../../src/demo/binaries.ts';
import { freePort } from '../../src/demo/servers.ts';
import { runProgram } from '../../src/platform/program.ts';
import { describeWithServices, type RunningService, serviceArgv, startService } from '../support/services.ts';

/** The tree that other tests find their servers in: packages are unpacked there and never configured, so each is asked. */
describeWithServices('programs of the tree', ['pgcopydb', 'pgbouncer', 'haproxy', 'etcd', 'moto_server'], () => {
  const directory = mkdtempSync(join(tmpdir(), 'switchback-tree-'));
  const running: RunningService[] = [];
  afterAll(async () => {
    await Promise.all(running.map((service) => service.stop()));
    rmSync(directory, { recursive: true });
  });
  const saidBy = async (argv: readonly string[]): Promise<string> => {
    const { stdout, stderr } = await runProgram({ argv, directory: '/', environment: process.env, timeoutMs: 30_000 });
    return `${stdout}${stderr}`;
  };

  it('run as whom they should, and see temporary files by the names that these have outside', async () => {
    const { uid = -1 } = unprivileged();
    const said = await saidBy([...serviceArgv('pgbouncer', unprivileged()), '--version']);
    expect(said).toMatch(/^PgBouncer 1\.(2[6-9]|[3-9]\d)/);
    const shell = serviceArgv('haproxy', { uid, gid: uid }).slice(0, -1);
    const file = join(directory, 'seen');
    writeFileSync(file, 'the same\n');
    chmodSync(directory, 0o755);
    expect(await saidBy([...shell, 'sh', '-c', 'id -u; cat "$0"', file])).toBe(`${uid}\nthe same\n`);
  });

  it('serve: etcd keeps a key, moto a hosted zone, a secret and a parameter', async () => {
    const [client, peer, aws] = [await freePort(), await freePort(), await freePort()];
    const at = (port: number): string => `http://127.0.0.1:${port}`;
    const urls = ['--listen-client-urls', at(client), '--advertise-client-urls', at(client)];
    const health = async (url: string): Promise<void> => {
      if (!(await fetch(url)).ok) throw new Error(`${url} is not ready`);
    };
    running.push(
      await startService({
        name: 'etcd',
        args: [...urls, '--listen-peer-urls', at(peer), '--data-dir', join(directory, 'etcd')],
        ready: () => health(`${at(client)}/health`),
      }),
      await startService({
        name: 'moto_server',
        args: ['-H', '127.0.0.1', '-p', String(aws)],
        ready: () => health(`${at(aws)}/moto-api/data.json`),
      }),
    );
    const put = JSON.stringify({ key: 'Zm9v', value: 'YmFy' });
    expect((await fetch(`${at(client)}/v3/kv/put`, { method: 'POST', body: put })).status).toBe(200);
    const zones = await fetch(`${at(aws)}/2013-04-01/hostedzone`, {
      headers: { authorization: 'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/route53/aws4_request' },
    });
    expect(await zones.text()).toContain('ListHostedZonesResponse');
    for (const target of ['secretsmanager.ListSecrets', 'AmazonSSM.DescribeParameters']) {
      const service = target.startsWith('secrets') ? 'secretsmanager' : 'ssm';
      const answer = await fetch(at(aws), {
        method: 'POST',
        body: '{}',
        headers: {
          authorization: `AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/${service}/aws4_request`,
          'content-type': 'application/x-amz-json-1.1',
          'x-amz-target': target,
        },
      });
      expect(`${target} ${answer.status}`).toBe(`${target} 200`);
    }
  });

  it('end when they are stopped', async () => {
    const port = await freePort();
    const config = join(directory, 'listening.cfg');
    const timeouts = '  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n';
    writeFileSync(config, `defaults\n  mode tcp\n${timeouts}listen a\n  bind 127.0.0.1:${port}\n`);
    const connect = async (): Promise<void> => {
      const socket = createConnection(port, '127.0.0.1');
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      socket.once('connect', resolve).once('error', reject);
      await promise.finally(() => socket.destroy());
    };
    const service = await startService({ name: 'haproxy', args: ['-db', '-f', config], ready: connect });
    await service.stop();
    await expect(connect()).rejects.toThrow('ECONNREFUSED');
    expect(() => process.kill(service.pid, 0)).toThrow('ESRCH');
  });
});
