import { expect, test } from 'vitest';
import type { Table } from '../../src/domain/table.ts';
import type { Plan } from '../../src/plan/load.ts';
import { scopeOf } from '../../src/stages/scope.ts';

const table = (schema: string, name: string): Table => ({
  schema,
  name,
  columns: [],
  key: { index: 'key', columns: ['id'] },
  replicaIdentity: 'default',
  root: null,
  estimatedRows: 0,
  bytes: 0,
});

const blocking = (phases: Readonly<Record<string, readonly string[]>>, tables: readonly Table[]) => {
  const plan = { phases: Object.entries(phases).map(([name, patterns]) => ({ name, tables: patterns })), ignore: [] };
  const scope = scopeOf(plan as unknown as Plan, { tables, roots: [], sequences: [] });
  return scope.findings.map(({ id, subject, severity }) => ({ id, subject, severity }));
};

/** Chunks, progress and digests are kept by the name that people see, so within a phase it has to be one table's. */
test('two tables of one phase that are shown under one name are a finding, and of two phases none', () => {
  const twins = [table('a.b', 'c'), table('a', 'b.c'), table('a', 'd')];
  const found = [{ id: 'plan/same-name', subject: 'a.b.c', severity: 'blocks' }];
  expect(blocking({ all: ['*.*'] }, twins)).toEqual(found);
  expect(blocking({ one: ['"a.b".*'], other: ['a.*'] }, twins)).toEqual([]);
});
