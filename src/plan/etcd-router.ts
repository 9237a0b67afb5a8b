import { resolve } from 'node:path';
import { z } from 'zod';
import { probe } from './probe-schema.ts';
import { duration, guardedUrl, MOST_ITEMS, text } from './values.ts';

/** Keys of an etcd cluster, one for each phase. */
export interface EtcdRouterPlan {
  readonly kind: 'etcd';
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly user: { readonly name: string; readonly password: string } | null;
  /** Absolute. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly timeoutMs: number;
}

const isBare = (value: string): boolean => {
  const url = URL.parse(value);
  return url === null || (url.pathname === '/' && url.search === '');
};

const endpoint = () =>
  guardedUrl().refine(isBare, { error: 'has a path; write the address alone, such as https://etcd-1.internal:2379' });

const file = (description: string, example: string) =>
  text()
    .optional()
    .meta({ description: `${description} Relative to the folder of the plan.`, examples: [example] });

const together = (a: unknown, b: unknown): boolean => (a === undefined) === (b === undefined);

/** An `etcd` as its author writes it. */
export const etcdSchema = z
  .strictObject({
    kind: z.literal('etcd').meta({ description: 'Keys of an etcd cluster, which clients watch.' }),
    endpoints: z
      .union([endpoint(), z.array(endpoint()).min(1, 'is an empty list; give at least one').max(MOST_ITEMS)], {
        error: 'must be an address or a list of addresses; write one, or [one, two]',
      })
      .meta({
        description: 'A member, or all of them: https, or http on the loopback address. They are asked in turn.',
        examples: ['https://etcd-1.internal:2379'],
      }),
    prefix: text()
      .regex(/^\P{Cc}+$/u, 'cannot stand in a key; leave out line ends and control characters')
      .meta({ description: 'The key of a phase is this and its name.', examples: ['/shop/route/'] }),
    user: text()
      .optional()
      .meta({ description: 'Whom it is asked as, where authentication is enabled.', examples: ['switchback'] }),
    password: text()
      .optional()
      .meta({
        description: 'Never written here, only by reference to the environment.',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
        examples: ['${ETCD_PASSWORD}'],
      }),
    ca: file(
      'Certificates of the authorities that theirs may come from. Without it, those that Node knows.',
      '/etc/shop/etcd-ca.pem',
    ),
    cert: file('Our own certificate, where they ask for one.', '/etc/shop/etcd.pem'),
    key: file('Its key.', '/etc/shop/etcd.key'),
    timeout: duration({
      atLeastMs: 1,
      otherwise: '2s',

      description: 'How long one member is waited for.',
      examples: ['500ms'],
    }),
    probe,
  })
  .refine(({ user, password }) => together(user, password), {
    error: 'needs both of `user` and `password`, or neither; add the other one',
  })
  .refine(({ cert, key }) => together(cert, key), {
    error: 'needs both of `cert` and `key`, or neither; add the other one',
  });

/** Keys of etcd as the plan sets them up. */
export const etcdOf = (
  { endpoints, prefix, user, password, ca, cert, key, timeout }: z.output<typeof etcdSchema>,
  directory: string,
): EtcdRouterPlan => ({
  kind: 'etcd',
  endpoints: typeof endpoints === 'string' ? [endpoints] : endpoints,
  prefix,
  user: user === undefined || password === undefined ? null : { name: user, password },
  tls: {
    ...(ca === undefined ? {} : { ca: resolve(directory, ca) }),
    ...(cert === undefined ? {} : { cert: resolve(directory, cert) }),
    ...(key === undefined ? {} : { key: resolve(directory, key) }),
  },
  timeoutMs: timeout,
});
