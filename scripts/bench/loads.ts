import { makePgbench, runTransactions } from './pgbench.ts';
import { runSql, withClient } from './servers.ts';

/** Tables, and what is written to them while nobody follows. */
export interface Load {
  /** Also the name of its databases and slots. */
  readonly name: string;
  /** In a line of a table. */
  readonly text: string;
  /** What else a reader has to know. */
  readonly note: string;
  /** Changes of rows that it makes. */
  readonly changes: number;
  /** Makes tables with their first rows, the same on every server. */
  make(url: string): Promise<void>;
  /** Writes to them; durable when it resolves. The same seed writes the same. */
  write(url: string, seed: number): Promise<void>;
}

/**
 * Runs a loop of transactions on the server itself, which is several times as fast as clients are. What it commits without
 * waiting is durable after the last one, which waits.
 */
const loop = async (url: string, options: { readonly seed: number; readonly body: string }): Promise<void> => {
  await withClient(url, async (client) => {
    await client.query('SET synchronous_commit = off');
    await client.query(`SELECT setseed(${((options.seed % 1_000_000) + 1) / 1_000_001})`);
    // Statements of a DO may commit only while it stands outside a transaction.
    await client.query(`DO $$ ${options.body} $$`);
    await client.query('SET synchronous_commit = on');
    await client.query('CREATE TEMPORARY TABLE flushed (); DROP TABLE flushed');
  });
};

const count = (value: number): string => Math.round(value).toLocaleString('en');

const pgbench = (small: boolean): Load => {
  const accounts = small ? 100_000 : 1_000_000;
  const transactions = small ? 2_000 : 200_000;
  return {
    name: 'pgbench',
    text: `${count(transactions)} pgbench transactions`,
    note: `pgbench: TPC-B of scale ${accounts / 100_000}, four changes a transaction`,
    changes: transactions * 4,
    make: async (url) => await makePgbench(url, { accounts }),
    write: async (url, seed) => await runTransactions(url, { accounts, transactions, seed }),
  };
};

const ROWS_EACH = 10;

const inserts = (small: boolean): Load => {
  const rows = small ? 10_000 : 500_000;
  return {
    name: 'inserts',
    text: `${count(rows)} single-row inserts`,
    note: `inserts: ${ROWS_EACH} a transaction; a primary key and one more index`,
    changes: rows,
    make: async (url) =>
      void (await runSql(
        url,
        `CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, who int NOT NULL, what text NOT NULL, amount numeric(12, 2));
         CREATE INDEX ON event (who)`,
      )),
    write: async (url, seed) =>
      await loop(url, {
        seed,
        body: `BEGIN
          FOR i IN 1..${rows} LOOP
            INSERT INTO event VALUES (i, now(), floor(random() * 100000), md5(i::text) || ' happened', i / 8.0);
            IF i % ${ROWS_EACH} = 0 THEN COMMIT; END IF;
          END LOOP;
        END`,
      }),
  };
};

const UPDATES_EACH = 5;

const skewed = (small: boolean): Load => {
  const rows = small ? 10_000 : 200_000;
  const updates = small ? 10_000 : 500_000;
  return {
    name: 'skewed',
    text: `${count(updates)} updates of ${count(rows)} rows, skewed`,
    note: `skewed: ${UPDATES_EACH} updates a transaction; keys by Zipf, exponent 1: half of them are of ${count(Math.sqrt(rows))} rows`,
    changes: updates,
    make: async (url) =>
      void (await runSql(
        url,
        `CREATE TABLE account (id int PRIMARY KEY, version bigint NOT NULL, balance numeric(14, 2) NOT NULL, note text NOT NULL)
           WITH (fillfactor = 90);
         INSERT INTO account SELECT i, 0, 0, md5(i::text) || md5((-i)::text) FROM generate_series(1, ${rows}) i`,
      )),
    write: async (url, seed) =>
      await loop(url, {
        seed,
        // The logarithm of the key is uniform: the density falls as 1 / key.
        body: `DECLARE key int;
        BEGIN
          FOR i IN 1..${updates} LOOP
            key := floor(exp(random() * ln(${rows} + 1)))::int;
            UPDATE account SET version = version + 1, balance = balance + i % 1000 / 8.0 WHERE id = key;
            IF i % ${UPDATES_EACH} = 0 THEN COMMIT; END IF;
          END LOOP;
        END`,
      }),
  };
};

/** What has to be caught up with. */
export const loadsOf = (small: boolean): readonly Load[] => [pgbench(small), inserts(small), skewed(small)];
