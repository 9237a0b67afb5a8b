import { z } from 'zod';
import { isPostgresUrl, MOST_ITEMS, optionalDuration, text } from './values.ts';

/** `s3://bucket/prefix`, of the characters that names of objects have everywhere. */
const S3_PLACE = /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9._=-]+)*\/?$/;

const isPlace = (value: string): boolean => (value.includes('://') ? S3_PLACE.test(value) : true);

/** Where objects are kept: a folder, or a prefix in S3. */
export const place = () =>
  text().refine(isPlace, {
    error: 'is no place for objects; write a folder, or s3://bucket/prefix with A-Z, a-z, 0-9, ., _, = and - in it',
  });

/** 32 bytes, as `openssl rand -hex 32` or `-base64 32` prints them. */
const KEY = /^([0-9a-fA-F]{64}|[A-Za-z0-9+/]{43}=)$/;

/** A count of snapshots to be kept. */
const count = (least: number) =>
  z
    .int('must be a whole number; write it without quotes')
    .min(least, least === 0 ? 'is less than nothing; write 0 or more' : 'keeps none; write 1 or more')
    .max(MOST_ITEMS, `is more than anybody keeps; write at most ${MOST_ITEMS}`);

const rules = z.strictObject({
  last: count(1)
    .default(3)
    .meta({ description: 'How many of the newest.', examples: [3] }),
  daily: count(0)
    .default(0)
    .meta({ description: 'Of how many days the newest of the day, in UTC.', examples: [7] }),
  weekly: count(0)
    .default(0)
    .meta({ description: 'Of how many weeks the newest of the week, in UTC.', examples: [4] }),
});

const keep = z
  .union([count(1), rules], {
    error: 'must be a number or rules; write 3, or { last: 3, daily: 7, weekly: 4 }',
  })
  .prefault({})
  .meta({
    description:
      'Which snapshots `snapshot prune` leaves: `last`, the newest ones; `daily` and `weekly`, the newest of each of so many days and weeks. A number alone is `last`. The newest is always left, and so is what a run refers to.',
    examples: [{ last: 3, daily: 7, weekly: 4 }],
  });

/** Text of a form, which an editor does not judge: in the file it may be a reference to the environment. */
const shaped = (form: RegExp, error: string) => z.string().refine((value) => form.test(value), { error });

const identifier = () =>
  shaped(/^[A-Za-z](-?[A-Za-z0-9]){0,62}$/, 'is no identifier of RDS; write it as the console shows it, not its ARN');

const region = () => z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d$/, 'is no region of AWS; write one such as eu-central-1');

const copy = z.strictObject({
  region: region().meta({ description: 'The region that gets a copy.', examples: ['eu-west-1'] }),
  kms_key: text()
    .optional()
    .meta({
      description:
        'The key of that region which encrypts the copy, by ARN. Needed where the snapshot is encrypted; keys do not leave their region.',
      examples: ['arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d'],
    }),
});

