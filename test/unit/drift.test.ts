import { describe, expect, test } from 'vitest';
import type { SchemaItem } from '../../src/databases/postgres/checks/facts/schema.ts';
import { essence, judgeDrift } from '../../src/databases/postgres/checks/judge/drift.ts';
import type { Finding } from '../../src/domain/finding.ts';
import type { TableName } from '../../src/domain/table.ts';

/** Enough of a finding to recognise it by. */
const brief = (findings: readonly Finding[]): readonly string[] => findings.map((f) => `${f.severity} ${f.id}`);
const name = (text: string): TableName => ({ schema: 'shop', name: text });

describe('drift', () => {
  const item = (kind: SchemaItem['kind'], what: string, definition: string): SchemaItem => ({
    kind,
    table: name('a'),
    name: what,
    definition,
  });
  const table = item('table', '', 'table');
  const compare = (source: readonly SchemaItem[], target: readonly SchemaItem[], copying: readonly TableName[] = []) =>
    brief(judgeDrift([table, ...source], [table, ...target], copying));

  test.each([
    [
      `((a)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[]))`,
      `(a::text = ANY (ARRAY[('x'::character varying)::text, ('y'::character varying)::text]))`,
    ],
    [`'x'::character varying(20)`, `'x'::text`],
    [`'glad'::shop.mood`, `'glad'::shop."mood"`],
    ['(x > (0)::numeric(10,2))', 'x > 0'],
    [`now() AT TIME ZONE 'UTC'::text`, `(now() AT TIME ZONE 'UTC'::text)`],
  ])('%s is in essence %s', (a, b) => {
    expect(essence(a)).toBe(essence(b));
  });

  test.each([
    [`a = 'x'::text`, `a = 'y'::text`],
    ['a > 1', 'a >= 1'],
    ['a::text AND b', 'a::text OR b'],
    ['f(a)', 'g(a)'],
  ])('%s is not %s', (a, b) => {
    expect(essence(a)).not.toBe(essence(b));
  });

  const x = (kind: SchemaItem['kind']) => item(kind, 'x', 'one');
  const y = (kind: SchemaItem['kind']) => item(kind, 'x', 'two');
  // Kind, then the severity when it is missing on the target, only there, and different.
  const rules: readonly (readonly [SchemaItem['kind'], string, string, string])[] = [
    ['column', 'blocks', 'blocks', 'blocks'],
    ['not null', '', '', 'blocks'],
    ['default', 'warns', 'warns', 'warns'],
    ['generated column', 'blocks', 'blocks', 'warns'],
    ['identity', 'warns', 'warns', 'warns'],
    ['collation', 'warns', 'warns', 'warns'],
    ['check', 'warns', 'blocks', 'warns'],
    ['exclusion', 'warns', 'blocks', 'warns'],
    ['unique index', 'blocks', 'blocks', 'blocks'],
    ['index', 'warns', '', 'warns'],
    ['foreign key', 'warns', 'warns', 'warns'],
    ['trigger', 'warns', 'warns', 'warns'],
    ['partition bound', 'blocks', 'blocks', 'blocks'],
  ];
  test.each(rules)('%s', (kind, missing, extra, differs) => {
    const id = `drift/${kind.replaceAll(' ', '-')}`;
    const wanted = (severity: string) => (severity === '' ? [] : [`${severity} ${id}`]);
    expect(compare([x(kind)], [x(kind)])).toEqual([]);
    expect(compare([x(kind)], [])).toEqual(wanted(missing));
    expect(compare([], [x(kind)])).toEqual(wanted(extra));
    expect(compare([x(kind)], [y(kind)])).toEqual(wanted(differs));
  });

  test('what the server named is compared by what it does', () => {
    const here = [item('unique index', 'a_b_key', 'btree (b)'), item('check', 'c1', 'CHECK (b > 0)')];
    const there = [item('unique index', 'a_b_idx', 'btree (b)'), item('check', 'c2', 'CHECK ((b > 0))')];
    expect(compare(here, there)).toEqual([]);
  });

  test('what is put off may be missing while its table is copied', () => {
    const put = (['unique index', 'index', 'foreign key', 'exclusion'] as const).map(x);
    expect(compare(put, [], [name('a')])).toEqual([]);
    expect(compare(put, [], [name('b')])).toHaveLength(4);
    expect(compare([x('column')], [], [name('a')])).toHaveLength(1);
    expect(compare([], [x('unique index')], [name('a')])).toHaveLength(1);
  });

  test('a table on one side only is one finding', () => {
    expect(brief(judgeDrift([table, x('column'), x('index')], [], []))).toEqual(['blocks drift/table']);
    expect(brief(judgeDrift([], [table, x('column')], []))).toEqual(['blocks drift/table']);
  });

  test('remedies are statements with quoted names', () => {
    const odd = { schema: 'sh"op', name: 'a' };
    const here: readonly SchemaItem[] = [
      { ...table, table: odd },
      { kind: 'column', table: odd, name: 'Na"me', definition: 'integer' },
    ];
    const [finding] = judgeDrift(here, [{ ...table, table: odd }], []);
    expect(finding?.remedy).toBe('on the target: ALTER TABLE "sh""op"."a" ADD COLUMN "Na""me" integer;');
  });
});
