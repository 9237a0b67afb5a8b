import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuardedProcess } from './guarded.ts';
import { freePort } from './servers.ts';

/** A HAProxy that can be run: its program, with what has to be in front of it. */
export type ProxyProgram = readonly [string, ...string[]];

/** How a proxy is set up. */
export interface ProxyOptions {
  readonly program?: ProxyProgram;
  /** Names of frontends that get a port each. */
  readonly frontends: readonly string[];
  /** Sections behind `global` and `defaults`, made from the ports. */
  sections(portOf: (frontend: string) => number): string;
  /** Level of the runtime socket. */
  readonly level?: 'admin' | 'operator';
}

/** A HAProxy of this machine in TCP mode. */
export interface RunningProxy {
  /** The runtime socket's path. */
  readonly socket: string;
  readonly config: string;
  portOf(frontend: string): number;
  /** URL of a database behind a frontend: that of the server with another port. */
  urlThrough(frontend: string, url: string): string;
  /** A command on the runtime socket. */
  ask(command: string): Promise<string>;
  /** What the file says; writing it has no effect before the next start. */
  text(): string;
  write(text: string): void;
  signal(signal: NodeJS.Signals): void;
  /** Starts anew after `stop`, with the same ports and file. */
  start(): Promise<void>;
  stop(): Promise<void>;
  stopAndRemove(): Promise<void>;
}

const PROGRAM: ProxyProgram = ['haproxy'];

/** Debian has it where only root's PATH leads. */
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: `${process.env.PATH}:/usr/sbin` });

/** What keeps a HAProxy from running here; undefined when nothing does. */
export const proxyProblem = ([program, ...words]: ProxyProgram = PROGRAM): string | undefined => {
  const result = spawnSync(program, [...words, '-v'], { env: environment(), encoding: 'utf8' });
  return result.status === 0 ? undefined : (result.error?.message ?? result.stderr.trim());
};

/** Starts a HAProxy on free ports of the loopback address. The caller calls `stopAndRemove`. */
export const startProxy = async (options: ProxyOptions): Promise<RunningProxy> => {
  const ports = new Map<string, number>();
  for (const frontend of options.frontends) ports.set(frontend, await freePort());
  const proxy = new LocalProxy(options, ports);
  await proxy.start();
  return proxy;
};

class LocalProxy implements RunningProxy {
  readonly socket: string;
  readonly config: string;
  readonly #directory: string;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #program: ProxyProgram;
  #process: GuardedProcess | undefined;

  constructor(options: ProxyOptions, ports: ReadonlyMap<string, number>) {
    this.#ports = ports;
    this.#program = options.program ?? PROGRAM;
    this.#directory = mkdtempSync(join(tmpdir(), 'switchback-haproxy-'));
    this.socket = join(this.#directory, 'admin.sock');
    this.config = join(this.#directory, 'haproxy.cfg');
    const head = [
      'global',
      `    stats socket ${this.socket} level ${options.level ?? 'admin'}`,
      '    maxconn 500',
      'defaults',
      '    mode tcp',
      '    timeout connect 2s',
      '    timeout client 1h',
      '    timeout server 1h',
    ];
    writeFileSync(this.config, `${head.join('\n')}\n${options.sections((name) => this.portOf(name))}`);
  }

  portOf(frontend: string): number {
    const port = this.#ports.get(frontend);
    if (port === undefined) throw new Error(`no frontend ${frontend}`);
    return port;
  }

  urlThrough(frontend: string, url: string): string {
    const through = new URL(url);
    through.hostname = '127.0.0.1';
    through.port = String(this.portOf(frontend));
    return through.href;
  }

  async ask(command: string): Promise<string> {
    const socket = createConnection(this.socket);
    const parts: string[] = [];
    socket.setEncoding('utf8').write(`${command}\n`);
    for await (const part of socket) parts.push(String(part));
    return parts.join('').trim();
  }

  text(): string {
    return readFileSync(this.config, 'utf8');
  }

  write(text: string): void {
    writeFileSync(this.config, text);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal);
  }

  async start(): Promise<void> {
    this.#process = await GuardedProcess.start({
      argv: [...this.#program, '-db', '-f', this.config],
      log: join(this.#directory, 'log'),
      environment: environment(),
    });
    await this.#process.untilReady(() => this.ask('show info'));
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    this.#process = undefined;
  }

  async stopAndRemove(): Promise<void> {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
