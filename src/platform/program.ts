import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { messageOf } from '../domain/errors.ts';

/** A program to run, without a shell. */
export interface ProgramSpec {
  readonly argv: readonly string[];
  readonly directory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly timeoutMs: number;
}

/** How a run ended. Output is the first 64 KiB of each stream. */
export interface ProgramEnd {
  /** `absent`: it could not be started, so nothing was done. `timeout`: it was ended by us. `signal`: by somebody else. */
  readonly how: 'exit' | 'signal' | 'timeout' | 'absent';
  /** The exit code, for `exit`; otherwise null. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT_BYTES = 64 * 1024;
/** From SIGTERM to SIGKILL. */
const GRACE_MS = 1_000;
/** For output that is still in the pipe when the program has ended; a daemon that it left behind may never close it. */
const DRAIN_MS = 200;

/** Collects the beginning of a stream and reads on without keeping the rest, so that the program never waits for us. */
const collect = (stream: Readable | null): (() => string) => {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    const kept = chunk.subarray(0, MAX_OUTPUT_BYTES - size);
    if (kept.length > 0) chunks.push(kept);
    size += kept.length;
  });
  return () => Buffer.concat(chunks).toString('utf8');
};

/** Signals a whole process group. One that is gone, or has become another user's, is no reason to fail: the end is told. */
const signalGroup = (child: ChildProcess, signal: NodeJS.Signals): void => {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
};

/** Starts a program; the reason when that cannot even be tried, as with a NUL in an argument. */
const start = ({ argv, directory, environment }: ProgramSpec): ChildProcess | string => {
  const [program = '', ...rest] = argv;
  try {
    return spawn(program, rest, {
      cwd: directory,
      env: { ...environment },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    return messageOf(error);
  }
};

/**
 * Runs a program to its end in a process group of its own, with no input, so that neither Ctrl-C at our terminal nor a
 * question to the operator can reach it. When the time is over, the group gets SIGTERM and a second later SIGKILL. Never
 * rejects.
 */
export const runProgram = async (spec: ProgramSpec): Promise<ProgramEnd> => {
  const child = start(spec);
  if (typeof child === 'string') return { how: 'absent', code: null, stdout: '', stderr: child };
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const end = await endOf(child, spec.timeoutMs);
  child.stdout?.destroy();
  child.stderr?.destroy();
  return { how: end.how, code: end.code, stdout: stdout(), stderr: end.reason ?? stderr() };
};

type End = Pick<ProgramEnd, 'how' | 'code'> & { readonly reason?: string };

const endOf = (child: ChildProcess, timeoutMs: number): Promise<End> => {
  const timers: NodeJS.Timeout[] = [];
  const after = (ms: number, act: () => void): void => void timers.push(setTimeout(act, ms));
  let timedOut = false;
  return new Promise<End>((resolve) => {
    const ended = (code: number | null): void => {
      if (timedOut) signalGroup(child, 'SIGKILL');
      const how = timedOut ? 'timeout' : code === null ? 'signal' : 'exit';
      resolve({ how, code: timedOut ? null : code });
    };
    child.once('error', (error) => resolve({ how: 'absent', code: null, reason: error.message }));
    child.once('close', ended);
    child.once('exit', (code) => after(DRAIN_MS, () => ended(code)));
    after(timeoutMs, () => {
      timedOut = true;
      signalGroup(child, 'SIGTERM');
      after(GRACE_MS, () => ended(null));
    });
  }).finally(() => {
    for (const timer of timers) clearTimeout(timer);
  });
};
