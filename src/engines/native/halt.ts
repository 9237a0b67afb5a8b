import { SwitchbackError } from '../../domain/errors.ts';
import { type Finding, SLOT_LOST } from '../../domain/finding.ts';
import { beginAnew } from '../../domain/remedy.ts';
import { displayName } from '../../domain/table.ts';
import type { NativeContext } from './context.ts';

/** A lane that a person has to look at: kind `halted` with one blocking finding. */
export const halted = (finding: Omit<Finding, 'severity'>, cause?: unknown): SwitchbackError =>
  new SwitchbackError('halted', `${finding.subject}: ${finding.fact}`, {
    remedy: finding.remedy,
    findings: [{ ...finding, severity: 'blocks' }],
    cause,
  });

/** Where the reason of what a subscription does is to be read, and what to do then. */
const lookInLog = (side: string): string =>
  `the log of the ${side}'s server says why (look for "logical replication" with the subscription's name, and the ERROR or CONFLICT next to it)`;

/** What is left to do once changes are missing (S14). */
const NO_MORE = `nothing more is applied. Before a cutover begin anew: ${beginAnew('PHASE')}; after one the target goes on without a way back: switchback finalise PLAN PHASE --early --confirm PHASE`;

/** The subscription is gone, or somebody has made another one of its name: what it had applied is not known (S14). */
export const subscriptionLost = ({ spec, to }: NativeContext): SwitchbackError =>
  halted({
    id: SLOT_LOST,
    subject: `subscription ${spec.slot}`,
    fact: `is gone from the ${to.label}, and with it how far it had come; changes may be missing`,
    remedy: NO_MORE,
  });

/** The written side went back to an earlier state, and its slot is past what it had then (S14). */
export const changesMissing = ({ spec, to }: NativeContext, marker: string): SwitchbackError =>
  halted({
    id: SLOT_LOST,
    subject: `subscription ${spec.slot}`,
    fact: `has lost what the ${to.label} had applied: marker ${marker} and what came with it were confirmed and are gone`,
    remedy: NO_MORE,
  });

/** The written side is another server than the one that confirmed; what it lacks, if anything, its rows alone can tell (S14). */
export const promoted = ({ spec, to }: NativeContext): SwitchbackError =>
  halted({
    id: 'lane/divergence',
    subject: `subscription ${spec.slot}`,
    fact: `may have lost what the ${to.label} had applied last: its server has been promoted, or restored to a point in time`,
    remedy:
      'compare the rows, and copy again those that are missing: switchback resume PLAN PHASE, and switchback verify PLAN PHASE --repair',
  });

/** Somebody has disabled it, no error has. */
export const subscriptionDisabled = ({ spec, to }: NativeContext): SwitchbackError =>
  halted({
    id: 'lane/subscription-disabled',
    subject: `subscription ${spec.slot}`,
    fact: `was disabled on the ${to.label} by somebody else`,
    remedy: 'when nothing speaks against it any more: switchback resume PLAN PHASE',
  });

/** Its worker fails again and again at the same place. */
export const applyFailed = ({ spec, to }: NativeContext): SwitchbackError =>
  halted({
    id: 'lane/apply-failed',
    subject: `subscription ${spec.slot}`,
    fact: `cannot apply a change on the ${to.label}, and fails again each time`,
    remedy: `${lookInLog(to.label)}; mend the row or the table that is named, then: switchback resume PLAN PHASE`,
  });

/** The server has counted rows that it did not find, and went on without them. */
export const diverged = ({ spec, to }: NativeContext, missed: string): SwitchbackError =>
  halted({
    id: 'lane/divergence',
    subject: `subscription ${spec.slot}`,
    fact: `has passed over rows on the ${to.label} that are not as on the other side (${missed})`,
    remedy: `${lookInLog(to.label)}; then copy the rows again: switchback resume PLAN PHASE, and switchback verify PLAN PHASE --repair`,
  });

/** The two sides' tables are not the same any more (S13). */
export const schemaChanged = ({ to }: NativeContext, name: string, fact: string): SwitchbackError =>
  halted({
    id: 'lane/schema-changed',
    subject: name,
    fact,
    remedy: `bring ${name} on the ${to.label} to what the change needs (same columns, types and lengths), then: switchback resume PLAN PHASE, and switchback verify PLAN PHASE --repair, since the server may have applied some rows meanwhile`,
  });

/** What is published is gone (S14). */
export const publicationLost = ({ spec, from }: NativeContext): SwitchbackError =>
  halted({
    id: SLOT_LOST,
    subject: `publication ${spec.publication}`,
    fact: `does not exist on the ${from.label}; changes may be missing`,
    remedy: NO_MORE,
  });

/** The names of a spec's tables. */
export const tableNames = ({ spec }: NativeContext): ReadonlySet<string> => new Set(spec.tables.map(displayName));
