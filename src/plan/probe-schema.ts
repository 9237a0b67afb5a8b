import { z } from 'zod';
import { duration, name, oneOrMore, postgresUrl } from './values.ts';

/** What every kind of router may have beside its own keys. */
export const probe = z
  .strictObject({
    url: oneOrMore(postgresUrl())
      .optional()
      .meta({
        description:
          'URL by which clients reach their database through the router: the pooler, the name, the proxy. Or a list, all of which have to lead there.',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
        examples: ['${SHOP_DATABASE_URL}'],
      }),
    urls: z
      .record(name(), oneOrMore(postgresUrl()))
      .optional()
      .meta({
        description: 'The same for each phase, when the router leads several by paths of their own.',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: references of the plan's language
        examples: [{ catalog: '${CATALOG_URL}', orders: '${ORDERS_URL}' }],
      }),
    within: duration({
      atLeastMs: 0,
      otherwise: '30s',

      description:
        'How long after a repoint a path may still lead elsewhere before it is told as not proven. Longer than the TTL, where a name leads.',
      examples: ['2m'],
    }),
  })
  .refine((value) => (value.url === undefined) !== (value.urls === undefined), {
    error: 'needs exactly one of `url` and `urls`; keep the one that is meant',
  })
  .optional()
  .meta({
    description:
      'How each repoint is proven: after clients were let go on, it is asked by their own path which server they reach. Needs no more than a user who may connect.',
  });
