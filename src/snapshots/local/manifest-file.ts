import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { SwitchbackError } from '../../domain/errors.ts';
import { damaged } from '../../platform/objects/seal.ts';
import type { SealKey } from '../../platform/objects/seal-key.ts';

/** More than any manifest; a larger file is none. */
const MAX_BYTES = 256 * 1024 * 1024;

/** The first line of a manifest's file. What proves the second line: a checksum, or with a key something that only its holder can make. */
export interface Proof {
  readonly format: number;
  readonly keyId: string | null;
  readonly proof: string;
}

/** Bound to the name, so that nobody passes one off as another. */
export const proofOf = (text: string, id: string, key: SealKey | null): string => {
  const said = `${id}\n${text}`;
  if (key === null) return createHash('sha256').update(said).digest('hex');
  return createHmac('sha256', key.derive(Buffer.from(id), 'manifest'))
    .update(said)
    .digest('hex');
};

/** Throws kind `refused` for a manifest that is not what was written, by whoever has the plan's key where it has one. */
export const requireProof = (about: {
  readonly id: string;
  readonly text: string;
  readonly proof: Proof;
  readonly key: SealKey | null;
}): void => {
  const { id, text, proof, key } = about;
  if (proof.keyId === null && key !== null) {
    throw new SwitchbackError(
      'refused',
      `snapshot ${id} is not encrypted, and the plan has a key: anybody could have put it there`,
      {
        remedy:
          'if it is from before the plan had a key, and nobody else could write there, take it with a plan without `snapshots.key`',
      },
    );
  }
  if (proof.keyId !== null && proof.keyId !== key?.id) {
    const ours = key === null ? 'the plan names none' : `the plan's is ${key.id}`;
    throw new SwitchbackError('refused', `snapshot ${id} was made with key ${proof.keyId}, and ${ours}`, {
      remedy: 'let `snapshots.key` of the plan be the key that it was made with; without that nobody can restore it',
    });
  }
  const expected = Buffer.from(proofOf(text, id, proof.keyId === null ? null : key));
  const found = Buffer.from(String(proof.proof));
  if (found.length !== expected.length || !timingSafeEqual(found, expected)) {
    throw damaged(`the manifest of snapshot ${id}`, 'its checksum is another');
  }
};

/** A JSON object of a file. Throws kind `refused` for what is none. */
export const parsed = <T extends object>(text: string, name: string): Partial<T> & T => {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as T;
  } catch {
    // Told below.
  }
  throw damaged(name, 'it cannot be read');
};

/** The text of a file. Throws kind `refused` for what is larger than any manifest. */
export const textOf = async (bytes: AsyncIterable<Uint8Array>, name: string): Promise<string> => {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of bytes) {
    size += piece.length;
    if (size > MAX_BYTES) throw damaged(name, 'it is larger than a manifest');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
};
