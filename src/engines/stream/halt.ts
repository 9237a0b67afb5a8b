import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { beginAnew } from '../../domain/remedy.ts';

/** What is left to do once changes may be missing (S14). */
export const SLOT_LOST_REMEDY = `nothing more is applied. Before a cutover begin anew: ${beginAnew('PHASE')}; after one the target goes on without a way back: switchback finalise PLAN PHASE --early --confirm PHASE`;

/** A lane that a person has to look at: kind `halted` with one blocking finding. */
export const halted = (finding: Omit<Finding, 'severity'>, cause?: unknown): SwitchbackError =>
  new SwitchbackError('halted', `${finding.subject}: ${finding.fact}`, {
    remedy: finding.remedy,
    findings: [{ ...finding, severity: 'blocks' }],
    cause,
  });
