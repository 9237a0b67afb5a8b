import { randomBytes } from 'node:crypto';
import type { Side } from '../domain/position.ts';
import type { SqlExecutor } from '../domain/sql.ts';
import { build, execute, fetch } from './tables.ts';

/** Commands that move the readers of phases, by the side that they are led to. */
export const READERS_COMMANDS = { target: 'cutover --reads', source: 'failback --reads' } as const satisfies Record<
  Side,
  string
>;

/**
 * Commands that a worker executes for somebody else. Moving readers is not an option of another command: a worker that
 * does not know it must not take it for one that moves writers.
 */
export type RequestCommand =
  | 'cutover'
  | 'failback'
  | 'finalise'
  | 'abort'
  | 'verify'
  | 'resume'
  | (typeof READERS_COMMANDS)[Side];

/** How a request ended, as the asking command needs to know it. */
export interface RequestResult {
  readonly exitCode: number;
  readonly message: string;
  readonly remedy?: string;
  readonly findings?: readonly unknown[];
  readonly data?: unknown;
  /** The worker changed before the command was begun: whoever asked may ask again. */
  readonly unbegun?: true;
}

/** A command that waits for the worker, or that it has executed. */
export interface Request {
  /** Made by whoever asks, so that a request whose appending was not answered is found again, and never appended twice. */
  readonly token: string;
  readonly command: RequestCommand;
  readonly phases: readonly string[];
  readonly options: Readonly<Record<string, boolean>>;
  readonly by: string;
  readonly state: 'waiting' | 'taken' | 'done';
  readonly result: RequestResult | null;
}

/** What a request asks for. */
export type NewRequest = Pick<Request, 'command' | 'phases' | 'options' | 'by'>;

/** A name for a request that nobody else gives. */
export const requestToken = (): string => randomBytes(16).toString('hex');

/** Appends a request under its token. Safe to repeat, also when it has been taken, done or withdrawn meanwhile. */
export const appendRequest = async (sql: SqlExecutor, token: string, request: NewRequest): Promise<void> => {
  await execute(
    sql,
    build
      .insertInto('request')
      .values({
        token,
        command: request.command,
        args: JSON.stringify({ phases: request.phases, options: request.options }),
        state: 'waiting',
        by: request.by,
        result: null,
      })
      .onConflict((conflict) => conflict.doNothing()),
  );
};

const requestOf = (row: {
  token: string;
  command: string;
  args: string;
  state: string;
  result: string | null;
  by: string;
}): Request => {
  const { phases, options } = JSON.parse(row.args) as Pick<Request, 'phases' | 'options'>;
  return {
    token: row.token,
    command: row.command as RequestCommand,
    phases,
    options,
    by: row.by,
    state: row.state as Request['state'],
    result: row.result === null ? null : (JSON.parse(row.result) as RequestResult),
  };
};

const COLUMNS = ['token', 'command', 'args', 'state', 'result', 'by'] as const;

/** Reads one request. */
export const readRequest = async (sql: SqlExecutor, token: string): Promise<Request | null> => {
  const [row] = await fetch(sql, build.selectFrom('request').select(COLUMNS).where('token', '=', token));
  return row ? requestOf(row) : null;
};

/** Whether a request waits; see {@link takeRequest}. */
export const hasRequests = async (sql: SqlExecutor): Promise<boolean> => {
  const rows = await fetch(sql, build.selectFrom('request').select('token').where('state', '!=', 'done').limit(1));
  return rows.length > 0;
};

/** Whether a request waits that no worker has taken. */
export const isRequestWaiting = async (sql: SqlExecutor): Promise<boolean> => {
  const rows = await fetch(sql, build.selectFrom('request').select('token').where('state', '=', 'waiting').limit(1));
  return rows.length > 0;
};

/**
 * Takes the oldest waiting request, or null. The caller's transaction has asserted the lease, and carries out one at a time:
 * one that is taken already is its own, taken in a transaction whose answer was lost.
 */
export const takeRequest = async (sql: SqlExecutor): Promise<Request | null> => {
  const [row] = await fetch(
    sql,
    build.selectFrom('request').select(COLUMNS).where('state', '!=', 'done').orderBy('id').limit(1).forUpdate(),
  );
  if (!row) return null;
  await execute(sql, build.updateTable('request').set({ state: 'taken' }).where('token', '=', row.token));
  return requestOf(row);
};

/** Records how a request ended, unless a newer worker has closed it meanwhile. */
export const finishRequest = async (sql: SqlExecutor, token: string, result: RequestResult): Promise<void> => {
  await execute(
    sql,
    build
      .updateTable('request')
      .set({ state: 'done', result: JSON.stringify(result) })
      .where('token', '=', token)
      .where('state', '=', 'taken'),
  );
};

/** The answer to a request that no worker has begun. */
export const UNBEGUN: RequestResult = {
  exitCode: 4,
  message: 'the worker changed before the command was begun; nothing was done',
  remedy: 'give the command again; who acts now is told by: switchback status PLAN',
  unbegun: true,
};

/**
 * Takes a request back, unless a worker has taken it. Returns whether no worker will ever begin it: a command that nobody
 * waits for any more must not be executed by whichever worker comes next. It stays, ended, so that its appending cannot come
 * late, and so that this may be repeated when its own answer was lost.
 */
export const withdrawRequest = async (sql: SqlExecutor, token: string): Promise<boolean> => {
  await execute(
    sql,
    build
      .updateTable('request')
      .set({ state: 'done', result: JSON.stringify(UNBEGUN) })
      .where('token', '=', token)
      .where('state', '=', 'waiting'),
  );
  return (await readRequest(sql, token))?.result?.unbegun === true;
};

/** What whoever asked an earlier worker is told, by how far that had come with it. */
const ORPHANED: Readonly<Record<'waiting' | 'taken', RequestResult>> = {
  waiting: UNBEGUN,
  // What became of a switch is decided by its outcome and not by asking again.
  taken: {
    exitCode: 6,
    message: 'the worker ended before this command was done; another one has taken over',
    remedy: 'see what became of it: switchback status PLAN',
  },
};

/** Ends requests that an earlier worker took and never finished, and those that it never took. */
export const closeOrphanedRequests = async (sql: SqlExecutor): Promise<void> => {
  for (const state of ['waiting', 'taken'] as const) {
    await execute(
      sql,
      build
        .updateTable('request')
        .set({ state: 'done', result: JSON.stringify(ORPHANED[state]) })
        .where('state', '=', state),
    );
  }
};
