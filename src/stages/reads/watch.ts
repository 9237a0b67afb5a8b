import { sidesOf } from '../../domain/position.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { readReaders } from '../../sidecar/run.ts';
import type { RunContext } from '../context.ts';
import type { Phase } from '../machine.ts';

/** So often it is looked up whether a side that has grown old has readers. */
const LOOK_EVERY_MS = 5_000;

/** Tells of moves of readers that an earlier process has begun and not ended. Throws what reading the source throws. */
export const tellOpenMoves = async (context: RunContext, phases: readonly Phase[]): Promise<void> => {
  const recorded = await readReaders(context.source.sql);
  for (const { name } of phases) {
    const led = recorded[name];
    if (led?.isDone !== false) continue;
    const finding = {
      id: 'readers/unfinished',
      severity: 'warns',
      subject: `phase ${name}`,
      fact: `its readers are on their way to the ${led.to} and not all there`,
      remedy: `to go on with it: switchback resume ${context.plan.path} ${name}`,
    } as const;
    context.emit({ type: 'finding', phase: name, finding });
  }
};

/** Tells, once each time, that readers are led to a side whose lane has halted or is further behind than max_lag. */
export class ReadersWatch {
  readonly #context: RunContext;
  readonly #told = new Set<string>();
  readonly #lookedAt = new Map<string, number>();

  constructor(context: RunContext) {
    this.#context = context;
  }

  /** Looks at a phase whose lane is open. Cheap while all is well. Never throws. */
  async look(phase: Phase): Promise<void> {
    const why = this.#ageOf(phase);
    if (why === null) {
      this.#told.delete(phase.name);
      this.#lookedAt.delete(phase.name);
      return;
    }
    if (this.#told.has(phase.name) || !this.#isTime(phase.name)) return;
    const side = phase.runner ? sidesOf(phase.runner.direction).to : null;
    // Nothing can be known without the source, and whoever needs it tells of it.
    const led = (await readReaders(this.#context.source.sql).catch(() => null))?.[phase.name];
    if (side === null || led?.to !== side) return;
    this.#told.add(phase.name);
    const back = side === 'target' ? 'failback' : 'cutover';
    const finding = {
      id: 'readers/old',
      severity: 'warns',
      subject: `phase ${phase.name}`,
      fact: `its readers are led to the ${side}, ${why}: what they read may be old`,
      remedy: `lead them to the primary: switchback ${back} ${this.#context.plan.path} ${phase.name} --reads`,
    } as const;
    this.#context.emit({ type: 'finding', phase: phase.name, finding });
  }

  #ageOf({ runner }: Phase): string | null {
    if (!runner) return null;
    if (runner.halt !== null) return 'whose lane is halted';
    const behindMs = (runner.lagSeconds ?? 0) * 1000;
    return behindMs > this.#context.plan.switch.maxLagMs ? `which is ${Math.round(behindMs)} ms behind` : null;
  }

  #isTime(phase: string): boolean {
    const now = monotonicMs();
    if (now - (this.#lookedAt.get(phase) ?? Number.NEGATIVE_INFINITY) < LOOK_EVERY_MS) return false;
    this.#lookedAt.set(phase, now);
    return true;
  }
}
