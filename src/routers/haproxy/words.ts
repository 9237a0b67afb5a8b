/** One word of a line of HAProxy's configuration. */
export interface Word {
  /** Without quotes and escapes. */
  readonly value: string;
  /** Where it stands in the line, quotes included. */
  readonly start: number;
  readonly end: number;
  /** Whether an environment variable is put into it, whose value only HAProxy knows. */
  readonly hasVariable: boolean;
}

const BLANK = /[ \t\r\n]/;

/** A word that is being read. */
interface Draft {
  value: string;
  start: number;
  hasVariable: boolean;
}

/**
 * The words of a line, as HAProxy's own reader splits it (configuration.txt, 2.2 "Quoting and escaping"): blanks part them,
 * `#` begins a comment, a backslash takes the next character as it is, nothing is special in single quotes, and in double
 * quotes a variable and some escapes are.
 */
export const wordsOf = (line: string): readonly Word[] => {
  const words: Word[] = [];
  let draft: Draft | undefined;
  let quote = '';
  const end = (at: number): void => {
    if (draft !== undefined) words.push({ ...draft, end: at });
    draft = undefined;
  };
  for (let at = 0; at < line.length; at++) {
    const char = line.charAt(at);
    if (quote === '' && BLANK.test(char)) {
      end(at);
      continue;
    }
    if (quote === '' && char === '#') {
      end(at);
      return words;
    }
    draft ??= { value: '', start: at, hasVariable: false };
    if (char === quote) quote = '';
    else if (quote === '' && (char === '"' || char === "'")) quote = char;
    else if (char === '\\' && quote !== "'") draft.value += line.charAt(++at);
    else {
      draft.hasVariable ||= char === '$' && quote !== "'";
      draft.value += char;
    }
  }
  end(line.length);
  return words;
};
