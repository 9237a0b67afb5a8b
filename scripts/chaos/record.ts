import { appendFileSync } from 'node:fs';
import { monotonicMs } from '../../src/platform/clock.ts';

/** One fault as it was really injected: what, and what the switch was doing at that moment. */
export interface InjectedFault {
  readonly kind: string;
  /** A step's name, `before`, `after` or `between`. */
  readonly moment: string;
}

/** How long one command took to bring back one writable side, and what had happened. */
export interface Recovery {
  readonly after: string;
  readonly command: string;
  readonly ms: number;
}

/** Everything that a run counts besides its histories, and a log of it in a file and for whoever watches. */
export class RunRecord {
  readonly faults: InjectedFault[] = [];
  readonly recoveries: Recovery[] = [];
  readonly violations: string[] = [];
  /** Commands that asked for a switch, by exit code. */
  readonly exits: Record<string, number> = {};
  /** Commands that asked for a move of readers, by exit code. */
  readonly readersExits: Record<string, number> = {};
  /** How the worker's processes ended, by exit code; 128 is a signal. */
  readonly workerExits: Record<string, number> = {};
  /** Findings that stopped a lane or a phase until `resume`, by id. */
  readonly obstacles: Record<string, number> = {};
  readonly #path: string;
  readonly #tell: (line: string) => void;
  readonly #begun = monotonicMs();

  constructor(options: { readonly path: string; readonly tell: (line: string) => void }) {
    this.#path = options.path;
    this.#tell = options.tell;
  }

  /** A line for people and the log. Seconds are those of the run; histories and worker logs have monotonic milliseconds. */
  note(text: string): void {
    const now = monotonicMs();
    const line = `${((now - this.#begun) / 1000).toFixed(1).padStart(7)} s  ${text}`;
    appendFileSync(this.#path, `${Math.round(now)} ms ${line}\n`);
    this.#tell(line);
  }

  /** Something that must never happen. */
  violate(what: string): void {
    // Said once: a thousand lines of one fault would hide another.
    if (this.violations.includes(what)) return;
    this.violations.push(what);
    this.note(`VIOLATION: ${what}`);
  }

  fault(fault: InjectedFault, detail: string): void {
    this.faults.push(fault);
    this.note(`fault: ${fault.kind}${detail === '' ? '' : ` (${detail})`} at ${fault.moment}`);
  }

  recovered(recovery: Recovery): void {
    this.recoveries.push(recovery);
    this.note(`one writable side ${Math.round(recovery.ms)} ms after "${recovery.command}" (${recovery.after})`);
  }
}

/** Adds one to a count. */
export const count = (counts: Record<string, number>, key: string): void => {
  counts[key] = (counts[key] ?? 0) + 1;
};
