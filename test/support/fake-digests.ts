import type { Digest, Digests, KeyRange, KeyText } from '../../src/databases/digests.ts';
import type { Table } from '../../src/domain/table.ts';

/** A table with an integer key, or without one. */
export const fakeTable = (
  name: string,
  options: { readonly keyed?: boolean; readonly rows?: number; readonly rowBytes?: number } = {},
): Table => ({
  schema: 'public',
  name,
  columns: [],
  key: options.keyed === false ? null : { index: `${name}_pkey`, columns: ['id'] },
  replicaIdentity: 'default',
  root: null,
  estimatedRows: options.rows ?? 0,
  bytes: (options.rows ?? 0) * (options.rowBytes ?? 100),
});

/** Digests over rows in memory: key → value, keys in numeric order. `reads` counts calls, by method. */
export class FakeDigests implements Digests {
  readonly tables = new Map<string, Map<string, string>>();
  readonly reads = new Map<string, number>();
  /** Runs before each read; a test changes rows in it. */
  onRead: (method: string) => void | Promise<void> = () => undefined;

  rows(table: string): Map<string, string> {
    const rows = this.tables.get(table) ?? new Map<string, string>();
    this.tables.set(table, rows);
    return rows;
  }

  /** Makes this side's rows those of another one. */
  become(other: FakeDigests): void {
    for (const [name, rows] of other.tables) this.tables.set(name, new Map(rows));
  }

  async nextRange(table: Table, after: KeyText | null, rows: number): Promise<KeyRange> {
    await this.#read('nextRange');
    const last = this.#inRange(table, { after, upTo: null })[rows - 1];
    return { after, upTo: last === undefined ? null : [last[0]] };
  }

  async ofRange(table: Table, range: KeyRange): Promise<Digest> {
    await this.#read('ofRange');
    return digestOf(this.#inRange(table, range).map(([key, value]) => hashOf(key, value)));
  }

  async ofKeys(table: Table, keys: readonly KeyText[]): Promise<Digest> {
    await this.#read('ofKeys');
    return digestOf(this.#hashes(table, keys).filter((hash) => hash !== null));
  }

  async hashesOf(table: Table, keys: readonly KeyText[]): Promise<readonly (string | null)[]> {
    await this.#read('hashesOf');
    return this.#hashes(table, keys);
  }

  async rowsOf(table: Table, range: KeyRange): Promise<readonly { readonly key: KeyText; readonly hash: string }[]> {
    await this.#read('rowsOf');
    return this.#inRange(table, range).map(([key, value]) => ({ key: [key], hash: hashOf(key, value) }));
  }

  async #read(method: string): Promise<void> {
    this.reads.set(method, (this.reads.get(method) ?? 0) + 1);
    await this.onRead(method);
  }

  #hashes(table: Table, keys: readonly KeyText[]): (string | null)[] {
    const rows = this.rows(table.name);
    return keys.map(([key]) => {
      const value = rows.get(key ?? '');
      return value === undefined ? null : hashOf(key ?? '', value);
    });
  }

  #inRange(table: Table, range: KeyRange): [string, string][] {
    const after = range.after === null ? Number.NEGATIVE_INFINITY : Number(range.after[0]);
    const upTo = range.upTo === null ? Number.POSITIVE_INFINITY : Number(range.upTo[0]);
    return [...this.rows(table.name)]
      .filter(([key]) => Number(key) > after && Number(key) <= upTo)
      .sort(([a], [b]) => Number(a) - Number(b));
  }
}

/** FNV-1a: enough to tell a test's values apart. */
const hashOf = (key: string, value: string): string => {
  let hash = 0x811c9dc5;
  for (const character of `${key}=${value}`) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  return String(hash >>> 0);
};

const digestOf = (hashes: readonly string[]): Digest => ({
  rows: String(hashes.length),
  sum: String(hashes.reduce((sum, hash) => sum + BigInt(hash), 0n)),
});