/** What becomes of safety copies of the source. Which keys go with which store is told by `snapshotProblems`. */
export const snapshotsSchema = z
  .strictObject({
    store: z.enum(['pg_dump', 'pg_basebackup', 'rds']).meta({
      description:
        'What makes and keeps them. `pg_dump` dumps the database; `pg_basebackup` takes the whole server with its WAL; `rds` asks for a snapshot of an RDS instance or an Aurora cluster.',
      examples: ['pg_dump'],
    }),
    to: place()
      .optional()
      .meta({
        description:
          'With `pg_dump` and `pg_basebackup`, where they are kept: a folder, relative to that of the plan, or `s3://bucket/prefix`.',
        examples: ['/backups/shop'],
      }),
    region: region()
      .optional()
      .meta({
        description: 'The AWS region of RDS, and of S3. Without it AWS_REGION or the profile tells.',
        examples: ['eu-central-1'],
      }),
    key: shaped(KEY, 'is no key; make one by `openssl rand -hex 32`, 32 bytes in hex or base64')
      .optional()
      .meta({
        description:
          'Encrypts snapshots that go to `to`, and `soak.archive`, by AES-256-GCM. 32 bytes in hex or base64, written as a reference to the environment. Who loses it has lost them.',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
        examples: ['${SNAPSHOT_KEY}'],
      }),
    jobs: z
      .int('must be a whole number; write it without quotes')
      .min(1, 'does nothing; write 1 or more')
      .max(64, 'is more than a server bears; write at most 64')
      .optional()
      .meta({
        description: 'With `pg_dump`, how many tables are dumped and restored at once. 4 without it.',
        examples: [4],
      }),
    bin: text()
      .optional()
      .meta({
        description:
          'With `pg_dump` and `pg_basebackup`, the folder of these programs and of pg_restore, pg_ctl and postgres. Without it they are found by PATH.',
        examples: ['/usr/lib/postgresql/13/bin'],
      }),
    scratch: text()
      .optional()
      .meta({
        description:
          "Where a drill restores to: with `pg_dump` the URL of another server's database, beside which a scratch one is made, by a role that may make it; with `pg_basebackup` a folder. Without it `pg_dump` makes it on the source's server, which a drill then loads, and `pg_basebackup` makes it beside the snapshots, or among temporary files where these are in S3.",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
        examples: ['${SCRATCH_URL}'],
      }),
    instance: identifier()
      .optional()
      .meta({ description: 'With `rds`, the instance that is the source.', examples: ['shop-old'] }),
    cluster: identifier()
      .optional()
      .meta({ description: 'With `rds`, the Aurora cluster that is the source.', examples: ['shop-old'] }),
    copy_to: z
      .array(copy)
      .min(1, 'is an empty list; name a region, or leave the key out')
      .max(20)
      .optional()
      .meta({
        description: 'With `rds`, other regions that get a copy of each snapshot.',
        examples: [[{ region: 'eu-west-1' }]],
      }),
    share_with: z
      .array(shaped(/^\d{12}$/, 'is no account of AWS; write its 12 digits in quotes'))
      .min(1, 'is an empty list; name an account, or leave the key out')
      .max(20)
      .optional()
      .meta({
        description: 'With `rds`, other accounts that may restore each snapshot.',
        examples: [['123456789012']],
      }),
    before: z
      .array(z.enum(['prepare', 'cutover']))
      .max(2, 'names one twice; name each once')
      .refine((value) => new Set(value).size === value.length, { error: 'names one twice; name each once' })
      .default([])
      .meta({
        description:
          'What a snapshot is made before: `prepare`, the first that changes a database, and `cutover`, where there is none that is younger than `fresh_for`.',
        examples: [['prepare', 'cutover']],
      }),
    every: optionalDuration({
      atLeastMs: 60_000,
      description: 'How often the worker makes one while a phase soaks. Without it none.',
      examples: ['24h'],
    }),
    fresh_for: optionalDuration({
      atLeastMs: 1_000,
      description:
        'A cutover is refused without a snapshot that is younger than this. With `before: [cutover]` it makes one instead.',
      examples: ['24h'],
    }),
    drill_within: optionalDuration({
      atLeastMs: 1_000,
      description: 'A cutover is refused without a drill that succeeded and is younger than this.',
      examples: ['7d'],
    }),
    keep,
    probes: z
      .array(text())
      .max(MOST_ITEMS)
      .default([])
      .meta({
        description:
          'SQL that a restored database is asked, in a drill and after a restore. Each gives one row with one column that is true.',
        examples: [['select count(*) > 0 from public.product']],
      }),
  })
  .superRefine(({ store, scratch }, context) => {
    if (scratch === undefined || store === 'rds' || isPostgresUrl(scratch) === (store === 'pg_dump')) return;
    context.addIssue({
      code: 'custom',
      path: ['scratch'],
      message:
        store === 'pg_dump'
          ? 'is no PostgreSQL URL; with store: pg_dump write postgresql://user@host:port/database'
          : 'is a URL; with store: pg_basebackup write a folder',
    });
  })
  .optional()
  .meta({
    description:
      'Safety copies of the source, for when replication itself is what failed: [snapshots.md](snapshots.md). Without it none is made.',
  });
