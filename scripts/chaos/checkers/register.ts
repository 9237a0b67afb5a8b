import type { CompareAndSet, ReadRegister } from '../history.ts';
import { checkRealTime, type Leveled } from './real-time.ts';
import { type Verdict, Violations, verdictOf } from './verdict.ts';

/** A register as it stands at the end. */
export interface FinalRegister {
  readonly key: number;
  readonly version: number;
  readonly writer: number;
}

/**
 * Judges the register workload: each version of a key has one writer; every version up to the last has one that was
 * acknowledged or whose outcome nobody knew; reads show a version with its writer's value; and per key all of it fits one
 * order that respects real time.
 */
export const checkRegisters = (
  operations: readonly (CompareAndSet | ReadRegister)[],
  finals: readonly FinalRegister[],
): Verdict => {
  const found = new Violations();
  const sets = operations.filter((o): o is CompareAndSet => o.kind === 'compare-and-set');
  const reads = operations.filter((o): o is ReadRegister => o.kind === 'read-register' && o.outcome === 'acknowledged');
  const registers = new Map(finals.map((final) => [final.key, new Register(final)]));
  if (registers.size !== finals.length) found.add('duplicated', 'a register', 'is there more than once');
  for (const set of sets) registerOf(registers, set.key, found).set(set, found);
  for (const read of reads) registerOf(registers, read.key, found).read(read, found);
  let unknownDone = 0;
  for (const register of registers.values()) unknownDone += register.judge(found);
  return verdictOf({ operations, unknownDone, reads, found });
};

const registerOf = (registers: Map<number, Register>, key: number, found: Violations): Register => {
  const known = registers.get(key);
  if (known) return known;
  found.add('lost', `register ${key}`, 'is not there');
  const made = new Register({ key, version: 0, writer: 0 });
  registers.set(key, made);
  return made;
};

/** What is known of one key. */
class Register {
  readonly #final: FinalRegister;
  /** The writer of each version, as acknowledgements, reads and the end say it. */
  readonly #writers = new Map<number, number>();
  /** Operations of this key that may have written. */
  readonly #candidates = new Map<number, CompareAndSet>();
  readonly #reads: ReadRegister[] = [];

  constructor(final: FinalRegister) {
    this.#final = final;
  }

  set(set: CompareAndSet, found: Violations): void {
    this.#candidates.set(set.op, set);
    if (set.outcome !== 'acknowledged' || !set.isApplied) return;
    this.#claim(set.from + 1, set.op, { by: `operation ${set.op}`, found });
  }

  read(read: ReadRegister, found: Violations): void {
    this.#reads.push(read);
    this.#claim(read.version, read.writer, { by: `operation ${read.op}`, found });
  }

  /** Returns how many writes of unknown outcome turned out done. */
  judge(found: Violations): number {
    const { key, version, writer } = this.#final;
    this.#claim(version, writer, { by: `the end of register ${key}`, found });
    let unknownDone = 0;
    for (let v = 1; v <= version; v++) {
      const op = this.#writers.get(v);
      const set = op === undefined ? undefined : this.#candidates.get(op);
      if (op === undefined) this.#assertExplained(v, found);
      else if (set?.outcome === 'unknown') unknownDone += 1;
    }
    for (const [v, op] of this.#writers) {
      if (v > version)
        found.add('lost', `operation ${op}`, `wrote version ${v} of register ${key}, which ends at ${version}`);
    }
    for (const { op, why, isRead } of checkRealTime(this.#leveled())) {
      found.add(isRead ? 'stale' : 'reordered', `operation ${op}`, `on register ${key} ${why}`);
    }
    return unknownDone;
  }

  #claim(version: number, writer: number, { by, found }: { readonly by: string; readonly found: Violations }): void {
    const { key } = this.#final;
    if (version === 0) {
      if (writer !== 0) found.add('phantom', by, `showed writer ${writer} of register ${key}'s first state`);
      return;
    }
    const known = this.#writers.get(version);
    if (known !== undefined && known !== writer) {
      found.add(
        'duplicated',
        by,
        `says that ${writer} wrote version ${version} of register ${key}, which ${known} wrote`,
      );
    }
    this.#writers.set(version, known ?? writer);
    const set = this.#candidates.get(writer);
    if (set === undefined || set.from + 1 !== version) {
      found.add('phantom', by, `showed version ${version} of register ${key} by ${writer}, who did not write it`);
    } else if (set.outcome === 'failed' || (set.outcome === 'acknowledged' && !set.isApplied)) {
      found.add('phantom', `operation ${writer}`, `failed, and register ${key} shows it as version ${version}`);
    }
  }

  /** Nobody was seen to have written it: then one whose outcome is unknown must have. */
  #assertExplained(version: number, found: Violations): void {
    const isExplained = [...this.#candidates.values()].some((s) => s.outcome === 'unknown' && s.from + 1 === version);
    if (!isExplained) found.add('phantom', `version ${version}`, `of register ${this.#final.key} has no writer`);
  }

  #leveled(): readonly Leveled[] {
    const writes = [...this.#writers].flatMap(([level, op]): Leveled[] => {
      const set = this.#candidates.get(op);
      if (set === undefined) return [];
      const completedMs = set.outcome === 'acknowledged' ? set.completedMs : Number.POSITIVE_INFINITY;
      return [{ op, level, isWrite: true, invokedMs: set.invokedMs, completedMs }];
    });
    const reads = this.#reads
      .filter((read) => read.isCurrent)
      .map(({ op, version, invokedMs, completedMs }) => ({
        op,
        level: version,
        isWrite: false,
        invokedMs,
        completedMs,
      }));
    return [...writes, ...reads];
  }
}
