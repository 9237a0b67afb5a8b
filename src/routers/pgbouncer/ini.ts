/** What leads a database of a pooler to a server: the part of its entry in which the two sides differ. */
export interface Address {
  /** Null in an entry without one, which means PgBouncer's Unix socket. */
  readonly host: string | null;
  /** As written; 5432 where an entry has none. */
  readonly port: string;
  /** The database's own name where an entry has none. */
  readonly dbname: string;
}

/** What a file says of a database. */
export interface Entry {
  readonly address: Address;
  /** Of the last repoint; 0 when the file does not say. */
  readonly epoch: bigint;
}

/** The file holds no entry that we understand, and therefore none that we will write over. Its message says why. */
export class IniError extends Error {}

/** Whether both lead to the same database of the same server, as far as their words tell. */
export const sameAddress = (a: Address, b: Address): boolean =>
  a.host === b.host && a.port === b.port && a.dbname === b.dbname;

/** An address for messages. */
export const addressText = ({ host, port, dbname }: Address): string =>
  `${host === null ? '' : `host=${host} `}port=${port} dbname=${dbname}`;

const KEYS = ['host', 'port', 'dbname'] as const;

/** As PgBouncer reads it: a name, an equals sign, and the rest of the line without the blanks at its end. */
const ASSIGNMENT = /^([ \t]*)([A-Za-z0-9_.*-]+)([ \t]*=[ \t]*)([^\r\n]*?)(\s*)$/;
const SECTION = /^\s*\[([^\]\r\n]*)\]/;
const INCLUDE = /^\s*%include[ \t]+(\S[^\r\n]*?)\s*$/;
const EPOCH = /^\s*[;#][ \t]*switchback: epoch (\d{1,19}) of (\S+)\s*$/;

/** One `key=value` of a connection string, with the place of its value, quotes included. */
interface Token {
  readonly key: string;
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

const TOKEN = /\s*([^\s=]+)\s*=\s*('(?:[^']|'')*'|[^\s']\S*)(?=\s|$)/y;

/** A message names no more than a column, counted from `column`: what stands there may be a password, or the rest of one. */
const tokensOf = (text: string, column = 1): readonly Token[] => {
  const tokens: Token[] = [];
  const next = new RegExp(TOKEN);
  while (text.slice(next.lastIndex).trim() !== '') {
    const from = next.lastIndex;
    const [whole, key = '', written = ''] = next.exec(text) ?? [];
    if (whole === undefined) throw new IniError(`its entry is no key=value from column ${column + from} on`);
    const value = written.startsWith("'") ? written.slice(1, -1).replaceAll("''", "'") : written;
    tokens.push({ key, value, start: next.lastIndex - written.length, end: next.lastIndex });
  }
  return tokens;
};

/** Lines with their endings. As Latin-1, so that every byte stays what it is. */
const linesOf = (bytes: Buffer): readonly string[] => bytes.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];
const toLatin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
const fromLatin1 = (text: string): string => Buffer.from(text, 'latin1').toString('utf8');

/** Where an entry stands, and its connection string. */
interface Place {
  readonly line: number;
  readonly head: string;
  readonly connection: string;
  readonly tail: string;
}

/** The entries of a name. A file that is included within `[databases]` need not name the section itself. */
const placesOf = (lines: readonly string[], name: string): readonly Place[] => {
  let section = 'databases';
  return lines.flatMap((text, line) => {
    section = SECTION.exec(text)?.[1] ?? section;
    const [, indent = '', key, equals = '', connection = '', tail = ''] = ASSIGNMENT.exec(text) ?? [];
    if (key !== name || section !== 'databases') return [];
    return [{ line, head: `${indent}${key}${equals}`, connection, tail }];
  });
};

const includesIn = (lines: readonly string[]): readonly string[] =>
  lines.flatMap((line) => INCLUDE.exec(line)?.[1] ?? []).map(fromLatin1);

/** The files that a file includes, as it names them. */
export const includesOf = (bytes: Buffer): readonly string[] => includesIn(linesOf(bytes));

const placeOf = (lines: readonly string[], database: string): Place => {
  const [place, second] = placesOf(lines, database);
  if (second !== undefined) throw new IniError(`it has two entries for ${database}, of which the last one counts`);
  if (place !== undefined) return place;
  if (placesOf(lines, '*').length > 0) {
    throw new IniError(`it leads ${database} by its entry * only, which leads other databases too`);
  }
  const included = includesIn(lines);
  const where = included.length === 0 ? '' : `; it includes ${included.join(', ')}`;
  throw new IniError(`it has no entry for ${database}${where}`);
};

/** The last of a key counts, as for PgBouncer. */
const tokenOf = (tokens: readonly Token[], key: string): Token | undefined => tokens.findLast((one) => one.key === key);

const addressOf = (tokens: readonly Token[], database: string): Address => {
  const said = (key: string): string | null => {
    const token = tokenOf(tokens, key);
    return token === undefined ? null : fromLatin1(token.value);
  };
  return { host: said('host'), port: said('port') ?? '5432', dbname: said('dbname') ?? database };
};

const isEpochOf = (line: string, database: string): boolean => EPOCH.exec(line)?.[2] === database;

const epochIn = (lines: readonly string[], database: string): bigint => {
  const line = lines.find((text) => isEpochOf(text, database));
  return BigInt(EPOCH.exec(line ?? '')?.[1] ?? '0');
};

/** What the file says of a database. Throws IniError when it has no entry of its own for it, or more than one. */
export const readEntry = (bytes: Buffer, database: string): Entry => {
  const lines = linesOf(bytes);
  const { head, connection } = placeOf(lines, database);
  return { address: addressOf(tokensOf(connection, head.length + 1), database), epoch: epochIn(lines, database) };
};

const quoted = (value: string): string => (/\s/.test(value) ? `'${value}'` : value);

/** The connection string with another address; what leads there already stays as it is written. */
const withAddress = (connection: string, database: string, to: Address): string => {
  let text = connection;
  for (const key of KEYS) {
    const tokens = tokensOf(text);
    const value = to[key];
    if (value === null || addressOf(tokens, database)[key] === value) continue;
    const written = toLatin1(quoted(value));
    const token = tokenOf(tokens, key);
    text = token
      ? `${text.slice(0, token.start)}${written}${text.slice(token.end)}`
      : `${text}${text === '' ? '' : ' '}${key}=${written}`;
  }
  return text;
};

/**
 * The same file with a database led elsewhere and the epoch in a comment above its entry. Whatever else is in it stays,
 * byte for byte. Values hold no apostrophes or line ends. Throws as `readEntry` does.
 */
export const writeEntry = (bytes: Buffer, database: string, { address, epoch }: Entry): Buffer => {
  const lines = linesOf(bytes);
  const place = placeOf(lines, database);
  // Nothing but the sign stood there.
  const gap = place.connection === '' && place.head.endsWith('=') ? ' ' : '';
  const entry = `${place.head}${gap}${withAddress(place.connection, database, address)}${place.tail}`;
  const ending = entry.endsWith('\r\n') ? '\r\n' : '\n';
  const comment = `; switchback: epoch ${epoch} of ${database}${ending}`;
  const isNew = !lines.some((line) => isEpochOf(line, database));
  const changed = lines.flatMap((line, index) => {
    if (index === place.line) return isNew ? [comment, entry] : [entry];
    return isEpochOf(line, database) ? [comment] : [line];
  });
  return Buffer.from(changed.join(''), 'latin1');
};
