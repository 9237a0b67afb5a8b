import { messageOf } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import type { SqlExecutor } from '../../domain/sql.ts';
import { type Ownership, PLACE_HOLDER } from '../../sidecar/ownership.ts';
import { salvage } from '../../sidecar/salvage.ts';

/** What one side says of who may write. */
export interface Said {
  /** Empty where it has no record. */
  readonly ownership: readonly Ownership[];
  /** Whether it is a part of a run that began there: what was restored says what was true when the snapshot was made. */
  readonly isInRun: boolean;
  /** Why it cannot be asked, or null. */
  readonly trouble: string | null;
}

/** The side that has every acknowledged write of all phases, or why that is not known, as a sentence. */
export type WherePrimary = { readonly side: Side } | { readonly untold: string };

/** Asks one side. Never throws: what does not answer is told. */
export const askOwnership = async (sql: SqlExecutor): Promise<Said> => {
  try {
    const { ownership, run } = await salvage(sql);
    const isInRun = run !== null && run.facts !== null && run.facts.restored === undefined;
    return { ownership: ownership.filter(({ by }) => by !== PLACE_HOLDER), isInRun, trouble: null };
  } catch (error) {
    return { ownership: [], isInRun: false, trouble: messageOf(error) };
  }
};

/**
 * Concludes which side is the primary of all phases. A target that does not answer, or that has no record any more because the run
 * has ended, may be it: then only the source's own rows say that it is not, since the commit record is a transaction with them.
 */
export const wherePrimary = (
  phases: readonly string[],
  said: { readonly source: Said; readonly target: Said },
): WherePrimary => {
  const found = phases.map((phase) => ofPhase(phase, said));
  const untold = found.find((one) => 'untold' in one);
  if (untold !== undefined) return untold;
  const [first] = found;
  const sides = new Set(found.map((one) => ('side' in one ? one.side : null)));
  if (first !== undefined && sides.size === 1) return first;
  return { untold: 'phases are on both sides, so which rows are newer cannot be told before it is restored' };
};

const ofPhase = (phase: string, { source, target }: { readonly source: Said; readonly target: Said }): WherePrimary => {
  const own = ({ ownership }: Said): Ownership | undefined => ownership.find((row) => row.phase === phase);
  const [here, there] = [own(source), own(target)];
  if (there?.role === 'primary' && !there.fenced) return { side: 'target' };
  if (there?.role === 'primary' || (there && here?.role === 'replica')) {
    return { untold: `a switch of phase ${phase} has not ended, so which rows are newer cannot be told` };
  }
  if (there || here?.role === 'primary') return { side: 'source' };
  if (target.trouble !== null) {
    return { untold: `the target does not answer and may be the primary of phase ${phase}: ${target.trouble}` };
  }
  // Neither side knows the phase, which is planned; or the end of the run has taken the target's record away.
  if (here === undefined && source.isInRun) return { side: 'source' };
  const whole = source.trouble === null ? '' : `, and the source cannot be asked: ${source.trouble}`;
  return { untold: `the target has no record of phase ${phase} and may be its primary${whole}` };
};
