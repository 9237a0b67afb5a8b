import { createHash, type Hash } from 'node:crypto';
import type { Objects } from './objects.ts';
import { damaged, requireKey, seal, unseal } from './seal.ts';
import type { SealKey } from './seal-key.ts';

/** What has to be kept of an object to prove later that it is the one that was put. JSON. */
export interface SealedObject {
  readonly key: string;
  /** Of the content. */
  readonly bytes: number;
  /** As it is stored: size, and SHA-256 in hex, which can be compared without the key. */
  readonly stored: { readonly bytes: number; readonly sha256: string };
  /** `plain`: the stored bytes are the content. `sealed`: as `seal.ts` says. */
  readonly form: 'plain' | 'sealed';
  /** Of the key that it was encrypted with. */
  readonly keyId: string | null;
}

/** How objects are written from now on. What is read says by itself how it was written. */
export interface EnvelopeOptions {
  readonly key: SealKey | null;
  readonly zstd: boolean;
}

/** Counts and hashes what passes. */
class Measure {
  bytes = 0;
  readonly #hash: Hash | undefined;

  constructor(algorithm?: 'sha256') {
    this.#hash = algorithm === undefined ? undefined : createHash(algorithm);
  }

  async *of(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      this.bytes += piece.length;
      this.#hash?.update(piece);
      yield piece;
    }
  }

  digest(): string {
    return this.#hash?.digest('hex') ?? '';
  }
}

/**
 * Objects whose content is proven when it is read. Without key and compression an object is stored as it is, so that other programs
 * can read it too, and its proof is the record that `put` returns; otherwise it is sealed, and proves itself as well.
 */
export class Envelope {
  readonly objects: Objects;
  readonly #options: EnvelopeOptions;

  constructor(objects: Objects, options: EnvelopeOptions) {
    this.objects = objects;
    this.#options = options;
  }

  /** As `Objects.put`; `size` is that of the content. */
  async put(key: string, bytes: AsyncIterable<Uint8Array>, size?: number): Promise<SealedObject> {
    const { key: secret, zstd } = this.#options;
    const form = secret === null && !zstd ? 'plain' : 'sealed';
    const content = new Measure();
    const stored = new Measure('sha256');
    const measured = content.of(bytes);
    const sealed = form === 'plain' ? measured : seal(measured, { name: key, key: secret, zstd });
    await this.objects.put(key, stored.of(sealed), size);
    return {
      key,
      bytes: content.bytes,
      stored: { bytes: stored.bytes, sha256: stored.digest() },
      form,
      keyId: secret?.id ?? null,
    };
  }

  /**
   * The content. When it throws, what it gave before has to be thrown away: kind `refused` where it is not what was put, down to
   * its last byte, or is encrypted with another key.
   */
  async *get(object: SealedObject): AsyncGenerator<Uint8Array> {
    requireKey(object.key, object.keyId, this.#options.key);
    const stored = new Measure('sha256');
    const content = new Measure();
    const raw = stored.of(this.#bounded(object));
    yield* content.of(object.form === 'plain' ? raw : unseal(raw, { name: object.key, key: this.#options.key }));
    requireSame(object, stored);
    if (content.bytes !== object.bytes)
      throw damaged(object.key, `it holds ${content.bytes} bytes, not ${object.bytes}`);
  }

  /**
   * The content of a sealed object of which no record was kept: it proves itself, and that it was put at this place. One that is
   * not encrypted is refused where there is a key, since anybody could have put it there.
   */
  async *read(name: string): AsyncGenerator<Uint8Array> {
    const { key } = this.#options;
    yield* unseal(this.objects.get(name), { name, key, mustEncrypt: key !== null });
  }

  /** Reads an object and throws as `get` does, without opening it: no key is needed. */
  async verify(object: SealedObject): Promise<void> {
    const stored = new Measure('sha256');
    for await (const _ of stored.of(this.#bounded(object)));
    requireSame(object, stored);
  }

  /** Never more than a little beyond what there should be, whatever is there by now. */
  async *#bounded(object: SealedObject): AsyncGenerator<Uint8Array> {
    let left = object.stored.bytes;
    for await (const piece of this.objects.get(object.key)) {
      left -= piece.length;
      if (left < 0) throw damaged(object.key, `it is larger than ${object.stored.bytes} bytes`);
      yield piece;
    }
  }
}

const requireSame = ({ key, stored }: SealedObject, read: Measure): void => {
  if (read.bytes !== stored.bytes) throw damaged(key, `it has ${read.bytes} bytes, not ${stored.bytes}`);
  if (read.digest() !== stored.sha256) throw damaged(key, 'its checksum is another');
};
