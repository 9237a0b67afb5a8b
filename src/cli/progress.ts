import type { Event } from '../domain/event.ts';
import { monotonicMs } from '../platform/clock.ts';
import { bytesText, color, countText, durationText } from './render.ts';

/** How often lines are redrawn on a terminal, and printed elsewhere, in milliseconds. */
const REDRAW_MS = 200;
const PRINT_MS = 5_000;

/** Tables shown at once; the rest is summed up. */
const TABLES_SHOWN = 12;

interface TableProgress {
  readonly phase: string;
  readonly table: string;
  readonly begun: number;
  /** Rows that were there when this process began to look. */
  readonly from: number;
  rows: number;
  bytes: number;
  estimatedRows: number;
  finished: boolean;
}

interface LaneProgress {
  seconds: number;
  changes: number;
  changesBefore: number;
  before: number;
  rate: number;
}

/**
 * Progress of copies and lanes: redrawn in place on a terminal, a line now and then elsewhere. A null stream shows nothing.
 */
export class Progress {
  readonly #out: NodeJS.WriteStream | null;
  readonly #tables = new Map<string, TableProgress>();
  readonly #lanes = new Map<string, LaneProgress>();
  #drawn = 0;
  #last = 0;

  constructor(out: NodeJS.WriteStream | null) {
    this.#out = out;
  }

  /** Takes note of an event. */
  take(event: Event): void {
    if (event.type === 'copied') this.#copied(event);
    else if (event.type === 'lag') this.#lag(event);
    else return;
    this.#draw();
  }

  /** Prints a line above the progress. */
  say(line: string): void {
    if (!this.#out) return;
    this.#erase();
    this.#out.write(`${line}\n`);
  }

  /** Leaves the last state on the screen and forgets it. */
  end(): void {
    this.#drawn = 0;
  }

  #copied(event: Extract<Event, { type: 'copied' }>): void {
    const known = this.#tables.get(event.table) ?? {
      phase: event.phase,
      table: event.table,
      begun: monotonicMs(),
      from: event.rows,
      rows: 0,
      bytes: 0,
      estimatedRows: 0,
      finished: false,
    };
    Object.assign(known, {
      rows: event.rows,
      bytes: event.bytes,
      estimatedRows: event.estimatedRows,
      finished: event.finished,
    });
    this.#tables.set(event.table, known);
  }

  #lag(event: Extract<Event, { type: 'lag' }>): void {
    const name = `${event.phase} ${event.direction}`;
    const now = monotonicMs();
    const known = this.#lanes.get(name) ?? {
      seconds: 0,
      changes: 0,
      changesBefore: event.changes,
      before: now,
      rate: 0,
    };
    if (now - known.before > 1_000) {
      known.rate = ((event.changes - known.changesBefore) * 1000) / (now - known.before);
      known.changesBefore = event.changes;
      known.before = now;
    }
    known.seconds = event.seconds;
    known.changes = event.changes;
    this.#lanes.set(name, known);
  }

  #draw(): void {
    if (!this.#out) return;
    const redraw = this.#out.isTTY === true && process.env.TERM !== 'dumb';
    const now = monotonicMs();
    if (now - this.#last < (redraw ? REDRAW_MS : PRINT_MS)) return;
    this.#last = now;
    const lines = this.#lines();
    if (redraw) this.#erase();
    for (const line of lines) this.#out.write(`${line}\n`);
    this.#drawn = redraw ? lines.length : 0;
  }

  #erase(): void {
    if (this.#drawn > 0) this.#out?.write(`\u001b[${this.#drawn}A\u001b[0J`);
    this.#drawn = 0;
  }

  #lines(): readonly string[] {
    const open = [...this.#tables.values()].filter((t) => !t.finished);
    const lines = open.slice(0, TABLES_SHOWN).map(tableText);
    if (open.length > TABLES_SHOWN) lines.push(color.dim(`  … and ${open.length - TABLES_SHOWN} more tables`));
    for (const [name, lane] of this.#lanes) {
      lines.push(
        `  ${name}: lag ${durationText(lane.seconds * 1000)}, ${countText(Math.round(lane.rate))} changes/s, ${countText(lane.changes)} in all`,
      );
    }
    return lines;
  }
}

const tableText = (t: TableProgress): string => {
  const seconds = (monotonicMs() - t.begun) / 1000;
  const rate = seconds > 0 ? (t.rows - t.from) / seconds : 0;
  const left =
    rate > 0 && t.estimatedRows > t.rows
      ? `, about ${durationText(((t.estimatedRows - t.rows) / rate) * 1000)} left`
      : '';
  const share = t.estimatedRows > 0 ? ` (${Math.min(99, Math.floor((100 * t.rows) / t.estimatedRows))}%)` : '';
  return `  ${t.phase} ${t.table}: ${countText(t.rows)} rows${share}, ${bytesText(t.bytes)}, ${countText(Math.round(rate))} rows/s${left}`;
};
