// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to the environment are what is tested
import { describe, expect, test } from 'vitest';
import { messageOf } from '../../src/domain/errors.ts';
import { type Plan, parsePlan } from '../../src/plan/load.ts';

const KEY = 'c4'.repeat(32);
const BASE64_KEY = `${'c4na'.repeat(10)}c4k=`;
const ENV = { KEY, BASE64_KEY, SHORT: 'c4nary', PLACE: 's3://shop-backups/a/b' };

const HEAD = `version: 1
name: shop
source: { url: "postgresql://old/shop" }
target: { url: "postgresql://new/shop" }
phases: [{ name: all, tables: [public.*], router: app }]
routers: { app: { kind: file, path: p.json } }
`;

const parsed = (rest: string): Plan => parsePlan(new TextEncoder().encode(`${HEAD}${rest}\n`), '/plans/p.yaml', ENV);

/** The problems of a plan with these lines, without the file's name; never with a secret in them. */
const problemsOf = (rest: string): readonly string[] => {
  try {
    parsed(rest);
    return [];
  } catch (error) {
    expect(messageOf(error)).not.toContain('c4');
    return messageOf(error)
      .split('\n')
      .slice(1)
      .map((line) => line.replace('/plans/p.yaml:', ''));
  }
};

describe('snapshots of a plan', () => {
  test('are none without the key', () => {
    expect(parsed('')).toMatchObject({ snapshots: null, soak: { archive: null } });
  });

  test('have defaults, absolute paths and milliseconds', () => {
    expect(parsed('snapshots: { store: pg_dump, to: backups }').snapshots).toEqual({
      store: {
        kind: 'pg_dump',
        to: { kind: 'directory', path: '/plans/backups' },
        key: null,
        jobs: 4,
        bin: null,
        scratch: null,
      },
      key: null,
      before: [],
      everyMs: null,
      freshForMs: null,
      drillWithinMs: null,
      keep: { last: 3, daily: 0, weekly: 0 },
      probes: [],
    });
    const rest =
      'every: 24h, fresh_for: 12h, drill_within: 7d, keep: 5, before: [prepare, cutover], probes: ["select true"]';
    expect(
      parsed(`snapshots: { store: pg_basebackup, to: /b, bin: pg/bin, scratch: tmp, ${rest} }`).snapshots,
    ).toMatchObject({
      store: { kind: 'pg_basebackup', to: { path: '/b' }, bin: '/plans/pg/bin', scratch: '/plans/tmp' },
      everyMs: 86_400_000,
      freshForMs: 43_200_000,
      drillWithinMs: 604_800_000,
      keep: { last: 5, daily: 0, weekly: 0 },
      before: ['prepare', 'cutover'],
      probes: ['select true'],
    });
  });

  test('in S3 have a bucket, a prefix and a region, and a key of 32 bytes', () => {
    const plan = parsed(`snapshots: { store: pg_dump, to: "\${PLACE}", region: eu-central-1, key: "\${KEY}", jobs: 2 }
soak: { archive: "s3://other/" }`);
    const region = 'eu-central-1';
    expect(plan.snapshots?.store).toMatchObject({
      to: { kind: 's3', bucket: 'shop-backups', prefix: 'a/b', region },
      jobs: 2,
    });
    expect(plan.soak.archive).toEqual({ kind: 's3', bucket: 'other', prefix: '', region });
    expect(Buffer.from(plan.snapshots?.key ?? []).toString('hex')).toBe(KEY);
    const other = parsed('snapshots: { store: pg_dump, to: /b, key: "${BASE64_KEY}", keep: { daily: 7 } }').snapshots;
    expect(other?.key).toHaveLength(32);
    expect(other?.keep).toEqual({ last: 3, daily: 7, weekly: 0 });
  });

  test('of RDS name what they are of', () => {
    const rest =
      'copy_to: [{ region: eu-west-1, kms_key: "arn:x" }, { region: us-east-1 }], share_with: ["123456789012"]';
    expect(parsed(`snapshots: { store: rds, cluster: shop-old, ${rest} }`).snapshots?.store).toEqual({
      kind: 'rds',
      of: { kind: 'cluster', id: 'shop-old' },
      region: null,
      copyTo: [
        { region: 'eu-west-1', kmsKey: 'arn:x' },
        { region: 'us-east-1', kmsKey: null },
      ],
      shareWith: ['123456789012'],
    });
    expect(parsed('snapshots: { store: rds, instance: shop-old }').snapshots?.store).toMatchObject({
      of: { kind: 'instance', id: 'shop-old' },
    });
    // The archive is encrypted by us, whatever makes the snapshots.
    const archive = 'snapshots: { store: rds, instance: a, key: "${KEY}" }\nsoak: { archive: "/b" }';
    expect(parsed(archive).snapshots?.key).toHaveLength(32);
  });

  test('may change, and come from the environment, while a run is under way', () => {
    const [before, after] = [parsed(''), parsed('snapshots: { store: pg_dump, to: "${PLACE}" }')];
    expect(after.hash).not.toBe(before.hash);
    expect(JSON.stringify(after.canonical)).toContain('${PLACE}');
  });

  test.each([
    ['store: pg_dump', ['7:21: snapshots.to is missing; add it: a folder, or s3://bucket/prefix']],
    [
      'store: pgdump, to: /b',
      ['7:21: snapshots.store must be one of pg_dump, pg_basebackup, rds: value "pgdump"; did you mean pg_dump'],
    ],
    ['to: /b', ['7:12: snapshots.store is missing; add it: one of pg_dump, pg_basebackup, rds']],
    [
      'store: pg_dump, to: /b, instance: a, share_with: ["123456789012"]',
      [
        '7:38: snapshots.instance is not read with store: pg_dump: value "a"; take it out, or write store: rds',
        '7:51: snapshots.share_with is not read with store: pg_dump; take it out, or write store: rds',
      ],
    ],
    [
      'store: pg_basebackup, to: /b, jobs: 4',
      ['7:44: snapshots.jobs is not read with store: pg_basebackup: value "4"; take it out, or write store: pg_dump'],
    ],
    [
      'store: pg_dump, to: /b, scratch: /tmp',
      [
        '7:47: snapshots.scratch is no PostgreSQL URL: value "/tmp"; with store: pg_dump write postgresql://user@host:port/database',
      ],
    ],
    [
      'store: pg_basebackup, to: /b, scratch: "postgresql://h/d"',
      ['7:53: snapshots.scratch is a URL: value "postgresql://h/d"; with store: pg_basebackup write a folder'],
    ],
    [
      'store: rds, instance: a, to: /b',
      [
        '7:39: snapshots.to is not read with store: rds: value "/b"; take it out, or write store: pg_dump or pg_basebackup',
      ],
    ],
    ['store: rds', ['7:21: snapshots needs exactly one of `instance` and `cluster`; add the one that the source is']],
    [
      'store: rds, instance: a, cluster: b',
      ['7:21: snapshots needs exactly one of `instance` and `cluster`; keep the one that is meant'],
    ],
    [
      'store: rds, instance: "arn:aws:rds:eu-central-1:1:db:a"',
      [
        '7:36: snapshots.instance is no identifier of RDS: value "arn:aws:rds:eu-central-1:1:db:a"; write it as the console shows it, not its ARN',
      ],
    ],
    [
      'store: pg_dump, to: "gs://b/p"',
      [
        '7:34: snapshots.to is no place for objects: value "gs://b/p"; write a folder, or s3://bucket/prefix with A-Z, a-z, 0-9, ., _, = and - in it',
      ],
    ],
    [
      'store: pg_dump, to: "s3://B/p q"',
      [
        '7:34: snapshots.to is no place for objects: value "s3://B/p q"; write a folder, or s3://bucket/prefix with A-Z, a-z, 0-9, ., _, = and - in it',
      ],
    ],
    [
      'store: pg_dump, to: /b, region: eu-central-1',
      ['7:38: snapshots.region is the region of nothing: value "eu-central-1"; take it out'],
    ],
    [
      'store: rds, instance: a, region: frankfurt',
      ['7:47: snapshots.region is no region of AWS: value "frankfurt"; write one such as eu-central-1'],
    ],
    [
      'store: rds, instance: a, key: "${KEY}"',
      ['7:39: snapshots.key encrypts nothing; take it out: RDS encrypts by the KMS key of the instance'],
    ],
    [
      'store: pg_dump, to: /b, key: "${SHORT}"',
      ['7:43: snapshots.key is no key; make one by `openssl rand -hex 32`, 32 bytes in hex or base64'],
    ],
    [
      `store: pg_dump, to: /b, key: "${KEY}"`,
      ['7:43: snapshots.key is written out; keep it in the environment and refer to it: ${NAME}, without a default'],
    ],
    ['store: pg_dump, to: /b, keep: 0', ['7:44: snapshots.keep keeps none: value "0"; write 1 or more']],
    ['store: pg_dump, to: /b, keep: { last: 0 }', ['7:52: snapshots.keep.last keeps none: value "0"; write 1 or more']],
    [
      'store: pg_dump, to: /b, keep: { monthly: 1 }',
      ['7:46: snapshots.keep.monthly is not a key of a plan: value "monthly"; use one of last, daily, weekly'],
    ],
    ['store: pg_dump, to: /b, before: [cutover, cutover]', ['7:46: snapshots.before names one twice; name each once']],
    [
      'store: pg_dump, to: /b, before: [failback]',
      ['7:47: snapshots.before[0] must be one of prepare, cutover: value "failback"; use one of prepare, cutover'],
    ],
    ['store: pg_dump, to: /b, every: 1s', ['7:45: snapshots.every is too short: value "1s"; write at least 60000ms']],
    [
      'store: rds, instance: a, share_with: ["1"]',
      ['7:52: snapshots.share_with[0] is no account of AWS: value "1"; write its 12 digits in quotes'],
    ],
    [
      'store: pg_dump, to: /b, keeep: 1',
      ['7:38: snapshots.keeep is not a key of a plan: value "keeep"; did you mean keep'],
    ],
  ])('%s is refused', (text, problems) => {
    expect(problemsOf(`snapshots: { ${text} }`)).toEqual(problems);
  });

  test.each([
    [
      'engine: native\nsoak: { archive: /b }',
      [
        '8:18: soak.archive needs engine: stream: with native, changes do not pass through us: value "/b"; take it out, or write engine: stream',
      ],
    ],
    [
      'snapshots: { store: pg_dump, to: /b/ }\nsoak: { archive: /b }',
      ['8:18: soak.archive is where the snapshots are: value "/b"; give it a place of its own'],
    ],
  ])('%j is refused', (text, problems) => {
    expect(problemsOf(text)).toEqual(problems);
  });
});
