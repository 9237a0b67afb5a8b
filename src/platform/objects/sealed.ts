import type { Envelope } from './envelope.ts';
import type { ObjectEntry, Objects } from './objects.ts';

/**
 * Objects of which each proves itself when it is read: compressed, checked, and encrypted where there is a key; see
 * {@link Envelope.read}. Listings have the sizes as they are stored.
 */
export class SealedObjects implements Objects {
  readonly label: string;
  readonly #envelope: Envelope;

  /** The envelope must compress or encrypt: what it stores as it is proves nothing. */
  constructor(envelope: Envelope) {
    this.label = envelope.objects.label;
    this.#envelope = envelope;
  }

  async put(key: string, bytes: AsyncIterable<Uint8Array>, size?: number): Promise<ObjectEntry> {
    const { stored } = await this.#envelope.put(key, bytes, size);
    return { key, bytes: stored.bytes };
  }

  async *get(key: string, from = 0): AsyncGenerator<Uint8Array> {
    let skip = from;
    for await (const piece of this.#envelope.read(key)) {
      if (skip < piece.length) yield piece.subarray(skip);
      skip = Math.max(0, skip - piece.length);
    }
  }

  list(prefix: string): AsyncIterable<ObjectEntry> {
    return this.#envelope.objects.list(prefix);
  }

  async remove(key: string): Promise<void> {
    await this.#envelope.objects.remove(key);
  }
}
