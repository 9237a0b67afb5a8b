import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { runProgram } from '../../src/platform/program.ts';
import { insideTree, serviceProblem, servicesDirectory } from '../services/tree.ts';

/** A reference that is a program, and how it is called here. */
export interface Program {
  /** Its name and version, as tables have it. */
  readonly name: string;
  /** Words before its arguments. */
  readonly argv: readonly string[];
}

const onPath = (name: string): string | undefined => {
  const isProgram = (path: string): boolean => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  };
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find(isProgram);
};

const versionBy = (argv: readonly string[], pattern: RegExp): string | undefined => {
  const [program = '', ...words] = argv;
  const { stdout, stderr } = spawnSync(program, [...words, '--version'], { encoding: 'utf8' });
  return pattern.exec(`${stdout ?? ''} ${stderr ?? ''}`)?.[1];
};

/** pgcopydb from PATH, or from the tree that `npm run services` makes; undefined when it is in neither or does not run. */
export const findPgcopydb = (): Program | undefined => {
  const own = onPath('pgcopydb');
  const candidates = [
    ...(own === undefined ? [] : [[own]]),
    ...(serviceProblem('pgcopydb') === undefined ? [[...insideTree(servicesDirectory()), 'pgcopydb']] : []),
  ];
  for (const argv of candidates) {
    const version = versionBy(argv, /pgcopydb version (\d+\.\d+)/);
    if (version !== undefined) return { name: `pgcopydb ${version}`, argv };
  }
  return undefined;
};

/** A client program of PostgreSQL on PATH with its major version, which no server it is used with may exceed. */
export const findClient = (name: 'psql' | 'pg_dump'): { readonly path: string; readonly major: number } | undefined => {
  const path = onPath(name);
  const major = path === undefined ? undefined : versionBy([path], /\(PostgreSQL\) (\d+)/);
  return path === undefined || major === undefined ? undefined : { path, major: Number(major) };
};

/** How many copies and builds a reference may run at once: what its own documentation calls sensible, one per core. */
export const jobs = (): number => availableParallelism();

const LONGEST_MS = 900_000;

/** Runs a program to its end. Throws with what it said last when it fails. */
export const runReference = async (argv: readonly string[]): Promise<void> => {
  const end = await runProgram({
    argv,
    directory: '/',
    environment: { ...process.env, LC_ALL: 'C' },
    timeoutMs: LONGEST_MS,
  });
  if (end.how === 'exit' && end.code === 0) return;
  const said = `${end.stdout}\n${end.stderr}`.trim().split('\n').slice(-15).join('\n');
  throw new Error(`${argv.at(0)} ended by ${end.how} ${end.code ?? ''}: ${said}`);
};

/** A new empty directory, which programs of the tree find by the same name; `remove` takes it away with what is in it. */
export const scratch = (): { readonly path: string; remove(): void } => {
  const path = mkdtempSync(join(tmpdir(), 'switchback-bench-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
};
