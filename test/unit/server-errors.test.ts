import { expect, it } from 'vitest';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { PostgresServer } from '../../src/platform/postgres/server.ts';

const server = new PostgresServer({ url: 'postgres://me@localhost/db', label: 'source', application: 'test' });

/** What a driver throws for an SQLSTATE. */
const failed = (code: string, message = 'it failed'): Error => Object.assign(new Error(message), { code });

it.each([
  ['53100', 'No space left on device', 'busy'],
  ['58030', 'could not read block', 'busy'],
  ['40P01', 'deadlock detected', 'busy'],
  ['55P03', 'lock timeout', 'busy'],
  ['57014', 'canceling statement', 'busy'],
  ['XX000', 'could not write init file', 'busy'],
  ['53300', 'too many clients already', 'unreachable'],
  ['57P03', 'the database system is starting up', 'unreachable'],
  ['ECONNRESET', 'read ECONNRESET', 'unreachable'],
  ['28P01', 'password authentication failed', 'refused'],
])('%s, %s, is %s', (code, message, kind) => {
  const known = server.wrap(failed(code, message));
  expect(known).toBeInstanceOf(SwitchbackError);
  expect(known).toMatchObject({ kind, remedy: expect.stringMatching(/\S/) });
});

it.each(['XX000', '42501', '23505'])('%s says nothing of the server and is left as it is', (code) => {
  const error = failed(code);
  expect(server.wrap(error)).toBe(error);
});

const raised = (code: string, routine: string): Error => Object.assign(failed(code), { routine });

it.each([
  ['25006', 'PreventCommandIfReadOnly'],
  ['25006', 'PreventCommandDuringRecovery'],
  ['55000', 'pg_current_wal_insert_lsn'],
])('%s of %s means a server that takes no writes, perhaps for now', (code, routine) => {
  const known = server.wrap(raised(code, routine));
  expect(known).toMatchObject({ kind: 'unreachable', message: expect.stringContaining('takes no writes') });
});

it('25006 of a fence says nothing of the server and is left as it is', () => {
  const error = raised('25006', 'exec_stmt_raise');
  expect(server.wrap(error)).toBe(error);
});
