import { quoteName, quoteTable, quoteText } from '../../src/platform/postgres/quote.ts';

/** Names that PostgreSQL allows and that break whatever is put together from text. Each is unlike the others. */
export const HOSTILE_NAMES: readonly string[] = [
  'we"ird',
  '"',
  "it's",
  'a; DROP TABLE b',
  'new\nline',
  'tab\tand\rreturn',
  'ünïcödé 🐘',
  'x'.repeat(63),
  '€'.repeat(21),
  '100%s %I',
  '$1',
  '$$dollar$$',
  'back\\slash\\',
  '-- comment',
  '/* comment',
  'Case',
  'case',
  'CASE',
  'select',
  'a.b',
  'a"."b',
  ' space ',
  '{brace}',
  '$'.concat('{TEST_SOURCE_URL}'),
  ':colon?',
  '*',
  '!',
  '__proto__',
  'constructor',
  'null',
  '\u202e\u200b',
];

/** For names of indexes and of second columns: other than the name, within 63 bytes. */
const relative = (name: string, suffix: string): string =>
  Buffer.byteLength(name) > 58 ? `${[...name].slice(0, 10).join('')}${suffix}` : `${name}${suffix}`;

const tableOf = (name: string): string => quoteTable({ schema: name, name });
const SEQUENCES = 'seq"uences';

/** Every name as a schema, a table, a column, a sequence, a constraint, and, changed a little, as an index. */
export const hostileSchema = (): string =>
  [
    `CREATE SCHEMA ${quoteName(SEQUENCES)};`,
    ...HOSTILE_NAMES.flatMap((name) => {
      const sequence = quoteTable({ schema: SEQUENCES, name });
      const column = quoteName(name);
      const other = quoteName(relative(name, '_2'));
      return [
        `CREATE SCHEMA ${column}; CREATE SEQUENCE ${sequence};`,
        `CREATE TABLE ${tableOf(name)} (${column} int PRIMARY KEY DEFAULT nextval(${quoteText(sequence)}),
           ${other} int CONSTRAINT ${quoteName(relative(name, '_f'))} REFERENCES ${tableOf(name)}, words text NOT NULL);`,
        `CREATE INDEX ${quoteName(relative(name, '_i'))} ON ${tableOf(name)} (words, ${other});`,
        `COMMENT ON TABLE ${tableOf(name)} IS ${quoteText(name)};`,
      ];
    }),
  ].join('\n');

/** Inserts, updates and deletes in every table; the names are in the values as well. */
export const hostileWrites = (round: number): string =>
  HOSTILE_NAMES.map((name) => {
    const [table, column] = [tableOf(name), quoteName(name)];
    const words = quoteText(`${name} ${round}`);
    return `INSERT INTO ${table} (words) SELECT ${words} FROM generate_series(1, 5);
      UPDATE ${table} SET words = words || ${words} WHERE ${column} = (SELECT min(${column}) FROM ${table});
      DELETE FROM ${table} WHERE ${column} = (SELECT max(${column}) FROM ${table});`;
  }).join('\n');
