import { createCipheriv, createDecipheriv, createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { pipeline, Readable } from 'node:stream';
import { createZstdCompress, createZstdDecompress } from 'node:zlib';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import type { SealKey } from './seal-key.ts';

/**
 * The form of a sealed object: a header of 33 bytes (magic, one byte of flags, the key's id or zeros, a salt), then chunks. A
 * chunk is the length of its content in 4 bytes, whose highest bit says that it is the last, then content and tag. The last one is
 * always there and may be empty. With a key the content is encrypted by AES-256-GCM under a key that is derived for this object
 * from the salt and the object's name, and the nonce holds the chunk's number and whether it is the last: what is cut off, moved,
 * or comes from another object fails. Without a key the tag is a checksum of the same, which finds accidents and no forger. This is
 * the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse
 * Misuse-Resistance, 2015) with a key for each object.
 */
const MAGIC = Buffer.from('SWBOBJ1\n');
const SALT_BYTES = 16;
const ID_BYTES = 8;
const HEADER_BYTES = MAGIC.length + 1 + ID_BYTES + SALT_BYTES;
const ZSTD = 1;
const ENCRYPTED = 2;
const CHUNK_BYTES = 256 * 1024;
const LAST = 0x8000_0000;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';

/** How an object is sealed. */
export interface SealOptions {
  /** Its key among the objects. It is bound to the content. */
  readonly name: string;
  readonly key: SealKey | null;
}

/** Content in pieces of exactly one size, but for the last, which may be empty, and is told. */
const chunksOf = async function* (
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ readonly content: Buffer; readonly isLast: boolean }> {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (const piece of bytes) {
    held.push(piece);
    size += piece.length;
    if (size <= CHUNK_BYTES) continue;
    const all = Buffer.concat(held);
    let at = 0;
    for (; all.length - at > CHUNK_BYTES; at += CHUNK_BYTES) {
      yield { content: all.subarray(at, at + CHUNK_BYTES), isLast: false };
    }
    held = [all.subarray(at)];
    size = all.length - at;
  }
  yield { content: Buffer.concat(held), isLast: true };
};

/** Twelve bytes that no two chunks of an object share: number, and whether it is the last. */
const nonceOf = (index: number, isLast: boolean): Buffer => {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(BigInt(index));
  nonce[11] = isLast ? 1 : 0;
  return nonce;
};

interface Chunk {
  readonly content: Buffer;
  readonly nonce: Buffer;
}

/** Content and tag of one chunk, one way and the other. */
interface Sealer {
  seal(chunk: Chunk): { readonly content: Buffer; readonly tag: Buffer };
  /** Throws when it is not what was sealed. */
  open(chunk: Chunk, tag: Buffer): Buffer;
}

const encrypting = (secret: Buffer): Sealer => ({
  seal: ({ content, nonce }) => {
    const cipher = createCipheriv(CIPHER, secret, nonce);
    const sealed = Buffer.concat([cipher.update(content), cipher.final()]);
    return { content: sealed, tag: cipher.getAuthTag() };
  },
  open: ({ content, nonce }, tag) => {
    const decipher = createDecipheriv(CIPHER, secret, nonce, { authTagLength: TAG_BYTES });
    decipher.setAuthTag(tag);
    return Buffer.concat([decipher.update(content), decipher.final()]);
  },
});

const checksumming = (bound: string, salt: Buffer): Sealer => {
  const tagOf = ({ content, nonce }: Chunk): Buffer =>
    createHash('sha256')
      .update(`${bound}\n`)
      .update(salt)
      .update(nonce)
      .update(content)
      .digest()
      .subarray(0, TAG_BYTES);
  return {
    seal: (chunk) => ({ content: chunk.content, tag: tagOf(chunk) }),
    open: (chunk, tag) => {
      if (!timingSafeEqual(tagOf(chunk), tag)) throw new Error('its checksum is another');
      return chunk.content;
    },
  };
};

interface Header {
  readonly flags: number;
  readonly keyId: string;
  readonly salt: Buffer;
}

/** All of the header is bound to the content, also where it means nothing. */
const sealerOf = ({ flags, keyId, salt }: Header, { name, key }: SealOptions): Sealer => {
  const bound = `${flags} ${keyId} ${name}`;
  return key === null ? checksumming(bound, salt) : encrypting(key.derive(salt, bound));
};

/** Reads by itself what goes into a transform, so that its end and its errors come out of it. */
const through = (bytes: AsyncIterable<Uint8Array>, transform: ReturnType<typeof createZstdCompress>) =>
  pipeline(Readable.from(bytes, { objectMode: false }), transform, () => undefined) as AsyncIterable<Buffer>;

/** Seals bytes, with a key or with checksums alone; `zstd` compresses them before. */
export const seal = async function* (
  bytes: AsyncIterable<Uint8Array>,
  options: SealOptions & { readonly zstd: boolean },
): AsyncGenerator<Uint8Array> {
  const flags = (options.zstd ? ZSTD : 0) | (options.key === null ? 0 : ENCRYPTED);
  const header: Header = { flags, keyId: options.key?.id ?? '0'.repeat(2 * ID_BYTES), salt: randomBytes(SALT_BYTES) };
  yield Buffer.concat([MAGIC, Buffer.of(flags), Buffer.from(header.keyId, 'hex'), header.salt]);
  const sealer = sealerOf(header, options);
  let index = 0;
  for await (const { content, isLast } of chunksOf(options.zstd ? through(bytes, createZstdCompress()) : bytes)) {
    const sealed = sealer.seal({ content, nonce: nonceOf(index++, isLast) });
    const length = Buffer.alloc(4);
    length.writeUInt32BE((sealed.content.length | (isLast ? LAST : 0)) >>> 0);
    yield Buffer.concat([length, sealed.content, sealed.tag]);
  }
};

/** Exact numbers of bytes from pieces of any size. */
class Pieces {
  readonly #source: AsyncIterator<Uint8Array>;
  #held = Buffer.alloc(0);

  constructor(bytes: AsyncIterable<Uint8Array>) {
    this.#source = bytes[Symbol.asyncIterator]();
  }

  /** So many bytes, or fewer at the end. */
  async take(count: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [this.#held];
    let size = this.#held.length;
    while (size < count) {
      const { done, value } = await this.#source.next();
      if (done === true) break;
      pieces.push(value);
      size += value.length;
    }
    const all = Buffer.concat(pieces);
    this.#held = all.subarray(count);
    return all.subarray(0, count);
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }
}

/** The error for an object that is not what was put. */
export const damaged = (name: string, how: string): SwitchbackError =>
  new SwitchbackError('refused', `${name} is damaged: ${how}`, {
    remedy: 'use another snapshot or copy of it; see what the disk or bucket did to this one',
  });

const readHeader = (bytes: Buffer, name: string): Header => {
  if (bytes.length < HEADER_BYTES) throw damaged(name, `it ends after ${bytes.length} bytes`);
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw damaged(name, 'it does not begin as what Switchback writes, or was written by a newer one');
  }
  const at = MAGIC.length + 1;
  const flags = bytes[MAGIC.length] ?? 0;
  if ((flags & ~(ZSTD | ENCRYPTED)) !== 0) throw damaged(name, `it has the flags ${flags}, which mean nothing`);
  return { flags, keyId: bytes.toString('hex', at, at + ID_BYTES), salt: bytes.subarray(at + ID_BYTES) };
};

/** Throws kind `refused` when the key is not the one that something was encrypted with; `keyId` is null for what was not. */
export const requireKey = (name: string, keyId: string | null, key: SealKey | null): void => {
  if (keyId === null || keyId === key?.id) return;
  const ours = key === null ? 'the plan names none' : `the plan's key is ${key.id}`;
  throw new SwitchbackError('refused', `${name} is encrypted with key ${keyId}, and ${ours}`, {
    remedy:
      'let `snapshots.key` of the plan be the key that it was made with; without that it cannot be read by anybody',
  });
};

const unchunk = async function* (pieces: Pieces, sealer: Sealer, name: string): AsyncGenerator<Buffer> {
  for (let index = 0; ; index++) {
    const prefix = await pieces.take(4);
    if (prefix.length < 4) throw damaged(name, 'it is cut off');
    const word = prefix.readUInt32BE();
    const [size, isLast] = [word & ~LAST, (word & LAST) !== 0];
    if (size > CHUNK_BYTES) throw damaged(name, `chunk ${index} says that it has ${size} bytes`);
    const chunk = await pieces.take(size + TAG_BYTES);
    if (chunk.length < size + TAG_BYTES) throw damaged(name, 'it is cut off');
    const sealed = { content: chunk.subarray(0, size), nonce: nonceOf(index, isLast) };
    let content: Buffer;
    try {
      content = sealer.open(sealed, chunk.subarray(size));
    } catch (error) {
      throw damaged(name, `chunk ${index} is not what was written there (${messageOf(error)})`);
    }
    yield content;
    if (!isLast) continue;
    if ((await pieces.take(1)).length > 0) throw damaged(name, 'there is more behind its end');
    return;
  }
};

/**
 * The bytes of a sealed object. Every piece that it gives is what was sealed, at its place; that nothing is missing is known when it
 * has ended. Throws kind `refused` for a damaged one, one of another name, and for another key; with `mustEncrypt` for one without.
 */
export const unseal = async function* (
  bytes: AsyncIterable<Uint8Array>,
  options: SealOptions & { readonly mustEncrypt?: boolean },
): AsyncGenerator<Buffer> {
  const { name, key } = options;
  const pieces = new Pieces(bytes);
  try {
    const header = readHeader(await pieces.take(HEADER_BYTES), name);
    const isEncrypted = (header.flags & ENCRYPTED) !== 0;
    requireKey(name, isEncrypted ? header.keyId : null, key);
    if (options.mustEncrypt === true && !isEncrypted) {
      throw new SwitchbackError('refused', `${name} is not encrypted, although the plan names a key`, {
        remedy: 'see who put it there; if it was made without a key, take `snapshots.key` out of the plan',
      });
    }
    const sealer = sealerOf(header, { name, key: isEncrypted ? key : null });
    const content = unchunk(pieces, sealer, name);
    if ((header.flags & ZSTD) === 0) yield* content;
    else yield* through(content, createZstdDecompress());
  } finally {
    await pieces.close();
  }
};
