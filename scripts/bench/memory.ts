import { readFileSync, writeFileSync } from 'node:fs';

const SAMPLE_MS = 50;
/** Tells the kernel to begin a process's peak anew (proc(5), clear_refs). */
const BEGIN_PEAK_ANEW = '5';

/** The most that a process held resident during one stage, in bytes. */
export interface StageMemory {
  readonly name: string;
  readonly bytes: number;
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
  #peakIsOfStage = false;

  /** Begins to sample. The caller closes it. */
  constructor(pid: number | undefined) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  /** A stage begins. */
  begin(): void {
    this.#sampled = 0;
    try {
      writeFileSync(`/proc/${this.#pid}/clear_refs`, BEGIN_PEAK_ANEW);
      this.#peakIsOfStage = true;
    } catch {
      this.#peakIsOfStage = false;
    }
  }

  /** A stage has ended; the most that it held. */
  end(name: string): number {
    this.#sample();
    const bytes = this.#sampled;
    this.stages.push({ name, bytes });
    return bytes;
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
