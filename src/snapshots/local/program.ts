import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { after } from '../../platform/clock.ts';
import { redactText } from '../../platform/redact.ts';

const KEPT_CHARS = 64 * 1024;
/** From SIGTERM to SIGKILL: a server's program cancels what it has under way there. */
const GRACE_MS = 5_000;

/** What libpq would read from the environment although a URL says, or means, something else. */
const NOT_INHERITED = /^PG(HOSTADDR|SERVICE|SERVICEFILE|OPTIONS|SSL.*|REQUIRESSL|GSSENCMODE|TARGETSESSIONATTRS)$/;

/** What a program needs that connects to nothing: our environment has the secrets of the plan. */
const HARMLESS = /^(PATH|HOME|TMPDIR|LANG|LANGUAGE|LC_.*|TZ|LD_LIBRARY_PATH)$/;

/**
 * Ends the whole group when our own end of its input closes, which is also when we are killed. The program itself has no input.
 */
const GUARD =
  'exec 3<&0; "$@" 3<&- </dev/null & main=$!; { cat <&3; kill -TERM 0; } >/dev/null 2>&1 & exec 3<&- </dev/null; wait $main';

/** A program to run. */
export interface Run {
  readonly program: string;
  readonly args: readonly string[];
  /** Given by the environment, which others on the machine cannot read, as they can arguments. */
  readonly password?: string | undefined;
  /**
   * That it connects to nothing with what our environment says. It gets none of the secrets there, which a server would keep for
   * its whole life, where its superusers and whoever it runs as can read them.
   */
  readonly needsNoSecrets?: boolean;
  readonly directory?: string;
  readonly signal?: AbortSignal;
  /** Whom it runs as; whom we run as where nothing is said. */
  readonly runAs?: { readonly uid?: number; readonly gid?: number };
  /** Called with each line of its standard error. Must not throw. */
  readonly onLine?: (line: string) => void;
}

/** How it ended: exit code, or null where it was ended by a signal; the last of what it said. */
export interface RunEnd {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Path of one of PostgreSQL's programs: in the plan's folder of them, or as PATH finds it. */
export const programIn = (bin: string | null, name: string): string => (bin === null ? name : join(bin, name));

const environmentFor = ({ password, needsNoSecrets }: Run): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) =>
      needsNoSecrets === true ? HARMLESS.test(name) : !NOT_INHERITED.test(name),
    ),
  ),
  LC_ALL: 'C',
  ...(password === undefined ? {} : { PGPASSWORD: password }),
});

const signalGroup = (child: ChildProcess, signal: NodeJS.Signals): void => {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
};

/** Kind `usage` for a program that is not there. */
export const missingProgram = (program: string, why: string): SwitchbackError =>
  new SwitchbackError('usage', `${program} cannot be run: ${why}`, {
    remedy:
      "install PostgreSQL's programs, of the source's version or later, or name their folder in `snapshots.bin` of the plan",
  });

/**
 * Runs a program in a process group of its own, which ends when the signal is aborted and when this process dies, however it
 * does. Rejects with an AbortError after the whole group has ended, and with kind `usage` when there is no such program.
 */
export const runToEnd = async (run: Run): Promise<RunEnd> => {
  run.signal?.throwIfAborted();
  const child = spawn('/bin/sh', ['-c', GUARD, 'sh', run.program, ...run.args], {
    cwd: run.directory ?? '/',
    env: environmentFor(run),
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...run.runAs,
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.stdout = (said.stdout + text).slice(-KEPT_CHARS);
  });
  let line = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr = (said.stderr + text).slice(-KEPT_CHARS);
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    for (const whole of lines) run.onLine?.(whole);
  });
  child.stdin.on('error', () => undefined);
  let cancel = (): void => undefined;
  const onAbort = (): void => {
    signalGroup(child, 'SIGTERM');
    cancel = after(GRACE_MS, () => signalGroup(child, 'SIGKILL'));
  };
  run.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    run.signal?.throwIfAborted();
    if (code === 127) throw missingProgram(run.program, redactText(said.stderr.trim()));
    return { code, ...said };
  } catch (error) {
    if (error instanceof SwitchbackError || run.signal?.aborted === true) throw error;
    throw missingProgram(run.program, messageOf(error));
  } finally {
    run.signal?.removeEventListener('abort', onAbort);
    cancel();
  }
};

/** The major version of a program: 15 for `pg_dump (PostgreSQL) 15.18 (Debian …)`. Throws kind `usage` when it cannot be run. */
export const majorOf = async (program: string): Promise<number> => {
  const { code, stdout, stderr } = await runToEnd({ program, args: ['--version'] });
  const major = Number(/\s(\d+)(?:\.\d+|beta|rc|devel)/.exec(stdout)?.[1]);
  if (code === 0 && major > 0) return major;
  throw missingProgram(program, redactText(stderr.trim() || stdout.trim() || `it ended with code ${code}`));
};

/** The error for a program that failed, with the last that it said. */
export const failedProgram = ({ program }: Run, { code, stderr }: RunEnd): SwitchbackError => {
  const lines = redactText(stderr.trim()).split('\n');
  const telling = lines.filter((line) => /error|fatal|panic/i.test(line));
  const said = (telling.length > 0 ? telling : lines).slice(-4).join(' ') || `it ended with code ${code}`;
  const isFull = /No space left on device|Disk quota exceeded|File too large/.test(stderr);
  const isDenied = /permission denied|must be superuser|no pg_hba.conf entry|password authentication failed/i.test(
    stderr,
  );
  return new SwitchbackError(isDenied ? 'refused' : 'unreachable', `${program} failed: ${said}`, {
    remedy: isFull
      ? 'make room where temporary files go (TMPDIR), or let TMPDIR name a larger disk; then give the command again'
      : isDenied
        ? 'give our role the right that it names; then give the command again'
        : 'mend what it names; then give the command again',
  });
};
