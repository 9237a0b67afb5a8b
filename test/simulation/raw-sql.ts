import type { SqlResult, TextRow } from '../../src/domain/sql.ts';
import type { Server, Transaction } from './server.ts';

type Row = Readonly<Record<string, string | null>>;

/** A statement that the product writes by hand, by its text, and what a simulated server answers. */
interface RawStatement {
  readonly text: RegExp;
  answer(where: Where): readonly TextRow[];
}

interface Where {
  readonly server: Server;
  readonly transaction: Transaction;
  readonly sql: string;
  readonly params: readonly (string | null)[];
}

const rowsOf = ({ server, transaction }: Where, table: string): readonly Row[] =>
  [...server.scan(transaction, `sidecar:${table}`).values()] as Row[];

const one = (isThere: boolean): readonly TextRow[] => (isThere ? [{ '?column?': '1' }] : []);

/** The number of a kind of document, its column, and its table. */
const DOCUMENT =
  /SELECT (\d+) AS at, key, doc FROM \(\(?SELECT [^()]*(?:\(phase\)[^()]*)?key, (?:(\w+) AS )?doc FROM switchback\.(\w+)/g;

const STATEMENTS: readonly RawStatement[] = [
  {
    text: /^SELECT 1 FROM pg_namespace WHERE nspname = \$1$/,
    answer: ({ server, transaction, params }) => one(server.read(transaction, 'schema', params[0] ?? '') !== undefined),
  },
  {
    text: /^SELECT 1 FROM information_schema\.tables WHERE table_schema = \$1 AND table_name = \$2$/,
    answer: ({ server, transaction, params }) =>
      one(server.read(transaction, 'catalog', params[1] ?? '') !== undefined),
  },
  {
    text: /^SELECT c\.relname AS name, a\.attname AS col FROM pg_class c/,
    answer: ({ server, transaction }) =>
      [...server.scan(transaction, 'catalog')].flatMap(([name, definition]) =>
        (definition as { columns: readonly { name: string }[] }).columns.map((column) => ({ name, col: column.name })),
      ),
  },
  {
    // Documents of ours, of several tables at once. More of them than the statement asks for are given: all can be read.
    text: /^SELECT \d+ AS at, key, doc FROM \(.*\) d$/s,
    answer: (where) => {
      const parts = [...where.sql.matchAll(DOCUMENT)];
      if (parts.length !== where.sql.split(' AS at, ').length - 1) throw new Error(`not all understood: ${where.sql}`);
      return parts.flatMap(([, at = '', col = 'doc', table = '']) =>
        rowsOf(where, table).map((row) => ({ at, key: Object.values(row)[0] ?? null, doc: row[col] ?? null })),
      );
    },
  },
  // Whoever removes a sidecar; the rows that it reads and removes are locked one by one here.
  { text: /^LOCK TABLE switchback\.lease, switchback\.ownership IN ACCESS EXCLUSIVE MODE$/, answer: () => [] },
  { text: /^SELECT id, version, identity, facts FROM switchback\.run$/, answer: (where) => rowsOf(where, 'run') },
  {
    text: /^SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY$/,
    answer: ({ server, transaction }) => {
      server.freeze(transaction);
      return [];
    },
  },
  {
    text: /^SELECT DISTINCT phases FROM switchback\.journal WHERE scope IN \('abort', 'finalise'\)$/,
    answer: (where) => rowsOf(where, 'journal').filter(({ scope }) => scope === 'abort' || scope === 'finalise'),
  },
  {
    text: /^SELECT extract\(epoch from now\(\) - \$1::timestamptz\) \* 1000 AS age$/,
    answer: ({ server, params }) => [{ age: String(Date.parse(server.clock()) - Date.parse(params[0] ?? '')) }],
  },
  {
    text: /^SELECT to_char\(now\(\) AT TIME ZONE 'UTC'.*\) AS now$/,
    answer: ({ server }) => [{ now: server.clock() }],
  },
];

/** Runs a statement that was written by hand. Throws for one that has not been taught. */
export const rawStatement = (where: Where): SqlResult => {
  for (const { text, answer } of STATEMENTS) {
    if (!text.test(where.sql)) continue;
    const rows = answer(where);
    return { rows, rowCount: rows.length };
  }
  throw new Error(`the simulation does not know the statement: ${where.sql}`);
};
