import { spawn } from 'node:child_process';
import { messageOf, SwitchbackError } from '../../../domain/errors.ts';
import type { SqlExecutor } from '../../../domain/sql.ts';
import { readPostgresUrl } from '../../../platform/postgres/url.ts';
import { redactText } from '../../../platform/redact.ts';
import type { Script } from './script.ts';
import { type Statement, splitStatements } from './split.ts';

/** The pg_dump to use, and the database to read. */
export interface DumpOptions {
  /** Path of the program, or its name to be found on PATH. */
  readonly program: string;
  readonly url: string;
  /** The server's major version; pg_dump cannot read a server newer than itself. */
  readonly sourceMajor: number;
}

// Tablespaces are a matter of one server's disks. The sidecar, and the schema of our DBA's helper, stay where they are.
const DUMP_ARGUMENTS = [
  '--schema-only',
  '--no-publications',
  '--no-subscriptions',
  '--no-tablespaces',
  '--exclude-schema=switchback',
  '--exclude-schema=switchback_admin',
  '--lock-wait-timeout=30000',
  '--encoding=UTF8',
];
const OUTPUT_LIMIT_BYTES = 512 * 2 ** 20;
const STDERR_KEPT_CHARS = 4_000;

/** What libpq would read from the environment although the plan's URL says, or means, something else. */
const NOT_INHERITED = /^PG(HOSTADDR|SERVICE|SERVICEFILE|OPTIONS|SSL.*|REQUIRESSL|GSSENCMODE|TARGETSESSIONATTRS)$/;

/** Writes the source's schema as SQL. Throws kind `usage` when pg_dump is missing or too old, `unreachable` when it fails. */
export const dumpSchema = async (options: DumpOptions): Promise<Script> => {
  const { libpq, password } = readPostgresUrl(options.url, 'source');
  try {
    const text = await run(options.program, [...DUMP_ARGUMENTS, `--dbname=${libpq}`], password);
    return { name: 'pg_dump', text };
  } catch (error) {
    // It refuses a newer server by itself; its version is asked only then, since on Debian each start of it takes a while.
    await requireVersion(options);
    throw error;
  }
};

const requireVersion = async (options: DumpOptions): Promise<void> => {
  const said = await run(options.program, ['--version'], undefined);
  const major = Number(/\s(\d+)(?:\.\d+|beta|rc|devel)/.exec(said)?.[1]);
  if (major >= options.sourceMajor) return;
  throw new SwitchbackError('usage', `${options.program} is "${said.trim()}"; the source is ${options.sourceMajor}`, {
    remedy: installRemedy(options.sourceMajor),
  });
};

const installRemedy = (major: number | string): string =>
  `install PostgreSQL's client programs, version ${major} or later (package postgresql-client-${major}), ` +
  'name another pg_dump in PG_DUMP, or use schema: { files: [...] } or { from: existing }';

const run = async (program: string, args: readonly string[], password: string | undefined): Promise<string> => {
  const inherited = Object.entries(process.env).filter(([name]) => !NOT_INHERITED.test(name));
  // Not an argument: those can be read by everybody on the machine.
  const secret = password === undefined ? {} : { PGPASSWORD: password };
  const env = { ...Object.fromEntries(inherited), LC_ALL: 'C', ...secret };
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  let bytes = 0;
  let complaint = '';
  child.stdout.on('data', (data: Buffer) => {
    bytes += data.length;
    if (bytes > OUTPUT_LIMIT_BYTES) child.kill();
    else output.push(data);
  });
  child.stderr.setEncoding('utf8').on('data', (data: string) => {
    complaint = (complaint + data).slice(-STDERR_KEPT_CHARS);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', (error) => reject(missing(program, error)));
  });
  if (code === 0) return Buffer.concat(output).toString('utf8');
  const reason =
    bytes > OUTPUT_LIMIT_BYTES ? 'wrote more than 512 MiB' : redactText(complaint.trim()) || `ended with code ${code}`;
  throw new SwitchbackError('unreachable', `${program} failed: ${reason}`, {
    remedy: `try: ${program} ${args.map((arg) => (/[?&]/.test(arg) ? `'${arg}'` : arg)).join(' ')}`,
  });
};

const missing = (program: string, error: unknown): SwitchbackError =>
  new SwitchbackError('usage', `${program} cannot be run: ${messageOf(error)}`, {
    remedy: installRemedy("of the source's"),
    cause: error,
  });

const SETTING = /^SET\s+(?:SESSION\s+)?([a-z_][a-z_0-9.]*)\s*(?:=|\sTO\s)/i;

/**
 * The statements of a dump that this server can run: without psql's own commands (`\restrict` of newer minors) and without
 * settings that it does not know (`transaction_timeout` of newer dumps). Comments on extensions are theirs by installation,
 * and only an extension's owner may set them again.
 */
export const dumpStatements = async (sql: SqlExecutor, script: Script): Promise<readonly Statement[]> => {
  const { rows } = await sql.query('SELECT lower(name) AS name FROM pg_settings');
  const known = new Set(rows.map((row) => row.name));
  return splitStatements(script.text).filter(({ text }) => {
    const setting = SETTING.exec(text)?.[1]?.toLowerCase();
    const isUnknown = setting !== undefined && !setting.includes('.') && !known.has(setting);
    return !isUnknown && !text.startsWith('\\') && !text.startsWith('COMMENT ON EXTENSION ');
  });
};
