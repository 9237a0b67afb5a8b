import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** What a sample client counts, as it prints it when it ends. */
export interface SampleCounts {
  readonly acknowledged: number;
  readonly readOnly: number;
  readonly unknown: number;
  readonly lost: number;
  readonly other: number;
}

/** A sample client at work. */
export interface RunningSample {
  readonly name: string;
  /** Ids of the payments that it has printed so far, in their order. */
  readonly acknowledged: readonly string[];
  /** Throws with what it said when it has ended by itself. */
  assertRuns(): void;
  /** Asks it to end after what it has in hand, and waits; throws with what it said unless it ends well. */
  stop(): Promise<SampleCounts>;
  /** Ends it at once; nothing when it has ended. */
  kill(): void;
}

/** A sample client that can be run here. */
export interface Sample {
  readonly name: string;
  readonly argv: readonly [string, ...string[]];
}

const inSamples = (path: string): string => fileURLToPath(new URL(`../../samples/${path}`, import.meta.url));

/** The distribution's own Python comes first: another one in the path does not see the distribution's packages. */
const PYTHONS = ['/usr/bin/python3', 'python3'];

/** A Python that has psycopg2, or undefined where none is here. */
export const findPython = (): string | undefined =>
  PYTHONS.find((python) => spawnSync(python, ['-c', 'import psycopg2'], { stdio: 'ignore' }).status === 0);

/** The sample clients, the one in Python where there is one for it. */
export const samplesWith = (python: string | undefined): readonly Sample[] => [
  { name: 'node', argv: [process.execPath, inSamples('node/client.mjs')] },
  ...(python === undefined ? [] : [{ name: 'python', argv: [python, inSamples('python/client.py')] } as const]),
];

/** Starts a sample client with these variables; it acknowledges nothing before it could write. */
export const startSample = ({ name, argv }: Sample, environment: Readonly<Record<string, string>>): RunningSample => {
  const [program, ...args] = argv;
  const child = spawn(program, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  const acknowledged: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => acknowledged.push(line));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4_000);
  });
  const ended = once(child, 'close');
  ended.catch(() => undefined);
  const endOf = () => new Error(`the sample in ${name} ended with ${child.exitCode ?? child.signalCode}: ${said}`);
  return {
    name,
    acknowledged,
    assertRuns: () => {
      if (hasEnded(child)) throw endOf();
    },
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
      if (child.exitCode !== 0) throw endOf();
      return JSON.parse(said.trim()) as SampleCounts;
    },
    kill: () => {
      if (!hasEnded(child)) child.kill('SIGKILL');
    },
  };
};

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;
