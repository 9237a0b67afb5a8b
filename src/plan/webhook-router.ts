import { resolve } from 'node:path';
import { z } from 'zod';
import { probe } from './probe-schema.ts';
import { duration, guardedUrl, text } from './values.ts';

/** A key of which HMAC-SHA256 is worth its name. */
const SHORTEST_SECRET = 16;

/** A server of the plan's author, which is asked by signed requests. */
export interface WebhookRouterPlan {
  readonly kind: 'webhook';
  /** May hold secrets. */
  readonly url: string;
  readonly secret: string;
  readonly observe: 'GET' | 'POST' | null;
  readonly holds: boolean;
  readonly timeoutMs: number;
  /** Absolute. */
  readonly ca?: string;
}

/** A `webhook` as its author writes it. */
export const webhookSchema = z.strictObject({
  kind: z.literal('webhook').meta({ description: 'A server of your own, asked by signed requests.' }),
  url: guardedUrl().meta({
    description: 'Where requests are sent: https, or http on the loopback address. Redirects are not followed.',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
    examples: ['${ROUTE_WEBHOOK_URL}'],
  }),
  secret: text()
    .min(SHORTEST_SECRET, `is too short; use at least ${SHORTEST_SECRET} characters, such as: openssl rand -hex 32`)
    .meta({
      description: 'What requests are signed with. Never written here, only by reference to the environment.',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a reference of the plan's language
      examples: ['${ROUTE_WEBHOOK_SECRET}'],
    }),
  observe: z
    .enum(['GET', 'POST'])
    .optional()
    .meta({
      description:
        'The method by which it is asked where a phase leads. Without it that is not known, and no edit is noticed.',
      examples: ['GET'],
    }),
  hold: z
    .boolean()
    .default(false)
    .meta({ description: 'Whether it knows `hold` and `release`.', examples: [true] }),
  ca: text()
    .optional()
    .meta({
      description:
        'Certificates of the authorities that its certificate may come from. Without it, those that Node knows. Relative to the folder of the plan.',
      examples: ['/etc/shop/ca.pem'],
    }),
  timeout: duration({
    atLeastMs: 1,
    otherwise: '10s',

    description: 'How long one call may take, with its repetitions. What it did is then not known.',
    examples: ['3s'],
  }),
  probe,
});

/** A webhook as the plan sets it up. */
export const webhookOf = (
  { url, secret, observe, hold, ca, timeout }: z.output<typeof webhookSchema>,
  directory: string,
): WebhookRouterPlan => ({
  kind: 'webhook',
  url,
  secret,
  observe: observe ?? null,
  holds: hold,
  timeoutMs: timeout,
  ...(ca === undefined ? {} : { ca: resolve(directory, ca) }),
});
