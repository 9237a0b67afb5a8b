import { z } from 'zod';
import { routerSchema } from './router-schema.ts';
import { place, snapshotsSchema } from './snapshot-schema.ts';
import { duration, MOST_ITEMS, NAME, name, oneOrMore, pattern, postgresUrl, rate, text } from './values.ts';

/**
 * The plan as its author writes it (DESIGN 12). Descriptions, defaults and examples live here only: `plan.schema.json`,
 * `docs/plan.md` and the messages of the loader are made from this. A custom issue's message is `what; remedy`.
 */

const side = (which: string) =>
  z
    .strictObject({
      url: postgresUrl().meta({
        description:
          `Connection URL of the ${which} database. ` +
          'A password is never written here, only by reference to the environment.',
        examples: [`\${${which === 'source' ? 'OLD' : 'NEW'}_DATABASE_URL}`],
      }),
    })
    .meta({
      description: which === 'source' ? 'The old database, which is moved.' : 'The new database, which receives it.',
    });

const reached = (which: 'source' | 'target') =>
  z
    .strictObject({
      url: postgresUrl(),
    })
    .optional()
    .meta({
      description: `How the other database's server reaches the ${which}: \`url\` as in \`${which}\`. Certificate files that it names are on that server.`,
      examples: [{ url: `\${${which === 'source' ? 'OLD' : 'NEW'}_DATABASE_URL_WITHIN}` }],
    });

const native = z
  .strictObject({ source: reached('source'), target: reached('target') })
  .optional()
  .meta({
    description: 'With `engine: native`, where the two servers reach each other under other URLs than we do.',
  });

const schemaSource = z
  .strictObject({
    from: z
      .enum(['pg_dump', 'existing'])
      .optional()
      .meta({
        description:
          '`pg_dump` dumps the source with the pg_dump on PATH and loads that. ' +
          '`existing` uses the tables that stand on the target already.',
        examples: ['existing'],
      }),
    files: z
      .array(text())
      .min(1, 'is an empty list; name the SQL files, or leave the key out')
      .max(MOST_ITEMS)
      .optional()
      .meta({
        description: 'SQL files run on the target, in this order. Relative paths start at the folder of the plan.',
        examples: [['schema/tables.sql', 'schema/indexes.sql']],
      }),
  })
  .refine((value) => (value.from === undefined) !== (value.files === undefined), {
    error: 'needs exactly one of `from` and `files`; keep the one that is meant',
  })
  .prefault({ from: 'pg_dump' })
  .meta({
    description: "Where the target's tables come from.",
    oneOf: [{ required: ['from'] }, { required: ['files'] }],
  });

const phase = z.strictObject({
  name: name().meta({
    description: 'Name of the phase, for commands and for the router. Unique; a-z, 0-9, _ and -, at most 30.',
    examples: ['orders'],
  }),
  after: z
    .array(name())
    .max(MOST_ITEMS)
    .default([])
    .meta({ description: 'Phases that must be cut over before this one.', examples: [['catalog']] }),
  tables: z
    .array(pattern())
    .min(1, 'is an empty list; name at least one table or pattern')
    .max(MOST_ITEMS)
    .refine((patterns) => patterns.length === 0 || patterns.some((item) => !item.startsWith('!')), {
      error: 'only excludes; name what the phase takes as well, such as "public.*"',
    })
    .meta({
      description:
        'Patterns `schema.table` of what the phase takes, out of what no earlier phase took. `*` stands for any text, ' +
        '`?` for one character, `!` in front excludes, and "…" around a part takes it literally. Names are spelt as ' +
        'in the catalogue. A partition goes with its partitioned table; a sequence with the table that uses it.',
      examples: [['public.*', '!public.audit_log']],
    }),
  router: oneOrMore(name()).meta({
    description:
      "Name of the router, under `routers`, that leads this phase's clients. Several as a list, in the order in which they act.",
    examples: ['app'],
  }),
  reads: oneOrMore(name())
    .optional()
    .meta({
      description:
        'Name of a router, or a list, that leads clients of this phase which only read. They are moved by themselves: `switchback cutover PLAN PHASE --reads`.',
      examples: ['replica'],
    }),
});

const copying = z
  .strictObject({
    limit: rate({
      atLeast: '1MB/s',
      description:
        'Most that is read from the source for copying, by all phases together. Without it a copy takes what it gets, ' +
        "and slows down by itself while the source's answers or its standbys are late.",
      examples: ['50MB/s'],
    }).optional(),
  })
  .prefault({})
  .meta({ description: 'The first copy of the rows.' });

