/** One statement of a script, or one line of psql's own commands (its text begins with a backslash). */
export interface Statement {
  readonly text: string;
  /** Line of its first word, counted from 1. */
  readonly line: number;
}

// In the order in which they are tried. Each is anchored where the one before it ended.
const BLANK = /(?:\s+|--[^\n]*)/y;
const ESCAPED_TEXT = /[eE]'[^'\\]*(?:(?:\\[\s\S]|'')[^'\\]*)*'/y;
const TEXT = /'[^']*(?:''[^']*)*'/y;
const QUOTED_NAME = /"[^"]*(?:""[^"]*)*"/y;
const DOLLAR_TAG = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y;
const WORD = /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y;
const META_COMMAND = /\\[^\n]*/y;

/**
 * Splits a script into statements, as psql does: a semicolon ends one unless it stands in a text, a name, a comment, a
 * dollar quote, parentheses, or the BEGIN ATOMIC … END of a function's body (after psqlscan.l of PostgreSQL 18).
 */
export const splitStatements = (script: string): readonly Statement[] => new Splitter(script).run();

class Splitter {
  readonly #script: string;
  readonly #statements: Statement[] = [];
  #at = 0;
  /** Where the statement in hand begins, or -1 between statements. */
  #start = -1;
  #parentheses = 0;
  #blocks = 0;
  /** The first words of the statement in hand, in lower case: enough to tell CREATE OR REPLACE FUNCTION. */
  #words: string[] = [];
  #countedTo = 0;
  #line = 1;

  constructor(script: string) {
    this.#script = script;
  }

  run(): readonly Statement[] {
    while (this.#at < this.#script.length) this.#step();
    this.#end();
    return this.#statements;
  }

  #step(): void {
    if (this.#take(BLANK) !== undefined || this.#comment()) return;
    if (this.#start === -1) {
      this.#start = this.#at;
      if (this.#take(META_COMMAND) !== undefined) {
        this.#end();
        return;
      }
    }
    if (this.#take(ESCAPED_TEXT) ?? this.#take(TEXT) ?? this.#take(QUOTED_NAME)) return;
    if (this.#dollarQuoted()) return;
    const word = this.#take(WORD);
    if (word !== undefined) this.#word(word.toLowerCase());
    else this.#symbol();
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#script)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  /** Comments nest. One that is never closed goes to the end. */
  #comment(): boolean {
    if (!this.#script.startsWith('/*', this.#at)) return false;
    const bracket = /\/\*|\*\//g;
    bracket.lastIndex = this.#at;
    let depth = 0;
    for (let found = bracket.exec(this.#script); found !== null; found = bracket.exec(this.#script)) {
      depth += found[0] === '/*' ? 1 : -1;
      if (depth > 0) continue;
      this.#at = bracket.lastIndex;
      return true;
    }
    this.#at = this.#script.length;
    return true;
  }

  #dollarQuoted(): boolean {
    const tag = this.#take(DOLLAR_TAG);
    if (tag === undefined) return false;
    const close = this.#script.indexOf(tag, this.#at);
    this.#at = close === -1 ? this.#script.length : close + tag.length;
    return true;
  }

  #word(word: string): void {
    if (this.#words.length < 4) this.#words.push(word);
    if (this.#parentheses > 0 || !/^create (or replace )?(function|procedure)\b/.test(this.#words.join(' '))) return;
    if (word === 'begin') this.#blocks += 1;
    else if (word === 'case' && this.#blocks > 0) this.#blocks += 1;
    else if (word === 'end' && this.#blocks > 0) this.#blocks -= 1;
  }

  #symbol(): void {
    const symbol = this.#script[this.#at];
    if (symbol === ';' && this.#parentheses === 0 && this.#blocks === 0) {
      this.#end();
      this.#at += 1;
      return;
    }
    if (symbol === '(') this.#parentheses += 1;
    if (symbol === ')') this.#parentheses = Math.max(0, this.#parentheses - 1);
    this.#at += 1;
  }

  #end(): void {
    const start = this.#start;
    const text = start === -1 ? '' : this.#script.slice(start, this.#at).trimEnd();
    if (text !== '') {
      this.#line += this.#script.slice(this.#countedTo, start).split('\n').length - 1;
      this.#countedTo = start;
      this.#statements.push({ text, line: this.#line });
    }
    this.#start = -1;
    this.#parentheses = 0;
    this.#blocks = 0;
    this.#words = [];
  }
}
