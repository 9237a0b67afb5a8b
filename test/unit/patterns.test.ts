import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { displayName, type TableName } from '../../src/domain/table.ts';
import { type Assignable, assignTables } from '../../src/plan/assign.ts';
import { matches, parsePattern, patternProblem } from '../../src/plan/patterns.ts';

const table = (name: string, root?: string): Assignable => {
  const parts = (text: string): TableName => ({ schema: text.split('.')[0] ?? '', name: text.split('.')[1] ?? '' });
  return { ...parts(name), root: root === undefined ? null : parts(root) };
};

const isMatch = (pattern: string, schema: string, name: string): boolean =>
  matches(parsePattern(pattern), { schema, name });

describe('a pattern', () => {
  test.each([
    ['public.orders', 'public', 'orders', true],
    ['public.orders', 'public', 'orders2', false],
    ['public.orders', 'Public', 'orders', false],
    ['public.order*', 'public', 'order', true],
    ['public.order*', 'public', 'orders_2024', true],
    ['public.*_log', 'public', 'audit_log', true],
    ['public.*_log', 'public', 'audit_logs', false],
    ['public.order?', 'public', 'orders', true],
    ['public.order?', 'public', 'order', false],
    ['public.??', 'public', '💥é', true],
    ['*.*', 'any', 'thing', true],
    ['app_?.t', 'app_1', 't', true],
    ['public."we.ird"', 'public', 'we.ird', true],
    ['public."we""ird"', 'public', 'we"ird', true],
    ['public."*"', 'public', 'x', false],
    ['public."*"', 'public', '*', true],
    ['public."Odd "*', 'public', 'Odd name', true],
    ['"a.b"."!c"', 'a.b', '!c', true],
    ['public.*', 'public', 'we.ird', true],
    ['!public.x', 'public', 'x', true],
    ['public.日本*', 'public', '日本語', true],
  ])('%s and %s.%s: %s', (pattern, schema, name, expected) => {
    expect(isMatch(pattern, schema, name)).toBe(expected);
  });

  test.each([
    ['orders', 'write public.orders'],
    ['!orders', 'write !public.orders'],
    ['', 'has an empty part'],
    ['!', 'has an empty part'],
    ['public.', 'has an empty part'],
    ['.x', 'has an empty part'],
    ['public.""', 'has an empty part'],
    ['a.b.c', 'more than one dot'],
    ['public."x', 'a quote that is not closed'],
    ['public.a b', 'outside quotes'],
    ['public.a, public.b', 'outside quotes'],
    ['!!public.a', 'outside quotes'],
  ])('%s is refused', (pattern, problem) => {
    expect(patternProblem(pattern)).toContain(problem);
    expect(() => parsePattern(pattern)).toThrow(expect.objectContaining({ kind: 'usage' }));
  });

  test('that is quoted matches that name and no other, whatever is in it', () => {
    const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: 'binary' }), fc.string({ minLength: 1 }), (name, other) => {
        expect(isMatch(`"s".${quoted(name)}`, 's', name)).toBe(true);
        expect(isMatch(`"s".${quoted(name)}`, 's', other)).toBe(name === other);
      }),
    );
  });

  test('with wildcards agrees with the definition', () => {
    /** Straight from the definition, and exponential. */
    const defined = (pattern: string, text: string): boolean => {
      if (pattern === '') return text === '';
      if (pattern[0] === '*')
        return defined(pattern.slice(1), text) || (text !== '' && defined(pattern, text.slice(1)));
      return text !== '' && (pattern[0] === '?' || pattern[0] === text[0]) && defined(pattern.slice(1), text.slice(1));
    };
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), minLength: 1, maxLength: 8 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 });
    fc.assert(
      fc.property(pattern, text, (p, t) => isMatch(`s.${p}`, 's', t) === defined(p, t)),
      { numRuns: 2000 },
    );
  });

  test('cannot be made to take long', () => {
    const begun = performance.now();
    expect(isMatch(`s.${'*a'.repeat(200)}*b`, 's', 'a'.repeat(5_000))).toBe(false);
    expect(performance.now() - begun).toBeLessThan(20_000);
  });
});

