import { type Machine, machineText } from './machine.ts';
import type { Check, Figure, PartResult, Row, Series } from './part.ts';
import { isReached } from './rounds.ts';
import { settingsText } from './servers.ts';

/** A part's result with what a page says around it. */
export interface Report {
  /** Its place on the page. */
  readonly part: string;
  /** The part as it is named on the command line, with what it was given besides the rest. */
  readonly command: string;
  readonly small: boolean;
  readonly rounds: number;
  readonly seed: number;
  readonly seconds: number;
  readonly result: PartResult;
}

const HEADINGS = ['case', 'Switchback', 'reference', 'its time', 'ratio', 'reach', 'reached'] as const;

const secondsText = (seconds: number): string => (seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1));

const seriesText = (series: Series): string =>
  `${secondsText(series.median)} s (${secondsText(series.min)}–${secondsText(series.max)})`;

const reachedText = (reached: boolean | null, missedBy: number): string => {
  if (reached === null) return '–';
  return reached ? 'yes' : `no, by ${Math.round(missedBy * 100)}%`;
};

/** A row's cells: ours, the reference, the ratio, and by how much a bound was missed. */
const rowCells = (row: Row): readonly string[] => {
  const { contender, reference, ratio, reach, reached } = row;
  return [
    row.case,
    seriesText(contender),
    reference?.name ?? '–',
    reference === null ? '–' : seriesText(reference),
    ratio === null ? '–' : ratio.toFixed(2),
    reach === null ? '–' : `≤ ${reach}`,
    reachedText(reached, ratio === null || reach === null ? 0 : ratio / reach - 1),
  ];
};

const FIGURE_HEADINGS = ['case', 'figure', 'value', 'reach', 'reached'] as const;

/** A number with its unit, for people. */
export const valueText = (value: number, unit: Figure['unit']): string => {
  switch (unit) {
    case 'bytes':
      return `${(value / 2 ** 20).toFixed(1)} MiB`;
    case 'bytes/s':
      return `${(value / 2 ** 20).toFixed(1)} MiB/s`;
    case 'ms':
      return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
    case 's':
      return `${secondsText(value)} s`;
    case 'ratio':
      return value.toFixed(2);
    case 'count':
      return Math.round(value).toLocaleString('en');
    case 'rows/s':
    case 'transactions/s':
      return `${Math.round(value).toLocaleString('en')} ${unit}`;
  }
};

const figureCells = (figure: Figure): readonly string[] => {
  const { reach, unit, value } = figure;
  const isUpper = reach !== null && 'atMost' in reach;
  const bound = reach === null ? 0 : 'atMost' in reach ? reach.atMost : reach.atLeast;
  return [
    figure.case,
    figure.name,
    valueText(value, unit),
    reach === null ? '–' : `${isUpper ? '≤' : '≥'} ${valueText(bound, unit)}`,
    reachedText(isReached(figure), isUpper ? value / bound - 1 : 1 - value / bound),
  ];
};

const plainTable = (headings: readonly string[], lines: readonly (readonly string[])[]): string => {
  const all = [headings, ...lines];
  const widths = headings.map((_, at) => Math.max(...all.map((cells) => (cells[at] ?? '').length)));
  return all
    .map((cells) =>
      cells
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
};

const markdownTable = (headings: readonly string[], lines: readonly (readonly string[])[]): string =>
  [headings, headings.map(() => '---'), ...lines]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');

const checkText = ({ case: of, what, ok, found }: Check): string =>
  `${ok ? 'right' : 'WRONG'}: ${of}: ${what}${found === undefined ? '' : `: ${found}`}`;

const verdictOf = ({ checks }: PartResult): string => {
  const wrong = checks.filter(({ ok }) => !ok).length;
  return wrong === 0 ? `${checks.length} checks, all right` : `${checks.length} checks, ${wrong} WRONG`;
};

/** A report for the terminal: tables, every check that failed, notes. */
export const terminalText = ({ part, seconds, result }: Report): string =>
  [
    `${part} (${Math.round(seconds)} s)`,
    ...(result.rows.length > 0 ? [plainTable(HEADINGS, result.rows.map(rowCells))] : []),
    ...(result.figures.length > 0 ? [plainTable(FIGURE_HEADINGS, result.figures.map(figureCells))] : []),
    ...result.notes.map((note) => `note: ${note}`),
    ...result.checks.filter(({ ok }) => !ok).map(checkText),
    verdictOf(result),
  ].join('\n');

/** A report as it stands in docs/benchmarks.md, without a heading. */
export const markdownText = (report: Report, machine: Machine): string => {
  const { command, rounds, seed, small, result } = report;
  return [
    `\`npm run bench -- ${command}${small ? ' --small' : ''} --rounds ${rounds} --seed ${seed}\`: medians of ${rounds} rounds ` +
      `(smallest–largest); ${verdictOf(result)}.`,
    '',
    ...(result.rows.length > 0 ? [markdownTable(HEADINGS, result.rows.map(rowCells)), ''] : []),
    ...(result.figures.length > 0 ? [markdownTable(FIGURE_HEADINGS, result.figures.map(figureCells)), ''] : []),
    ...result.notes.map((note) => `- ${note}`),
    `- servers: ${settingsText()}`,
    `- machine: ${machineText(machine)}`,
  ].join('\n');
};

/**
 * Puts a part's report between its two comments of a page (`<!-- bench: copy -->` and `<!-- end: copy -->`). Throws
 * RangeError for a page that has no place for it.
 */
export const withReport = (page: string, part: string, text: string): string => {
  const [begin, end] = [`<!-- bench: ${part} -->`, `<!-- end: ${part} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new RangeError(`the page has no lines ${begin} and ${end}`);
  return `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`;
};
