import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ACTIONS } from '../../src/snapshots/rds/api.ts';

const FOLDER = new URL('../../src/snapshots/rds/', import.meta.url);
const DOCUMENT = new URL('../../docs/snapshots.md', import.meta.url);

/** What nobody here asks for and AWS wants all the same, as the page says; and the one question to KMS. */
const BESIDES = ['kms:CreateGrant', 'kms:DescribeKey', 'rds:ListTagsForResource'];

interface Policy {
  readonly Statement: readonly {
    readonly Sid: string;
    readonly Action: readonly string[];
    readonly Resource: string | readonly string[];
    readonly Condition?: unknown;
  }[];
}

const policy = (): Policy => {
  const [, json = ''] = /```json\n([\s\S]*?)```/.exec(readFileSync(DOCUMENT, 'utf8')) ?? [];
  return JSON.parse(json) as Policy;
};

const calledInSource = (): readonly string[] => {
  const sources = readdirSync(FOLDER).map((name) => readFileSync(new URL(name, FOLDER), 'utf8'));
  const calls = sources.flatMap((text) =>
    [...text.matchAll(/\bapi\.call\(\s*'(\w+)'/g)].map(([, action]) => `rds:${action}`),
  );
  return [...new Set(calls)].toSorted();
};

it('allows what is asked of RDS, all of it and nothing else', () => {
  const allowed = policy().Statement.flatMap(({ Action }) => Action);
  expect(new Set(allowed).size).toBe(allowed.length);
  expect(allowed.filter((action) => !BESIDES.includes(action)).toSorted()).toEqual(calledInSource());
  expect(allowed).toEqual(expect.arrayContaining(BESIDES));
});

it('knows of every action that is asked for whether it may be repeated', () => {
  expect(
    Object.keys(ACTIONS)
      .map((action) => `rds:${action}`)
      .toSorted(),
  ).toEqual(calledInSource());
});

it('lets nothing be changed or removed that does not carry the tag of the plan', () => {
  for (const { Action, Condition } of policy().Statement) {
    const isSevere = Action.some((action) => /^rds:(Delete|Reboot|Modify(DBInstance|DBCluster)$)/.test(action));
    expect(Condition !== undefined, Action.join()).toBe(isSevere);
  }
});

it('lets nothing be made, changed or removed by another name than those of the plan', () => {
  for (const { Sid, Action, Resource } of policy().Statement) {
    if (['Look', 'Keys'].includes(Sid)) continue;
    for (const arn of [Resource].flat()) {
      const [, kind = '', name = ''] = /^arn:aws:rds:\*:123456789012:([a-z-]+):(.+)$/.exec(arn) ?? [];
      expect(kind, `${Sid}: ${arn}`).not.toBe('');
      if (/^(db|cluster|snapshot|cluster-snapshot)$/.test(kind))
        expect(name, Sid).toMatch(/^((restored|drill)-)?shop-/);
      else expect(Action, arn).toContain('rds:RestoreDBInstanceFromDBSnapshot');
    }
    if (Action.some((action) => action.startsWith('rds:Delete')))
      expect([Resource].flat().join()).not.toContain('shop-old');
  }
});
