import { z } from 'zod';
import type { RouterAction } from '../domain/placeholder.ts';
import { ROUTE_FORMATS } from '../domain/route-format.ts';
import { route53Router, secretsManagerRouter, ssmRouter } from './aws-router-schema.ts';
import { etcdSchema } from './etcd-router.ts';
import { haproxyRouter } from './haproxy-schema.ts';
import { isFileForEach } from './instances.ts';
import { kubernetesRouter } from './kubernetes-router-schema.ts';
import { probe } from './probe-schema.ts';
import { argv, duration, name, oneOrMore, port, postgresUrl, text } from './values.ts';
import { webhookSchema } from './webhook-router.ts';

const fileRouter = z.strictObject({
  kind: z.literal('file').meta({ description: 'A small file that names the primary of each phase.' }),
  path: text().meta({
    description: 'The file. Made when it is not there; replaced atomically. Relative to the folder of the plan.',
    examples: ['/etc/shop/primary.json'],
  }),
  format: z
    .enum(ROUTE_FORMATS)
    .optional()
    .meta({
      description:
        'Format of the file. Without it the end of the path tells: .json, .yaml or .yml, .env, .properties. Whatever else is in the file stays.',
      examples: ['yaml'],
    }),
  probe,
});

const command = (action: RouterAction, description: string, example: readonly string[]) =>
  argv(action).meta({ description, examples: [example] });

const commandRouter = z.strictObject({
  kind: z.literal('command').meta({ description: 'Programs of your own, run without a shell.' }),
  observe: command('observe', 'Prints where {phase} leads: `source`, `target`, or JSON with primary, held, version.', [
    './route.sh',
    'observe',
    '{phase}',
  ]).optional(),
  hold: command('hold', 'Keeps clients of {phase} (run once for each), or of {phases} (run once), waiting.', [
    './route.sh',
    'hold',
    '{phases}',
  ]).optional(),
  repoint: command('repoint', 'Leads clients to {side}. Knows {phase} or {phases}, {epoch} and {previous}.', [
    './route.sh',
    'repoint',
    '{phases}',
    '{side}',
  ]),
  release: command('release', 'Lets clients of {phase} or {phases} go on.', [
    './route.sh',
    'release',
    '{phases}',
  ]).optional(),
  timeout: duration({
    atLeastMs: 1,
    otherwise: '10s',

    description: 'How long one run may take before its process group is ended. What it did is then not known.',
    examples: ['30s'],
  }),
  probe,
});

/** PgBouncer 1.18 takes no other character in the name of an entry, whatever its manual says of quotes. */
const pooled = () => z.string().regex(/^[A-Za-z0-9_.-]+$/, 'is no name of an entry; use A-Z, a-z, 0-9, _, . and -');

/** It becomes a value of a connection string in the pooler's file. */
const entryValue = () =>
  z.string().regex(/^[^'\p{Cc}]+$/u, 'cannot stand in an entry; leave out apostrophes and line ends');

const pooledSide = (which: 'source' | 'target') =>
  z
    .strictObject({
      host: entryValue().optional().meta({ description: 'As the pooler is to reach it.' }),
      port: port().optional().meta({ description: 'Its port.' }),
      dbname: entryValue().optional().meta({ description: 'The database there.' }),
    })
    .prefault({})
    .meta({
      description: `What an entry says when it leads to the ${which}: \`host\`, \`port\`, \`dbname\`. What is left out is taken from \`${which}.url\`.`,
      examples: [{ host: `${which === 'source' ? 'old' : 'new'}.internal`, port: 5432 }],
    });

const pgbouncerRouter = z
  .strictObject({
    kind: z
      .literal('pgbouncer')
      .meta({ description: 'PgBouncer: clients are held, their entry is changed, and they go on.' }),
    admin: oneOrMore(postgresUrl()).meta({
      description: 'URL of the admin console, or a list: all poolers that lead the same applications.',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
      examples: ['${PGBOUNCER_ADMIN_URL}'],
    }),
    config: oneOrMore(text()).meta({
      description:
        "The file on this machine that has the entry: the pooler's own or one that it includes. One for all, or a list with one for each of `admin`.",
      examples: ['/etc/pgbouncer/databases.ini'],
    }),
    database: pooled()
      .optional()
      .meta({ description: 'The entry, when the router leads one phase.', examples: ['shop'] }),
    databases: z
      .record(name(), pooled())
      .optional()
      .meta({
        description: 'The entry of each phase, when the router leads several: no two share one.',
        examples: [{ catalog: 'shop_catalog', orders: 'shop_orders' }],
      }),
    foreign_settings: z
      .enum(['refuse', 'end'])
      .default('refuse')
      .meta({
        description:
          'What is done where PgBouncer, from 1.26 on, has learned a setting from one server that the other does not know (`scram_iterations`, before PostgreSQL 16), so that clients would be turned away there: no switch begins, or all clients are ended once when they are led there, and connect again.',
        examples: ['end'],
      }),
    source: pooledSide('source'),
    target: pooledSide('target'),
    probe,
  })
  .refine((value) => (value.database === undefined) !== (value.databases === undefined), {
    error: 'needs exactly one of `database` and `databases`; keep the one that is meant',
  })
  .refine(({ admin, config }) => isFileForEach(admin, config), {
    error: 'has another number of files than of poolers; give one file for all, or one for each of `admin`',
  });

/** How one router is set up: one alternative for each kind. */
export const routerSchema = z.discriminatedUnion('kind', [
  fileRouter,
  commandRouter,
  pgbouncerRouter,
  haproxyRouter,
  route53Router,
  secretsManagerRouter,
  ssmRouter,
  kubernetesRouter,
  webhookSchema,
  etcdSchema,
]);
