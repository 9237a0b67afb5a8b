import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';

/** A lane that a person has to look at: kind `halted` with one blocking finding. */
export const halted = (finding: Omit<Finding, 'severity'>, cause?: unknown): SwitchbackError =>
  new SwitchbackError('halted', `${finding.subject}: ${finding.fact}`, {
    remedy: finding.remedy,
    findings: [{ ...finding, severity: 'blocks' }],
    cause,
  });