describe('assignTables', () => {
  const shared = (
    phases: Record<string, readonly string[]>,
    ignore: readonly string[],
    names: readonly Assignable[],
  ) => {
    const plan = { phases: Object.entries(phases).map(([name, tables]) => ({ name, tables })), ignore };
    const { byPhase, ignored, rest, unmatchedPatterns } = assignTables(plan, names);
    return {
      byPhase: Object.fromEntries([...byPhase].map(([name, taken]) => [name, taken.map(displayName)])),
      ignored: ignored.map(displayName),
      rest: rest.map(displayName),
      unmatchedPatterns,
    };
  };

  test('gives each phase what no earlier one took, and tells of the rest', () => {
    const names = ['p.product', 'p.product_image', 'p.orders', 'p.audit_log', 'q.other'].map((name) => table(name));
    const result = shared({ catalog: ['p.product*'], orders: ['p.*', '!p.audit_log'] }, ['p.audit_log'], names);
    expect(result).toEqual({
      byPhase: { catalog: ['p.product', 'p.product_image'], orders: ['p.orders'] },
      ignored: ['p.audit_log'],
      rest: ['q.other'],
      unmatchedPatterns: [],
    });
  });

  test('excludes whatever the order of the patterns', () => {
    const names = [table('p.a'), table('p.b')];
    expect(shared({ x: ['!p.b', 'p.*'] }, [], names).byPhase).toEqual({ x: ['p.a'] });
    expect(shared({ x: ['p.*', '!p.b'] }, [], names).byPhase).toEqual({ x: ['p.a'] });
  });

  test('tells of patterns that take nothing', () => {
    const names = [table('p.a'), table('p.b')];
    expect(shared({ x: ['p.a', 'p.no'], y: ['p.*', 'p.a', '!p.a'] }, ['p.b', 'r.*'], names).unmatchedPatterns).toEqual([
      { where: 'phases.x.tables', pattern: 'p.no', reason: 'nothing', names: [] },
      { where: 'phases.y.tables', pattern: 'p.a', reason: 'taken', names: ['p.a'] },
      { where: 'ignore', pattern: 'p.b', reason: 'taken', names: ['p.b'] },
      { where: 'ignore', pattern: 'r.*', reason: 'nothing', names: [] },
    ]);
  });

  test('sends leaves where their root goes, and tells of patterns that name leaves', () => {
    const names = [table('p.events_1', 'p.events'), table('q.events_2', 'p.events'), table('p.a')];
    const result = shared({ x: ['p.events', '!q.events_2'], y: ['p.events_1', 'p.a*'] }, [], names);
    expect(result.byPhase).toEqual({ x: ['p.events_1', 'q.events_2'], y: ['p.a'] });
    expect(result.unmatchedPatterns).toEqual([
      { where: 'phases.x.tables', pattern: '!q.events_2', reason: 'partition', names: ['q.events_2'] },
      { where: 'phases.y.tables', pattern: 'p.events_1', reason: 'partition', names: ['p.events_1'] },
    ]);
  });

  test('loses and doubles nothing, and leaves no root in two places', () => {
    const part = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 2 });
    const item = fc
      .tuple(part, fc.option(part))
      .map(([name, root]) => table(`s.${name}`, root === null ? undefined : `s.r${root}`));
    const patterns = fc.array(
      fc.string({ unit: fc.constantFrom('a', 'b', 'r', '*', '?'), minLength: 1, maxLength: 3 }),
      { minLength: 1, maxLength: 3 },
    );
    const uniqueItems = fc.uniqueArray(item, { selector: displayName });
    fc.assert(
      fc.property(
        fc.array(patterns, { minLength: 1, maxLength: 3 }),
        patterns,
        uniqueItems,
        (phases, ignore, names) => {
          const plan = {
            phases: phases.map((tables, index) => ({ name: `p${index}`, tables: tables.map((text) => `s.${text}`) })),
            ignore: ignore.map((text) => `s.${text}`),
          };
          const { byPhase, ignored, rest } = assignTables(plan, names);
          const groups = [...byPhase.values(), ignored, rest];
          expect(groups.flat().map(displayName).sort()).toEqual(names.map(displayName).sort());
          for (const name of names) {
            const root = displayName(name.root ?? name);
            expect(groups.filter((group) => group.some((one) => displayName(one.root ?? one) === root)).length).toBe(1);
          }
        },
      ),
    );
  });
});
