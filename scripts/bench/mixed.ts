import type { DataSet } from './data-set.ts';
import { runSql } from './servers.ts';

/** A table of the mixed set. */
interface MixedTable {
  readonly name: string;
  readonly rows: number;
  /** What the foreign key refers to; none for the first. */
  readonly owner: Pick<MixedTable, 'name' | 'rows'> | undefined;
  readonly kind: (typeof KINDS)[number];
}

const TABLES = 60;
/** A few large tables hold most of the rows, as in most databases. */
const LARGE = { tables: 4, rows: 250_000 };
const MEDIUM = { tables: 10, rows: 30_000 };
const SMALL_ROWS = 600;
/** Rows of `--small` are so many times fewer. */
const SMALLER = 100;

const KINDS = ['event', 'account', 'item'] as const;

const rowsOf = (at: number): number => {
  if (at < LARGE.tables) return LARGE.rows;
  return at < LARGE.tables + MEDIUM.tables ? MEDIUM.rows : SMALL_ROWS;
};

const tablesOf = (small: boolean): readonly MixedTable[] => {
  const tables: MixedTable[] = [];
  for (let at = 0; at < TABLES; at++) {
    const kind = KINDS[at % KINDS.length] ?? 'event';
    const rows = Math.max(10, Math.floor(rowsOf(at) / (small ? SMALLER : 1)));
    tables.push({ name: `${kind}_${String(at + 1).padStart(2, '0')}`, rows, owner: tables.at(-1), kind });
  }
  return tables;
};

/** Columns by kind: name, type, and the value of row `g`, where `h` is 32 hexadecimal digits made from table, row and seed. */
const COLUMNS: Readonly<Record<MixedTable['kind'], readonly (readonly [name: string, type: string, value: string])[]>> =
  {
    event: [
      ['at', 'timestamptz NOT NULL', "timestamptz '2024-01-01 00:00Z' + g * interval '37.123 seconds'"],
      ['source', 'uuid NOT NULL', 'md5(h)::uuid'],
      ['body', 'jsonb', "jsonb_build_object('level', g % 7, 'user', left(h, 8), 'path', '/' || h, 'ms', g % 991)"],
      ['marks', 'int[]', 'ARRAY[g % 5, g % 11, NULL, g]'],
    ],
    account: [
      ['email', 'text NOT NULL', "h || '@example.org'"],
      ['balance', 'numeric(14,4) NOT NULL', '(g % 1000003)::numeric * 1.0317 - 500'],
      ['secret', 'bytea', "decode(h || md5(h), 'hex')"],
      ['opened', 'date', "date '2015-03-01' + g % 3000"],
      ['active', 'boolean NOT NULL', 'g % 3 > 0'],
    ],
    item: [
      ['code', 'varchar(40) NOT NULL', "upper(left(h, 12)) || '-' || g"],
      ['price', 'numeric NOT NULL', '(g % 90000) / 16.0'],
      ['weight', 'double precision', 'sqrt(g % 5003)'],
      ['tags', 'text[]', "ARRAY[left(h, 4), 'tag ' || g % 30, NULL]"],
      ['about', 'text', "CASE WHEN g % 4 > 0 THEN repeat(h || ' ', 1 + g % 6) END"],
    ],
  };

/** Indexes by kind, over the table's own columns. */
const INDEXES: Readonly<Record<MixedTable['kind'], readonly string[]>> = {
  event: ['(at)', '(source, at)', "((body ->> 'user'))"],
  account: ['(email text_pattern_ops)', '(balance) WHERE active', '(opened, balance)'],
  item: ['(price DESC)', '(code varchar_pattern_ops)', 'USING gin (tags)'],
};

const UNIQUE: Readonly<Record<MixedTable['kind'], string>> = { event: 'source', account: 'email', item: 'code' };

const createText = ({ name, kind }: MixedTable): string =>
  `CREATE TABLE mixed.${name} (id bigint NOT NULL, owner bigint, ${COLUMNS[kind].map(([column, type]) => `${column} ${type}`).join(', ')})`;

const fillText = ({ name, kind, rows, owner }: MixedTable, seed: number): string =>
  `INSERT INTO mixed.${name}
   SELECT g, ${owner === undefined ? 'NULL' : `1 + (g::bigint * 7919) % ${owner.rows}`}, ${COLUMNS[kind].map(([, , value]) => value).join(', ')}
   FROM (SELECT g, md5('${seed} ${name} ' || g) AS h FROM generate_series(1, ${rows}) g) made`;

const indexesOf = (table: MixedTable): readonly string[] => [
  `ALTER TABLE mixed.${table.name} ADD PRIMARY KEY (id)`,
  `ALTER TABLE mixed.${table.name} ADD UNIQUE (${UNIQUE[table.kind]})`,
  `CREATE INDEX ON mixed.${table.name} (owner)`,
  ...INDEXES[table.kind].map((index) => `CREATE INDEX ON mixed.${table.name} ${index}`),
];

/**
 * Sixty tables of three kinds with thirteen types (numbers, texts, times, JSON, bytes, arrays), six indexes each and a
 * chain of foreign keys. Four tables hold most of the rows.
 */
export const mixedSet = (small: boolean, seed: number): DataSet => {
  const tables = tablesOf(small);
  return {
    name: 'mixed, 60 tables',
    tables: 'mixed.*',
    bare: ['CREATE SCHEMA mixed', ...tables.map(createText)].join(';\n'),
    names: tables.map(({ name }) => `mixed.${name}`),
    indexes: tables.flatMap(indexesOf),
    foreignKeys: tables.flatMap(({ name, owner }) =>
      owner === undefined
        ? []
        : [`ALTER TABLE mixed.${name} ADD FOREIGN KEY (owner) REFERENCES mixed.${owner.name} (id)`],
    ),
    fill: async (url) => {
      await runSql(url, tables.map((table) => fillText(table, seed)).join(';\n'));
    },
  };
};
