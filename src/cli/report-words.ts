import type { PhaseStateName } from '../domain/phase.ts';
import { laneDirection } from '../domain/protocol.ts';
import type { Report, ReportPhase } from '../stages/report-data.ts';

/** What is true now. */
export interface Headline {
  /** Where the phases are, in a sentence. */
  readonly text: string;
  /** What somebody has to look at before the run can go on, or null. */
  readonly alert: string | null;
}

const STATE_WORDS: Readonly<Record<PhaseStateName, string>> = {
  planned: 'on the source, and nothing has been done yet',
  prepared: 'on the source, prepared for the copy',
  copying: 'on the source, being copied',
  following: 'on the source, and the target follows',
  ready: 'on the source, verified and ready to be cut over',
  switching: 'in the middle of a switch',
  soaking: 'on the target, and the way back is open',
  finalised: 'on the target for good',
  aborted: 'on the source, its migration aborted',
};

/** What a phase's state means, without its name: `on the target, and the way back is open`. */
export const stateText = (phase: Pick<ReportPhase, 'state' | 'lane'>): string =>
  phase.state.name === 'soaking' && phase.lane?.halt
    ? 'on the target, and the way back is halted'
    : STATE_WORDS[phase.state.name];

/** `a`, `a and b`, `a, b and c`. */
export const andList = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/** Says what is true now. It says nothing that the report does not hold. */
export const headline = (report: Report): Headline => {
  const groups = Map.groupBy(report.phases, stateText);
  const where = [...groups].map(
    ([words, own]) =>
      `${own.length === 1 ? 'phase' : 'phases'} ${andList(own.map(({ name }) => name))} ${isAre(own.length)} ${words}`,
  );
  const alerts = [...lookedElsewhere(report), ...alertsOf(report)];
  return {
    text: sentences([where.join('; ') || 'the run has no phases yet', ...quiet(report)]),
    alert: alerts.length === 0 ? null : sentences(alerts),
  };
};

const sentences = (parts: readonly string[]): string =>
  parts.map((part) => `${part.charAt(0).toUpperCase()}${part.slice(1)}.`).join(' ');

const lookedElsewhere = ({ answeredBy, mirroredAt }: Report): readonly string[] =>
  answeredBy === 'source'
    ? []
    : [`the source does not answer; this is what the target knew at ${timeText(mirroredAt ?? '')} UTC`];

const alertsOf = ({ phases, halts, findings, switches, worker }: Report): readonly string[] => {
  const halted = new Set([
    ...halts.map(({ lane }) => lane),
    ...phases.flatMap(({ lane }) => (lane?.halt ? [lane.halt.lane] : [])),
  ]);
  const doubtful = switches.filter(({ outcome }) => outcome === null).map(({ id }) => id);
  const blocking = findings.filter(({ severity }) => severity === 'blocks').length;
  return [
    ...(halted.size > 0
      ? [`${halted.size === 1 ? 'lane' : 'lanes'} ${andList([...halted])} ${isAre(halted.size)} halted`]
      : []),
    ...(doubtful.length > 0
      ? [
          `${doubtful.length === 1 ? 'switch' : 'switches'} ${andList(doubtful)} ${isAre(doubtful.length)} ${worker?.alive ? 'under way' : 'in doubt'}`,
        ]
      : []),
    ...(blocking > 0 ? [`${blocking} ${blocking === 1 ? 'finding blocks' : 'findings block'} the next step`] : []),
  ];
};

/** Not an alarm by itself: between two runs of the worker nothing is lost, it is only not followed. */
const quiet = ({ phases, worker }: Report): readonly string[] =>
  worker?.alive || !phases.some(({ state }) => laneDirection(state) !== null)
    ? []
    : ['no worker was running when this was written, so nothing was followed'];

const isAre = (count: number): string => (count === 1 ? 'is' : 'are');

/** `2026-11-22 14:02:11` of an ISO 8601 time; with milliseconds when asked for. The page says that all of it is UTC. */
export const timeText = (iso: string, digits: 'seconds' | 'milliseconds' = 'seconds'): string => {
  const [seconds, fraction = ''] = iso.replace('T', ' ').replace('Z', '').split('.');
  return digits === 'seconds' ? `${seconds}` : `${seconds}.${fraction.padEnd(3, '0').slice(0, 3)}`;
};

/** `2026-11-22 14:02:11 to 14:31:02`, with the second date only when it is another one. */
export const spanText = (first: string, last: string): string => {
  const end = timeText(last);
  return `${timeText(first)} to ${first.slice(0, 10) === last.slice(0, 10) ? end.slice(11) : end}`;
};
