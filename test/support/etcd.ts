import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, it } from 'vitest';
import { servicesDirectory } from '../../scripts/services/tree.ts';
import { GuardedProcess } from '../../src/demo/guarded.ts';
import { freePort } from '../../src/demo/servers.ts';
import { exchange, type TlsFiles } from '../../src/platform/http.ts';

/** An etcd that there is here. */
export interface EtcdProgram {
  readonly path: string;
  /** Major and minor. */
  readonly version: string;
}

/** With TLS: a folder with `server.key` and `server.crt`, and the authority of both sides' certificates. */
export interface EtcdTls {
  readonly folder: string;
  readonly ca: string;
}

const programAt = (path: string): EtcdProgram | null => {
  const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
  return status === 0 ? { path, version: /etcd Version: (\d+\.\d+)/.exec(stdout)?.[1] ?? 'unknown' } : null;
};

/** What is on PATH, and what is in the tree of services where it is one of another version. */
export const etcdPrograms = (): readonly EtcdProgram[] => {
  const [own, other] = [programAt('etcd'), programAt(join(servicesDirectory(), 'usr/bin/etcd'))];
  return [own, other?.version === own?.version ? null : other].flatMap((program) => program ?? []);
};

/** A process of etcd on free ports of the loopback address, which ends with us. The caller calls `remove`. */
export class EtcdMember {
  readonly url: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'switchback-etcd-'));
  readonly #program: EtcdProgram;
  readonly #peer: string;
  readonly #tls: EtcdTls | undefined;
  #process: GuardedProcess | undefined;

  private constructor(program: EtcdProgram, ports: readonly [number, number], tls?: EtcdTls) {
    this.#program = program;
    this.url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${ports[0]}`;
    this.#peer = `http://127.0.0.1:${ports[1]}`;
    this.#tls = tls;
  }

  /** A cluster, whose members know each other. */
  static async start(program: EtcdProgram, size = 1, tls?: EtcdTls): Promise<readonly EtcdMember[]> {
    const members: EtcdMember[] = [];
    for (let i = 0; i < size; i++) members.push(new EtcdMember(program, [await freePort(), await freePort()], tls));
    const cluster = members.map((member, index) => `m${index}=${member.#peer}`).join(',');
    await Promise.all(members.map((member, index) => member.#run(`m${index}`, cluster)));
    return members;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal);
  }

  /** Asks the gateway, past every router of ours. */
  async ask(path: string, body: object, how: { tls?: TlsFiles; token?: string } = {}): Promise<string> {
    const ca = this.#tls === undefined ? {} : { ca: this.#tls.ca };
    const end = await exchange({
      url: new URL(path, this.url),
      method: 'POST',
      headers: how.token === undefined ? {} : { Authorization: how.token },
      body: JSON.stringify(body),
      timeoutMs: 5_000,
      tls: how.tls ?? ca,
    });
    if (end.how !== 'answer' || end.answer.status !== 200) throw new Error(`${path}: ${JSON.stringify(end)}`);
    return end.answer.body;
  }

  /** What an administrator does with etcdctl. */
  async put(key: string, value: string): Promise<void> {
    await this.ask('/v3/kv/put', { key: base64(key), value: base64(value) });
  }

  async get(key: string): Promise<string | null> {
    const { kvs } = JSON.parse(await this.ask('/v3/kv/range', { key: base64(key) })) as {
      readonly kvs?: readonly { readonly value: string }[];
    };
    return kvs?.[0] === undefined ? null : Buffer.from(kvs[0].value, 'base64').toString();
  }

  async remove(): Promise<void> {
    await this.#process?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #run(name: string, cluster: string): Promise<void> {
    const secure = this.#tls && [
      `--cert-file=${join(this.#tls.folder, 'server.crt')}`,
      `--key-file=${join(this.#tls.folder, 'server.key')}`,
      `--trusted-ca-file=${this.#tls.ca}`,
      '--client-cert-auth',
    ];
    const words = [
      `--name=${name}`,
      `--data-dir=${join(this.#folder, 'data')}`,
      `--listen-client-urls=${this.url}`,
      `--advertise-client-urls=${this.url}`,
      `--listen-peer-urls=${this.#peer}`,
      `--initial-advertise-peer-urls=${this.#peer}`,
      `--initial-cluster=${cluster}`,
      '--heartbeat-interval=50',
      '--election-timeout=500',
      '--logger=zap',
      '--log-level=error',
      ...(secure ?? []),
    ];
    this.#process = await GuardedProcess.start({
      argv: [this.#program.path, ...words],
      log: join(this.#folder, 'log'),
    });
    const cert = this.#tls && { cert: join(this.#tls.folder, 'server.crt'), key: join(this.#tls.folder, 'server.key') };
    const tls = this.#tls === undefined ? {} : { ca: this.#tls.ca, ...cert };
    await this.#process.untilReady(() => this.ask('/v3/kv/range', { key: base64('ready') }, { tls }));
  }
}

export const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** Starts members that are removed after the tests. */
export type StartEtcd = (size?: number, tls?: EtcdTls) => Promise<readonly [EtcdMember, ...EtcdMember[]]>;

/**
 * Tests that need etcd, once for each version that there is. Where there is none they are skipped, with a line that says
 * so; under CI=true that is a failure.
 */
export const describeWithEtcd = (name: string, tests: (start: StartEtcd, version: string) => void): void => {
  const programs = etcdPrograms();
  if (programs.length === 0 && process.env.CI === 'true') {
    it(`${name} needs etcd`, () => {
      throw new Error('there is no etcd on PATH: apt-get install etcd-server');
    });
  } else if (programs.length === 0) {
    process.stderr.write('SKIPPED: no etcd here, so nothing is known about its router\n');
    describe.skip(name, () => tests(async () => Promise.reject(new Error('no etcd')), ''));
  }
  for (const program of programs) {
    describe(`${name}, etcd ${program.version}`, () => {
      const members: EtcdMember[] = [];
      afterAll(async () => {
        await Promise.all(members.map((member) => member.remove()));
      });
      tests(async (size, tls) => {
        const started = await EtcdMember.start(program, size, tls);
        members.push(...started);
        return started as readonly [EtcdMember, ...EtcdMember[]];
      }, program.version);
    });
  }
};
