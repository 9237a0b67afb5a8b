import { readFileSync, writeFileSync } from 'node:fs';
import { monotonicMs } from '../../src/platform/clock.ts';

const SAMPLE_MS = 50;
/** Tells the kernel to begin a process's peak anew (proc(5), clear_refs). */
const BEGIN_PEAK_ANEW = '5';

/** The most that a process held resident during one stage, in bytes, and how long the stage took. */
export interface StageMemory {
  readonly name: string;
  readonly bytes: number;
  readonly seconds: number;
}

/**
 * Watches a process's resident memory. The peak comes from the kernel, which misses nothing; samples stand in for it where
 * the peak cannot be begun anew, and for a process that has ended.
 */
export class Memory {
  readonly stages: StageMemory[] = [];
  readonly #pid: number | undefined;
  readonly #timer: NodeJS.Timeout;
  #sampled = 0;
  #begunMs = 0;
  #peakIsOfStage = false;

  /** Begins to sample. The caller closes it. */
  constructor(pid: number | undefined) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  /** A stage begins. */
  begin(): void {
    this.#sampled = 0;
    this.#begunMs = monotonicMs();
    try {
      writeFileSync(`/proc/${this.#pid}/clear_refs`, BEGIN_PEAK_ANEW);
      this.#peakIsOfStage = true;
    } catch {
      this.#peakIsOfStage = false;
    }
  }

  /** A stage has ended. */
  end(name: string): StageMemory {
    this.#sample();
    const stage = { name, bytes: this.#sampled, seconds: (monotonicMs() - this.#begunMs) / 1_000 };
    this.stages.push(stage);
    return stage;
  }

  /** Ends sampling. */
  close(): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    try {
      const status = readFileSync(`/proc/${this.#pid}/status`, 'utf8');
      const field = this.#peakIsOfStage ? /VmHWM:\s+(\d+) kB/ : /VmRSS:\s+(\d+) kB/;
      this.#sampled = Math.max(this.#sampled, Number(field.exec(status)?.[1] ?? 0) * 1024);
    } catch {
      // It has ended: what was sampled stands.
    }
  }
}
