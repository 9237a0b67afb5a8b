import { stripVTControlCharacters } from 'node:util';
import type { SwitchbackError } from '../domain/errors.ts';
import type { Event } from '../domain/event.ts';
import type { Finding } from '../domain/finding.ts';
import { redactAll, redactText } from '../platform/redact.ts';

const useColor = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY === true &&
  process.env.NO_COLOR === undefined &&
  process.env.TERM !== 'dumb' &&
  !process.argv.includes('--no-color');

const paint = (code: number) => (text: string) => (useColor(process.stdout) ? `\u001b[${code}m${text}\u001b[0m` : text);

/** Colours of the terminal output; plain text elsewhere. */
export const color = { bold: paint(1), dim: paint(2), red: paint(31), green: paint(32), yellow: paint(33) } as const;

/** Prints a line to standard output. */
export const say = (line = ''): void => {
  process.stdout.write(`${line}\n`);
};

/** Prints a value as one line of JSON. Bigints become text. */
export const sayJson = (value: unknown): void => {
  say(JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)));
};

/** Prints an error with its remedy to standard error, or as one JSON line to standard output. */
export const printError = (error: SwitchbackError, json: boolean): void => {
  if (json) {
    const { kind, message, remedy = null, findings } = error;
    sayJson({ ok: false, error: redactAll({ kind, message, remedy, findings }), exitCode: error.exitCode });
    return;
  }
  process.stderr.write(`switchback: ${redactText(error.message)}\n`);
  if (error.remedy) process.stderr.write(`  what to do: ${redactText(error.remedy)}\n`);
};

/** `1.2 GB`, in powers of 1000. */
export const bytesText = (bytes: number): string => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
};

/** `850 ms`, `12.3 s`, `4 min`, `2.5 h`, `3 d`. */
export const durationText = (ms: number): string => {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${(ms / 3_600_000).toFixed(1)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
};

/** Digits in groups of three. */
export const countText = (n: number): string => n.toLocaleString('en-US');

/** A finding as lines. */
export const findingText = (finding: Finding): string => {
  const mark = finding.severity === 'blocks' ? color.red('blocks') : color.yellow('warns ');
  return `${mark}  ${color.bold(finding.subject)}: ${finding.fact}\n        ${color.dim(finding.id)}  remedy: ${finding.remedy}`;
};

/** Columns padded to their widest cell. */
export const table = (rows: readonly (readonly string[])[]): string => {
  // Colour codes take no room on the screen.
  const width = (cell: string) => stripVTControlCharacters(cell).length;
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => width(row[column] ?? ''))));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - width(cell)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
};

/** One event as a line for people, or null for those that only progress shows. */
export const eventText = (event: Event): string | null => {
  switch (event.type) {
    case 'phase':
      return `${event.phase}: ${event.from} → ${color.bold(event.to)}`;
    case 'step':
      return stepText(event);
    case 'finding':
      return findingText(event.finding);
    case 'halted':
      return `${color.red('halted')}  lane ${event.lane}: ${event.finding.fact}\n        ${color.dim(event.finding.id)}  remedy: ${event.finding.remedy}`;
    case 'verified':
      return event.mismatches === 0
        ? `${event.phase}: verified ${event.tables} tables, ${countText(event.rows)} rows, all equal`
        : color.red(`${event.phase}: ${event.mismatches} rows differ`);
    case 'blocked':
      return event.blockers
        .map(
          (b) =>
            `${event.phases.join(', ')}: waiting for pid ${b.pid} (${b.user}, ${b.application}, ${b.seconds.toFixed(1)} s): ${b.query}`,
        )
        .join('\n');
    case 'switched':
      return `${event.phases.join(', ')}: ${color.green('switched')} ${event.direction} in ${durationText(event.windowMs)} (${event.switchId})`;
    case 'note':
      return `${event.phase === null ? '' : `${event.phase}: `}${event.text}`;
    case 'copied':
    case 'lag':
      return null;
  }
};

const stepText = (event: Extract<Event, { type: 'step' }>): string | null => {
  if (event.status === 'begun') return null;
  const head = `${event.phases.join(', ')}: ${event.scope} · ${event.step}`;
  const time = event.ms === undefined ? '' : color.dim(` ${durationText(event.ms)}`);
  const detail = event.detail === undefined ? '' : color.dim(`  ${event.detail}`);
  return `${event.status === 'done' ? '' : `${color.red(event.status)} `}${head}${time}${detail}`;
};
