import { createHash } from 'node:crypto';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { quoteName, quoteText } from '../../platform/postgres/quote.ts';
import { PostgresServer, redactUrl } from '../../platform/postgres/server.ts';
import type { DatabaseFacts } from '../local/database.ts';

/** What is written on a database that is made for a restore, as its comment, so that it can be told from everything else. */
export interface PlaceMark {
  readonly switchback: 'restored';
  readonly plan: string;
  readonly snapshot: string;
  readonly place: string;
  readonly state: 'restoring' | 'done';
  readonly differences: readonly Finding[];
}

/** A database that is to be made, or was. */
interface FoundDatabase {
  /** Null for one that has no comment, or another. */
  readonly mark: PlaceMark | null;
}

/**
 * The server of a restored place, and the two names that it has there: a name that nobody else gives a database while it is filled,
 * and its own as soon as it is whole.
 */
export class Place {
  readonly server: PostgresServer;
  readonly url: string;
  readonly name: string;
  readonly draft: string;

  constructor(url: string, about: { readonly plan: string; readonly place: string }) {
    this.url = url;
    const parsed = new URL(url);
    this.name = decodeURIComponent(parsed.pathname.slice(1));
    if (this.name === '') {
      throw new SwitchbackError('usage', `${redactUrl(url)} names no database`, {
        remedy: 'write postgresql://user@host:port/database, with the name of one that is not there yet',
      });
    }
    const mark = createHash('sha256')
      .update(JSON.stringify([about.plan, about.place, this.name]))
      .digest('hex');
    this.draft = `switchback_restoring_${mark.slice(0, 24)}`;
    this.server = new PostgresServer({
      url: withDatabase(url, 'postgres'),
      label: 'server of the restored place',
      application: 'switchback:restore',
    });
  }

  /** The URL of the database while it is filled. */
  get draftUrl(): string {
    return withDatabase(this.url, this.draft);
  }

  /** Null when there is no database of that name. */
  async find(name: string): Promise<FoundDatabase | null> {
    const { rows } = await this.server.query(
      `SELECT shobj_description(oid, 'pg_database') AS mark FROM pg_database WHERE datname = $1`,
      [name],
    );
    const [row] = rows;
    return row === undefined ? null : { mark: readMark(row.mark ?? null) };
  }

  /** Makes the draft, in the place of one that was begun before. */
  async begin(mark: PlaceMark, database: DatabaseFacts): Promise<void> {
    await this.drop(this.draft);
    const { provider, locale } = database;
    const icu = provider === 'i' && locale !== null ? ` LOCALE_PROVIDER icu ICU_LOCALE ${quoteText(locale)}` : '';
    const builtin =
      provider === 'b' && locale !== null ? ` LOCALE_PROVIDER builtin BUILTIN_LOCALE ${quoteText(locale)}` : '';
    await this.server.query(
      `CREATE DATABASE ${quoteName(this.draft)} TEMPLATE template0 ENCODING ${quoteText(database.encoding)}` +
        ` LC_COLLATE ${quoteText(database.collate)} LC_CTYPE ${quoteText(database.ctype)}${icu}${builtin}`,
    );
    await this.#mark(this.server, this.draft, mark);
  }

  /** Gives it its name, with what is said of it, at once. */
  async finish(mark: PlaceMark): Promise<void> {
    await this.server.transaction(async (sql) => {
      await this.#mark(sql, this.draft, mark);
      await sql.query(`ALTER DATABASE ${quoteName(this.draft)} RENAME TO ${quoteName(this.name)}`);
    });
  }

  async drop(name: string): Promise<void> {
    await this.server.query(`DROP DATABASE IF EXISTS ${quoteName(name)} WITH (FORCE)`);
  }

  /** Ends our sessions there. */
  async close(): Promise<void> {
    await this.server.close();
  }

  async #mark(sql: Pick<PostgresServer, 'query'>, name: string, mark: PlaceMark): Promise<void> {
    await sql.query(`COMMENT ON DATABASE ${quoteName(name)} IS ${quoteText(JSON.stringify(mark))}`);
  }
}

/** A URL with another database in it. */
export const withDatabase = (url: string, database: string): string => {
  const changed = new URL(url);
  changed.pathname = `/${encodeURIComponent(database)}`;
  return changed.toString();
};

const readMark = (text: string | null): PlaceMark | null => {
  try {
    const value = JSON.parse(text ?? '') as Partial<PlaceMark> | null;
    return value?.switchback === 'restored' ? (value as PlaceMark) : null;
  } catch {
    return null;
  }
};