const blockers = z
  .strictObject({
    wait: duration({
      atLeastMs: 0,
      otherwise: '2s',

      description: 'How long to wait for transactions that hold locks on the tables when the fence is set.',
      examples: ['500ms'],
    }),
    // biome-ignore lint/suspicious/noThenProperty: the key is part of the plan's language, and its value is never a function
    then: z
      .enum(['abort', 'terminate'])
      .default('abort')
      .meta({
        description: 'What to do when they are still there: undo the switch, or end their sessions.',
        examples: ['terminate'],
      }),
  })
  .prefault({})
  .meta({ description: 'Transactions in the way of the fence.' });

const sessionsLeft = z
  .strictObject({
    wait: duration({
      atLeastMs: 0,
      otherwise: '2s',

      description: 'How long they may go by themselves before they are ended.',
      examples: ['10s'],
    }),
    // biome-ignore lint/suspicious/noThenProperty: the key is part of the plan's language, and its value is never a function
    then: z
      .enum(['tell', 'terminate'])
      .default('tell')
      .meta({
        description:
          'What to do about them: tell who they are, or end them. They are only told of while another phase may be written there, while a probe does not prove that they are led elsewhere (without a probe nothing does, and they are ended), while readers are led there, and when another command is given before their time is over.',
        examples: ['terminate'],
      }),
  })
  .prefault({})
  .meta({
    description:
      'Clients that are still connected to the side that lost the writes when all others were let go on: everybody in that database, also users of tables in `ignore` or of no phase, `pg_dump` and sessions of foreign data wrappers.',
  });

const switching = z
  .strictObject({
    max_lag: duration({
      atLeastMs: 1,
      otherwise: '2s',

      description: 'A switch is refused while the lane is further behind than this.',
      examples: ['500ms'],
    }),
    window: duration({
      atLeastMs: 100,
      otherwise: '5s',

      description: 'Longest time for which nobody may write. When it runs out everything is undone.',
      examples: ['10s'],
    }),
    blockers,
    sessions_left: sessionsLeft,
  })
  .prefault({})
  .meta({ description: 'Bounds of a switch, in either direction.' });

const verify = z
  .strictObject({
    fresh_for: duration({
      atLeastMs: 1,
      otherwise: '1h',

      description: 'How long a certificate of equal tables allows a switch.',
      examples: ['24h'],
    }),
  })
  .prefault({})
  .meta({ description: 'Comparison of the two sides.' });

const soak = z
  .strictObject({
    for: duration({
      atLeastMs: 0,
      otherwise: '72h',

      description: 'How long after a cutover the source is kept current, so that a failback loses nothing.',
      examples: ['7d'],
    }),
    archive: place()
      .optional()
      .meta({
        description:
          'Where all changes of the soak are kept as well, so that even a lost source costs nothing: a folder, relative to that of the plan, or `s3://bucket/prefix`. With `engine: stream` alone.',
        examples: ['/backups/shop-changes'],
      }),
  })
  .prefault({})
  .meta({ description: 'The time after a cutover.' });

/** The whole document. Input is what the author writes; output has durations in milliseconds and defaults filled in. */
export const planSchema = z
  .strictObject({
    version: z.literal(1).meta({ description: "Version of the plan's language.", examples: [1] }),
    name: name().meta({ description: 'Name of the run; unique among the runs on one source.', examples: ['shop'] }),
    source: side('source'),
    target: side('target'),
    engine: z
      .enum(['stream', 'native'])
      .default('stream')
      .meta({
        description:
          'How changes are replicated. `stream` needs nothing but a connection to each side. `native` copies in the same ' +
          'way and then has the servers subscribe to each other, so that changes do not pass through us.',
        examples: ['native'],
      }),
    native,
    schema: schemaSource,
    phases: z
      .array(phase)
      .min(1, 'is an empty list; a plan needs at least one phase')
      .max(1000)
      .meta({ description: 'Sets of tables that switch together, in the order in which they take tables.' }),
    ignore: z
      .array(pattern())
      .max(MOST_ITEMS)
      .default([])
      .meta({
        description: 'Patterns of tables that stay behind. Every table is in a phase or here; a rest is a finding.',
        examples: [['public.audit_log']],
      }),
    routers: z.record(z.string(), routerSchema).meta({
      description: 'How the application is led to one side or the other, by a name of your choice.',
      // Not a schema of the keys, because zod does not look into an entry whose key is wrong.
      propertyNames: { pattern: NAME.source },
    }),
    copy: copying,
    switch: switching,
    verify,
    soak,
    snapshots: snapshotsSchema,
  })
  .meta({ title: 'Switchback plan', description: 'A plan for moving a live database to a new one, phase by phase.' });

/** The document after zod: defaults filled in, durations in milliseconds, keys as the author writes them. */
export type PlanDocument = z.output<typeof planSchema>;
