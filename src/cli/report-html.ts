/** Its class is not exported and its field is private, so nothing but the template below can make one. */
class Markup {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

/** Markup that may stand in a page as it is: everything foreign in it has been escaped. */
export type Html = Markup;

/** What may be put into a template: text and numbers are escaped, markup is not, null is nothing. */
export type Piece = Html | string | number | null | readonly Piece[];

/**
 * Tagged template for markup. Whatever is put in is escaped for element content and for quoted attributes alike, so that no
 * caller has to remember to; attributes must be quoted.
 */
export const html = (parts: TemplateStringsArray, ...pieces: readonly Piece[]): Html =>
  new Markup(parts.map((part, index) => (index === 0 ? part : markup(pieces[index - 1] ?? null) + part)).join(''));

const markup = (piece: Piece): string => {
  if (piece === null) return '';
  if (piece instanceof Markup) return piece.toString();
  if (typeof piece === 'number') return String(piece);
  if (typeof piece === 'string') return escapeText(visible(piece));
  return piece.map(markup).join('');
};

const escapeText = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');

/**
 * Makes characters visible that would be invalid in a page or would let a name look like another one: controls, direction
 * marks, zero-width characters, halves of surrogate pairs. Line ends and tabs stay.
 */
const visible = (text: string): string =>
  text.replace(/(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  });
