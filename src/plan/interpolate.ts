/** Variables by name; `process.env` is one. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A text with its references filled in, or everything that is wrong with them, each as what and remedy. */
export type Interpolated =
  | { readonly text: string }
  | { readonly problems: readonly { readonly what: string; readonly remedy: string }[] };

/** An escape, a whole reference, or an opening that is never closed. */
const REFERENCE = /\$\$\{|\$\{([^}]*)\}|\$\{/g;
const INNER = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/;

/** How a reference is written, for remedies. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: this is the text itself
export const REFERENCE_FORM = '${NAME}';

/** Whether a text refers to the environment. */
export const hasReference = (text: string): boolean => [...text.matchAll(REFERENCE)].some(([whole]) => whole !== '$${');

/** Whether a text is nothing but references without a default: whoever reads it learns nothing. */
export const isReference = (text: string): boolean => /^(\$\{[A-Za-z_][A-Za-z0-9_]*\})+$/.test(text);

/**
 * Fills in `${NAME}` and `${NAME:-default}`; `$${` stands for `${` itself. As in a shell, a default is used for a variable
 * that is unset or empty; without one, both are problems. A default cannot hold `}`.
 */
export const interpolate = (text: string, env: Environment): Interpolated => {
  const problems: { what: string; remedy: string }[] = [];
  const filled = text.replaceAll(REFERENCE, (whole, inner: string | undefined) => {
    if (whole === '$${') return '${';
    const [, name, fallback] = INNER.exec(inner ?? '') ?? [];
    if (name === undefined) {
      problems.push({
        what: `has a reference that cannot be read (${whole})`,
        remedy: `write ${REFERENCE_FORM} or \${NAME:-default}, or $\${ for a literal \${`,
      });
      return '';
    }
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (value !== undefined && value !== '') return value;
    if (fallback !== undefined) return fallback;
    problems.push({
      what: `refers to ${name}, which is ${value === undefined ? 'not set' : 'set to nothing'} in the environment`,
      remedy: `set ${name}, or write \${${name}:-default}`,
    });
    return '';
  });
  return problems.length === 0 ? { text: filled } : { problems };
};

/** In any URL; in a PostgreSQL URL also with the unescaped slash that breaks it; as a parameter. */
const PASSWORDS = [
  /:\/\/[^:@/?#\s]*:[^@/?#\s]+@/,
  /postgres(?:ql)?:\/\/[^:@/?#\s]*:[^@?\s]+@/i,
  /[?&](?:ssl)?password=[^&\s]/i,
];

/** What the file itself says in a text: of a reference nothing, or its default. */
export const literalPart = (text: string): string =>
  text.replaceAll(/\$\{[A-Za-z_][A-Za-z0-9_]*(?::-([^}]*))?\}/g, (_, fallback?: string) => fallback ?? '');

/** Whether a text as written holds a password of a URL, in its userinfo or as a parameter. */
export const holdsPassword = (text: string): boolean => {
  const written = literalPart(text);
  return PASSWORDS.some((password) => password.test(written));
};
