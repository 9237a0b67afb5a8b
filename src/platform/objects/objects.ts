/** An object as a listing has it. */
export interface ObjectEntry {
  readonly key: string;
  readonly bytes: number;
}

/**
 * Named objects of bytes, in a directory or in S3. Keys are relative paths of `[A-Za-z0-9._=-]` parts with `/` between, none of
 * which begins with a dot.
 *
 * Durability: when `put` resolves, the object is there whole and survives a crash; before that nobody sees any of it under its
 * key. Idempotency: `put` with the same bytes and `remove` may be repeated. Errors: kind `unreachable` when the place did not
 * answer or has no room, `refused` for what the caller's rights do not allow, for a key that is not
 * there, and for more bytes than the place takes in one object.
 */
export interface Objects {
  /** For people: `/backups/shop` or `s3://bucket/prefix`. */
  readonly label: string;
  /** `size` is about how many bytes there will be, where that is known: what is large has to be cut accordingly in some places. */
  put(key: string, bytes: AsyncIterable<Uint8Array>, size?: number): Promise<ObjectEntry>;
  /** The object's bytes in pieces. With `from` only those at that offset and after it. */
  get(key: string, from?: number): AsyncIterable<Uint8Array>;
  /** All objects below a prefix, which is empty or ends with `/`, in the order of their keys as bytes. */
  list(prefix: string): AsyncIterable<ObjectEntry>;
  remove(key: string): Promise<void>;
}
