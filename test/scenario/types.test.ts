import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allRows, readRows } from '../support/rows.ts';
import { makeScenario, type Scenario } from '../support/scenario.ts';
import { runSql, useServerPair } from '../support/servers.ts';
import { TYPE_CASES, TYPES_SQL, type TypeCase } from '../support/type-cases.ts';

/**
 * Every value goes every way that a row can go: through the copy, and as an insert, an update, a change of the key, and a
 * delete that has to find it; forward from 13 to 18, then, written on 18 after a cutover, back to 13. Each type has two
 * tables: one with a key, and one with none (REPLICA IDENTITY FULL), where the value itself is what a row is found by.
 * The oracle is the text that either server prints, compared by us and not by `verify`.
 */

/** What is done with a value, as offsets of the ids that are its own. 0-4 are written on 13, 5-9 on 18. */
const COPIED = 0;
const INSERTED = 1;
const UPDATED = 2;
const REKEYED = 3;
const DELETED = 4;
const BACK = 5;
const IDS_PER_VALUE = 10;
const MOVED = 1_000_000;

const tablesOf = (index: number): readonly string[] => [`keyed_${index}`, `whole_${index}`];

const createSql = ({ type }: TypeCase, index: number): string => `
  CREATE TABLE keyed_${index} (id int PRIMARY KEY, n int NOT NULL, v ${type});
  CREATE TABLE whole_${index} (id int NOT NULL, n int NOT NULL, v ${type});
  ALTER TABLE whole_${index} REPLICA IDENTITY FULL;`;

const insertSql = (table: string, { values, type }: TypeCase, operations: readonly number[]): string => {
  const rows = values.flatMap((value, i) =>
    operations.map((operation) => `(${i * IDS_PER_VALUE + operation}, 0, ${value}::${type})`),
  );
  return `INSERT INTO ${table} VALUES ${rows.join(', ')};`;
};

/** All that changes on one side: `base` is 0 on 13 and BACK on 18. */
const changeSql = (table: string, types: TypeCase, base: number): string => {
  const is = (operation: number) => `id < ${MOVED} AND id % ${IDS_PER_VALUE} = ${base + operation}`;
  const updates = types.values.map(
    (value, i) => `UPDATE ${table} SET v = ${value}::${types.type} WHERE id = ${i * IDS_PER_VALUE + base + UPDATED};`,
  );
  return [
    // From NULL to the value, and another column beside it, which leaves a TOASTed value where it is.
    `UPDATE ${table} SET v = NULL WHERE ${is(UPDATED)};`,
    insertSql(table, types, [base + INSERTED]),
    ...updates,
    `UPDATE ${table} SET n = n + 1 WHERE ${is(COPIED)};`,
    `UPDATE ${table} SET id = id + ${MOVED} WHERE ${is(REKEYED)};`,
    `DELETE FROM ${table} WHERE ${is(DELETED)};`,
  ].join('\n');
};

const COPY_OPERATIONS = [COPIED, UPDATED, REKEYED, DELETED].flatMap((operation) => [operation, operation + BACK]);

const everywhere = (make: (table: string, types: TypeCase) => string): string =>
  TYPE_CASES.flatMap((types, index) => tablesOf(index).map((table) => make(table, types))).join('\n');

/**
 * Prints what a table must hold when both sides have written, made of the literals alone. A view, because what it prints
 * is parsed with the application's search path and printed with ours.
 */
const expectedSql = ({ type, values }: TypeCase, index: number): string => {
  const list = values.map((value, i) => `(${i}, ${value}::${type})`).join(', ');
  const left = [COPIED, INSERTED, UPDATED, REKEYED].flatMap((operation) => [operation, operation + BACK]);
  return `CREATE VIEW expected_${index} AS
    SELECT ROW(i * ${IDS_PER_VALUE} + o + CASE WHEN o % ${BACK} = ${REKEYED} THEN ${MOVED} ELSE 0 END,
               CASE WHEN o % ${BACK} = ${COPIED} THEN 1 ELSE 0 END, v)::text AS row
      FROM (VALUES ${list}) AS x (i, v), unnest(ARRAY[${left.join(', ')}]) AS o;`;
};

describe('values of every type', () => {
  const servers = useServerPair();
  let scenario: Scenario;

  beforeAll(async () => {
    scenario = await makeScenario(servers(), {
      name: 'types',
      schema: TYPES_SQL + TYPE_CASES.map(createSql).join('\n'),
      rows: everywhere((table, types) => insertSql(table, types, COPY_OPERATIONS)),
    });
    const worker = scenario.worker();
    await scenario.untilState(worker, 'ready', 'all');
  });
  afterAll(async () => {
    await scenario?.close();
  });

  const values = TYPE_CASES.reduce((sum, types) => sum + types.values.length, 0);

  it(`arrive on 18 byte for byte: ${values} values of ${TYPE_CASES.length} types, with a key and without`, async () => {
    expect(values).toBeGreaterThanOrEqual(60);
    console.log(`type matrix: ${values} values of ${TYPE_CASES.length} types, 5 ways, 2 tables, 2 directions`);
    await scenario.onSource(everywhere((table, types) => changeSql(table, types, 0)));
    await scenario.expectEqual();
  });

  it('come back to 13 byte for byte after a cutover', async () => {
    await scenario.change('cutover', 'all');
    await scenario.onTarget(everywhere((table, types) => changeSql(table, types, BACK)));
    await scenario.expectEqual();
  });

  it('are what was written, on both servers', async () => {
    const views = TYPE_CASES.map(expectedSql).join('\n');
    const queries = Object.fromEntries(TYPE_CASES.map((_, i) => [i, `SELECT row FROM public.expected_${i}`] as const));
    for (const url of [scenario.source, scenario.target]) {
      await runSql(url, views);
      const [expected, found] = await Promise.all([readRows(url, queries), allRows(url)]);
      for (const [index, { type }] of TYPE_CASES.entries()) {
        for (const table of tablesOf(index))
          expect(found[`public.${table}`], `${type} in ${table}`).toEqual(expected[index]);
      }
    }
  });
});
