import type { Finding } from '../../../../domain/finding.ts';
import { displayName, type TableName } from '../../../../domain/table.ts';
import { quoteTable } from '../../../../platform/postgres/quote.ts';

/** Rows that are on the target before anything has been copied there (fault 65). */
export const judgeFilled = (filled: readonly TableName[]): readonly Finding[] =>
  filled.map((table) => ({
    id: 'target/not-empty',
    severity: 'blocks',
    subject: displayName(table),
    fact: 'holds rows on the target already',
    remedy: `on the target, if nobody needs them: TRUNCATE ${quoteTable(table)};`,
  }));

/** Tables that are in the way of a schema which is yet to be made. */
export const judgeExisting = (existing: readonly TableName[]): readonly Finding[] =>
  existing.map((table) => ({
    id: 'target/table-exists',
    severity: 'blocks',
    subject: displayName(table),
    fact: 'exists on the target, where the plan is about to create it',
    remedy: 'drop it there, or write `schema: { from: existing }` in the plan',
  }));

/** Extensions of the source that the target could not create. */
export const judgeExtensions = (installed: readonly string[], available: readonly string[]): readonly Finding[] =>
  installed
    .filter((name) => !available.includes(name))
    .map((name) => ({
      id: 'target/extension-unavailable',
      severity: 'blocks',
      subject: `extension ${name}`,
      fact: 'is installed on the source and not available on the target',
      remedy: "install its package on the target's machine, or drop it on the source",
    }));
