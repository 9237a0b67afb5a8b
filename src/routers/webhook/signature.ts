import { createHmac } from 'node:crypto';

/** Header with the seconds since 1970 at which a request was signed. */
export const TIMESTAMP_HEADER = 'Switchback-Timestamp';
/** Header with the scheme, `v1`, and the signature. */
export const SIGNATURE_HEADER = 'Switchback-Signature';
/** Header with the key that repetitions of one request have in common; the body has it too, where it is signed. */
export const KEY_HEADER = 'Idempotency-Key';

/**
 * HMAC-SHA256, in hex, over the timestamp, a full stop and the text: the body's bytes, or of a GET what stands behind the
 * question mark. As Stripe's webhooks have it: the time is signed, so that a receiver can refuse what was recorded long ago.
 */
export const signatureOf = (secret: string, timestamp: number, text: string): string =>
  `v1=${createHmac('sha256', secret).update(`${timestamp}.${text}`).digest('hex')}`;
