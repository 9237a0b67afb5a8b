import { createHash, hkdfSync } from 'node:crypto';
import { SwitchbackError } from '../../domain/errors.ts';
import { rememberSecret } from '../redact.ts';

const KEY_BYTES = 32;
/** Enough to tell keys apart, and nothing to find one by. */
const ID_BYTES = 8;
const HEX = /^[0-9a-f]{64}$/i;
const BASE64 = /^[A-Za-z0-9+/]{43}=$/;

/** A key to encrypt objects with. It is shown and stored by its id alone. */
export class SealKey {
  /** 16 hexadecimal digits. */
  readonly id: string;
  readonly #secret: Buffer;

  private constructor(secret: Buffer) {
    this.#secret = secret;
    this.id = createHash('sha256')
      .update('switchback key id')
      .update(secret)
      .digest('hex')
      .slice(0, 2 * ID_BYTES);
  }

  /** A key of 32 bytes. Throws RangeError for any other number. */
  static of(secret: Uint8Array): SealKey {
    if (secret.length !== KEY_BYTES) throw new RangeError(`a key of ${secret.length} bytes`);
    return new SealKey(Buffer.from(secret));
  }

  /** Reads 32 bytes in hex or base64. Throws kind `usage`, never with the text in it; `from` names where it was read. */
  static read(text: string, from: string): SealKey {
    rememberSecret(text);
    const secret = HEX.test(text) ? Buffer.from(text, 'hex') : Buffer.from(BASE64.test(text) ? text : '', 'base64');
    if (secret.length === KEY_BYTES) return new SealKey(secret);
    throw new SwitchbackError(
      'usage',
      `${from} is no key: it has to be 32 bytes, as 64 hexadecimal digits or in base64`,
      {
        remedy: 'make one with: openssl rand -hex 32; and keep it where the snapshots are not',
      },
    );
  }

  /** A key for one object: no two have the same, so that their chunks may be numbered alike. */
  derive(salt: Uint8Array, bound: string): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#secret, salt, `switchback object ${bound}`, KEY_BYTES));
  }
}
