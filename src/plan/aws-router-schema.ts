import { z } from 'zod';
import { probe } from './probe-schema.ts';
import { MOST_ITEMS, name, text } from './values.ts';

const region = (otherwise: string) =>
  text()
    .optional()
    .meta({ description: `The AWS region. ${otherwise}`, examples: ['eu-central-1'] });

const AS_EVERYWHERE = 'Without it AWS_REGION or the profile tells.';

/** Exactly one of a key for one phase and a key for several, as every router has them that leads by named things. */
const oneOf = (one: string, many: string) => ({
  check: (value: Readonly<Record<string, unknown>>) => (value[one] === undefined) !== (value[many] === undefined),
  error: `needs exactly one of \`${one}\` and \`${many}\`; keep the one that is meant`,
});

const RECORD = oneOf('record', 'records');
const SECRET = oneOf('secret', 'secrets');
const PARAMETER = oneOf('parameter', 'parameters');

const record = () =>
  z
    .string()
    .regex(
      /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?$/,
      'is no name of a record; write it in full, such as db.shop.internal',
    );

const values = (which: 'source' | 'target') => {
  const one = z.string().regex(/^[A-Za-z0-9_.:-]+$/, 'is no value of a record; write a name or an address');
  return z
    .union([one, z.array(one).min(1, 'is an empty list; give at least one').max(MOST_ITEMS)], {
      error: 'must be text or a list of texts; write one, or [one, two]',
    })
    .optional()
    .meta({
      description: `What the record says when it leads to the ${which}: a name for a CNAME, else one or several addresses. Without it, the host of \`${which}.url\`.`,
      examples: [`${which === 'source' ? 'old' : 'new'}.internal`],
    });
};

/** Records of a hosted zone in Route 53. */
export const route53Router = z
  .strictObject({
    kind: z.literal('route53').meta({ description: 'DNS records in Amazon Route 53: their value is changed.' }),
    zone: z
      .string()
      .regex(/^[A-Z0-9]{1,32}$/, 'is no id of a hosted zone; write it without /hostedzone/, such as Z0123456789ABC')
      .meta({ description: 'The id of the hosted zone.', examples: ['Z0123456789ABC'] }),
    region: region('Route 53 is one for all; only in China requests have to be signed for another one.'),
    type: z
      .enum(['CNAME', 'A', 'AAAA'])
      .prefault('CNAME')
      .meta({ description: 'The type of the records.', examples: ['A'] }),
    record: record()
      .optional()
      .meta({
        description: 'The record, when the router leads one phase. It has to be there already; its TTL stays.',
        examples: ['db.shop.internal'],
      }),
    records: z
      .record(name(), record())
      .optional()
      .meta({
        description: 'The record of each phase, when the router leads several: no two share one.',
        examples: [{ catalog: 'catalog-db.shop.internal', orders: 'orders-db.shop.internal' }],
      }),
    source: values('source'),
    target: values('target'),
    probe,
  })
  .refine(RECORD.check, { error: RECORD.error })
  .refine(({ type, source, target }) => type !== 'CNAME' || (!Array.isArray(source) && !Array.isArray(target)), {
    error: 'gives several values to a CNAME, which has one; write one name for each side',
  });

const keys = () =>
  z
    .record(text(), z.union([z.string(), z.int()], { error: 'must be text or a whole number; write it so' }))
    .refine((value) => Object.keys(value).length > 0, {
      error: 'is empty; write the keys that say where the database is',
    });

const namesOf = (value: unknown): string =>
  typeof value === 'object' && value !== null ? Object.keys(value).toSorted().join() : typeof value;

const sameKeys = ({ source, target }: { readonly source?: unknown; readonly target?: unknown }): boolean =>
  namesOf(source) === namesOf(target);

const SAME_KEYS = 'says other keys of `source` than of `target`; write the same keys for both, with the values of each';

const secretSide = (which: 'source' | 'target') =>
  keys()
    .optional()
    .meta({
      description: `What the secret, a JSON object, says when it leads to the ${which}: these keys are replaced, all others stay. Without it \`host\`, \`port\` and \`dbname\`, as in \`${which}.url\`.`,
      examples: [{ host: `${which === 'source' ? 'old' : 'new'}.internal`, port: 5432 }],
    });

const secret = () => z.string().regex(/^[A-Za-z0-9/_+=.@:-]{1,2048}$/, 'is no name of a secret; write its name or ARN');

/** Secrets in AWS Secrets Manager. */
export const secretsManagerRouter = z
  .strictObject({
    kind: z
      .literal('secrets-manager')
      .meta({ description: 'Secrets in AWS Secrets Manager that say where the database is, and perhaps more.' }),
    region: region(AS_EVERYWHERE),
    secret: secret()
      .optional()
      .meta({ description: 'The secret, by name or ARN, when the router leads one phase.', examples: ['shop/db'] }),
    secrets: z
      .record(name(), secret())
      .optional()
      .meta({
        description: 'The secret of each phase, when the router leads several: no two share one.',
        examples: [{ catalog: 'shop/catalog-db', orders: 'shop/orders-db' }],
      }),
    source: secretSide('source'),
    target: secretSide('target'),
    probe,
  })
  .refine(SECRET.check, { error: SECRET.error })
  .refine(sameKeys, { error: SAME_KEYS });

const parameterSide = (which: 'source' | 'target') =>
  z.union([text(), keys()], { error: 'must be text, or keys with their values' }).meta({
    description: `What the parameter says when it leads to the ${which}: its whole value, or keys of a JSON object, of which all others stay.`,
    examples: [`${which === 'source' ? 'old' : 'new'}.internal`],
  });

const parameter = () =>
  z.string().regex(/^[A-Za-z0-9_./-]{1,1011}$/, 'is no name of a parameter; use A-Z, a-z, 0-9, _, ., - and /');

/** Parameters of AWS Systems Manager. */
export const ssmRouter = z
  .strictObject({
    kind: z
      .literal('ssm')
      .meta({ description: 'Parameters in AWS Systems Manager (Parameter Store) that say where the database is.' }),
    region: region(AS_EVERYWHERE),
    parameter: parameter()
      .optional()
      .meta({ description: 'The parameter, when the router leads one phase.', examples: ['/shop/db/host'] }),
    parameters: z
      .record(name(), parameter())
      .optional()
      .meta({
        description: 'The parameter of each phase, when the router leads several: no two share one.',
        examples: [{ catalog: '/shop/catalog/host', orders: '/shop/orders/host' }],
      }),
    source: parameterSide('source'),
    target: parameterSide('target'),
    probe,
  })
  .refine(PARAMETER.check, { error: PARAMETER.error })
  .refine(sameKeys, { error: SAME_KEYS });
