import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

/**
 * Names and texts get into SQL by `src/platform/postgres/quote.ts` and by nothing else: nobody doubles quotes elsewhere, the
 * driver's own functions are not used, and no value is put between quotes in a statement. The demo, which makes up its own
 * names, is looked at too.
 */
const SOURCE = fileURLToPath(new URL('../../src', import.meta.url));
const QUOTE = 'platform/postgres/quote.ts';
const STATEMENT =
  /\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT ON|COPY|TRUNCATE|LOCK TABLE|START_REPLICATION)\b/;
/** A constant of ours, written in capitals as all are. */
const CONSTANT = /^[A-Z][A-Z0-9_]*$/;
const OTHER_QUOTING = [
  /escapeIdentifier|escapeLiteral/,
  /replace(?:All)?\(\s*(?:'"'|"'"|\/["']\/g)\s*,\s*(?:'""'|"''"|'\\"\\"')/,
];

/** Values between quotes in the statements of a text, as `line: expression`. */
const valuesBetweenQuotes = (text: string): readonly string[] => {
  const file = ts.createSourceFile('file.ts', text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isTemplateExpression(node) && STATEMENT.test(node.getText(file))) {
      let before = node.head.text;
      for (const { expression, literal } of node.templateSpans) {
        const quote = before.at(-1);
        const isBetween = (quote === '"' || quote === "'") && literal.text.startsWith(quote);
        const said = expression.getText(file);
        if (isBetween && !CONSTANT.test(said)) {
          found.push(`${file.getLineAndCharacterOfPosition(expression.pos).line + 1}: ${said}`);
        }
        before = literal.text;
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
};

const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));

describe('SQL', () => {
  test('is quoted by one module', () => {
    expect(files.length).toBeGreaterThan(100);
    expect(files).toContain(QUOTE);
    const others = files
      .filter((name) => name !== QUOTE)
      .filter((name) => OTHER_QUOTING.some((pattern) => pattern.test(readFileSync(join(SOURCE, name), 'utf8'))));
    // No SQL: settings in postgresql.conf of servers that the demo starts and that are restored, and how a password may be spelt.
    expect(others.sort()).toEqual(['demo/servers.ts', 'platform/redact.ts', 'snapshots/pg-basebackup/server.ts']);
    expect(OTHER_QUOTING.some((pattern) => pattern.test(readFileSync(join(SOURCE, QUOTE), 'utf8')))).toBe(true);
  });

  test('has no value between quotes', () => {
    const found = files.flatMap((name) =>
      valuesBetweenQuotes(readFileSync(join(SOURCE, name), 'utf8')).map((where) => `${name}:${where}`),
    );
    expect(found).toEqual([]);
  });

  test('is found where it has', () => {
    // A place in a template, written so that these lines are none.
    const at = (expression: string) => `$\{${expression}}`;
    const bad = [
      `SELECT "${at('name')}" FROM t`,
      `DROP TABLE ${at('quoteName(t)')} -- '${at('text')}'`,
      `COPY '${at('a.b')}'`,
    ];
    for (const text of bad) expect(valuesBetweenQuotes(`const sql = \`${text}\`;`)).toHaveLength(1);
    const good = [`SELECT ${at('quoteName(name)')}`, `SELECT '${at('NAME')}'`, `the name "${at('name')}" is wrong`];
    for (const text of good) expect(valuesBetweenQuotes(`const sql = \`${text}\`;`)).toEqual([]);
  });
});
