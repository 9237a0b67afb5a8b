import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseFile } from '../../src/databases/postgres/schema/script.ts';
import { splitStatements } from '../../src/databases/postgres/schema/split.ts';

const texts = (script: string): string[] => splitStatements(script).map((statement) => statement.text);

describe('splitStatements', () => {
  test('semicolons that end nothing', () => {
    const statements = [
      "SELECT ';', 'it''s;', E'a\\';b', U&'\\0441;', b'01', \"odd;\"\"name\"",
      'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 2; $$',
      'CREATE FUNCTION g() RETURNS text LANGUAGE sql AS $a_1$ SELECT $$;$$; $b$;$b$ $a_1$',
      'CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t; DELETE FROM u)',
      'SELECT 1 /* ; /* nested; */ still; */ + 2',
      'SELECT 1 -- a; comment\n + 2',
      'SELECT a$b, $1 FROM t$; SELECT $tag'.split(';')[0] ?? '',
      'CREATE OR REPLACE FUNCTION h(a int) RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a > 1 THEN 2 END; END',
      'CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (1); DELETE FROM t; END',
      'CREATE TABLE begin_case (begin int, "end" int)',
    ];
    expect(texts(`${statements.join(';\n')};\n`)).toEqual(statements);
  });

  test('empty statements and comments are none; the last one needs no semicolon', () => {
    expect(texts(' ;;\n-- only a comment;\n/* another; */ ; SELECT 1')).toEqual(['SELECT 1']);
    expect(texts('')).toEqual([]);
  });

  test("psql's own commands are a line each", () => {
    expect(texts('\\restrict abc\n\nSELECT 1;\n\\unrestrict abc\n')).toEqual([
      '\\restrict abc',
      'SELECT 1',
      '\\unrestrict abc',
    ]);
  });

  test('the line is that of the first word', () => {
    const lines = splitStatements('-- a\nSELECT 1;\n\n/* b\n*/ SELECT\n 2; SELECT 3;').map(
      (statement) => statement.line,
    );
    expect(lines).toEqual([2, 5, 6]);
  });

  test('what is never closed goes to the end, and ends', () => {
    for (const open of [
      "SELECT 'a; b",
      'SELECT "a; b',
      'SELECT $x$ a; b',
      'SELECT /* a; b',
      'SELECT (a; b',
      "SELECT E'\\",
    ]) {
      expect(texts(open).join('').startsWith('SELECT')).toBe(true);
    }
  });

  test('statements joined and split again are what they were', () => {
    const piece = fc.constantFrom(
      "'a;b'",
      '"x;y"',
      '$$;$$',
      '$q$;$q$',
      '(1; 2)',
      'SELECT',
      "E'\\';'",
      '/* ; */',
      '1',
      'end',
      'begin',
    );
    const statement = fc
      .array(piece, { minLength: 1, maxLength: 6 })
      .map((pieces) => ['WITH', ...pieces, 'x'].join(' '));
    fc.assert(
      fc.property(fc.array(statement, { maxLength: 8 }), (statements) => {
        expect(texts(statements.map((s) => `${s};\n`).join(''))).toEqual(statements);
      }),
    );
  });

  test('a large script is split in one pass, not in one for each statement', () => {
    const script = `${'CREATE TABLE t (a int DEFAULT (1), b text);\n'.repeat(50_000)}${`SELECT '${"''".repeat(500_000)}';`}`;
    expect(splitStatements(script).length).toBe(50_001);
  });
});

describe('parseFile', () => {
  test('what would end our transaction is refused, savepoints are not', () => {
    for (const text of [
      'BEGIN',
      'start  transaction',
      'Commit',
      'END',
      'ROLLBACK',
      'abort',
      "PREPARE TRANSACTION 'x'",
      '\\i other.sql',
    ]) {
      expect(() => parseFile({ name: 'a.sql', text: `SELECT 1;\n${text};` })).toThrow(/^a\.sql:2: /);
    }
    for (const text of ['ROLLBACK TO SAVEPOINT a', 'SAVEPOINT a', 'PREPARE q AS SELECT 1', 'ENDPOINT']) {
      expect(parseFile({ name: 'a.sql', text }).length).toBe(1);
    }
  });
});
