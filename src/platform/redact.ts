/** A password that is only referred to, `${NAME}` without a default, is what a person should see. */
const REFERENCES = /^(\$\{[A-Za-z_][A-Za-z0-9_]*\})+$/;

const hide = (_whole: string, head: string, secret: string): string =>
  head + (REFERENCES.test(secret) ? secret : '***');

/** A shorter one stands in ordinary words, which would be hidden with it and tell what it is. */
const SHORTEST_SECRET = 6;

/**
 * Passwords that this process was given, as they are and as URLs spell them, the longest first. One list for the process,
 * since what other programs print (a router's command, pg_dump) may hold any of them, and nobody who writes a message can
 * know which.
 */
let secrets: readonly string[] = [];

/** Hides a password wherever text is redacted from now on. `spellings` are other ways in which it was written. */
export const rememberSecret = (secret: string, spellings: readonly string[] = []): void => {
  const quoted = JSON.stringify(secret).slice(1, -1);
  // The last is how a statement spells it.
  const all = [...secrets, secret, encodeURIComponent(secret), quoted, ...spellings, secret.replaceAll("'", "''")];
  secrets = [...new Set(all.filter((text) => text.length >= SHORTEST_SECRET))].sort((a, b) => b.length - a.length);
};

/** Text with passwords replaced: those we know, those of all URLs in it, and those that statements set for a role. */
export const redactText = (text: string): string =>
  secrets
    .reduce((said, secret) => said.replaceAll(secret, '***'), text)
    .replace(/(:\/\/[^:@/?#\s]*:)([^@\s]+)(?=@)/g, hide)
    .replace(/([?&](?:ssl)?password=)([^&\s"']+)/gi, hide)
    .replace(/(\bpassword\s+)E?'(?:[^'\\]|''|\\.)*'?/gi, "$1'***'");

/** A value of plain objects and lists with every text in it redacted; everything else stays as it is. */
export const redactAll = <T>(value: T): T => {
  if (typeof value === 'string') return redactText(value) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => redactAll(item)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redactAll(item as unknown)])) as T;
};
