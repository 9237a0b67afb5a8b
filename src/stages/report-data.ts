import { messageOf, SwitchbackError } from '../domain/errors.ts';
import type { Finding } from '../domain/finding.ts';
import type { Halt } from '../domain/phase.ts';
import { type JournalEntry, lastJournalId, readJournal, readSwitchJournal } from '../sidecar/journal.ts';
import { readLanes } from '../sidecar/lanes.ts';
import { serverTime } from '../sidecar/phases.ts';
import { type LagSample, readCertificates, readLag } from '../sidecar/records.ts';
import { readRun } from '../sidecar/run.ts';
import { readSwitches } from '../sidecar/switches.ts';
import type { Certificate } from './certificate.ts';
import { readCheckInput } from './check.ts';
import { portsOf, type RunContext } from './context.ts';
import { readRuns } from './open.ts';
import { readRoutes } from './reads/routes.ts';
import { type PhaseOutcome, readOutcomes } from './report-estimates.ts';
import { type ReportSwitch, reportSwitch, type SwitchFacts } from './report-switches.ts';
import type { ObservedRoute } from './routes.ts';
import { type JournalLine, journalLine, type PhaseStatus, type RunStatus, readStatusFromEither } from './status.ts';

/** A phase with its newest certificate in full; null where there is none, and in what the mirror knows. */
export type ReportPhase = PhaseStatus & { readonly certified: Certificate | null };

/** What a lane's lag was, oldest first. */
export interface ReportLag {
  readonly lane: string;
  /** `at` is server time, ISO 8601 UTC; `ms` is end to end; `changes` were applied since the lane was opened. */
  readonly samples: readonly Omit<LagSample, 'lane'>[];
}

/** Everything that is known of a run, as data: what `report` writes and its page shows. No bigint, so it is JSON as it is. */
export interface Report extends Omit<RunStatus, 'run' | 'phases' | 'lastSwitch'> {
  /** Clock of the side that answered, ISO 8601 UTC. */
  readonly generatedAt: string;
  readonly run: NonNullable<RunStatus['run']>;
  readonly phases: readonly ReportPhase[];
  /** Where the routers of the phases lead, as they say now. */
  readonly routes: readonly ObservedRoute[];
  /** Oldest first. */
  readonly switches: readonly ReportSwitch[];
  readonly halts: readonly Halt[];
  /** What preflight finds now, for the phases that are not over. */
  readonly findings: readonly Finding[];
  /** Why preflight could not look, or null. */
  readonly findingsError: string | null;
  /** Oldest first; `complete` is false when older lines were left out. */
  readonly journal: { readonly complete: boolean; readonly lines: readonly JournalLine[] };
  readonly lag: readonly ReportLag[];
  /** What the stages of each phase were thought to take, and what they took. Empty in what the mirror knows. */
  readonly outcomes: readonly PhaseOutcome[];
}

type Depth = Omit<Report, keyof RunStatus | 'generatedAt' | 'outcomes' | 'routes'>;

/** Bounds of one report, so that neither its memory nor its page grows with the age of the run. */
const JOURNAL_LINES = 5_000;
const JOURNAL_PAGE = 500;
const SWITCHES = 1_000;
const SWITCH_LINES = 20_000;
/** An error's text can hold a statement of any length. */
const DETAIL_CHARACTERS = 4_000;

/**
 * Reads everything about a run, from the source; from the target's mirror, which knows less, when the source does not
 * answer. Changes nothing. Throws kind `refused` where there is no run, `unreachable` when neither side answers.
 */
export const readReport = async (context: RunContext): Promise<Report> => {
  const { run, phases, lastSwitch, ...status } = await readStatusFromEither(context);
  if (!run) {
    throw new SwitchbackError(
      'refused',
      'no run has been begun on these databases, or its records were removed with it',
      {
        remedy: `switchback status ${context.plan.path}`,
      },
    );
  }
  const mirrored = status.answeredBy === 'target';
  const depth = mirrored
    ? mirrorDepth({ phases, lastSwitch, sourceError: status.sourceError })
    : await readDepth(context);
  const certified = mirrored ? phases.map(mirroredPhase) : await certifiedPhases(context, phases);
  return {
    ...status,
    generatedAt: await serverTime(portsOf(context, status.answeredBy).sql),
    mirroredAt: status.mirroredAt === null ? null : utc(status.mirroredAt),
    run: { ...run, createdAt: utc(run.createdAt) },
    phases: certified,
    routes: await readRoutes(context, { ...status, phases, lastSwitch }),
    outcomes: mirrored ? [] : await outcomesOf(context, certified),
    ...depth,
  };
};

const mirroredPhase = (phase: PhaseStatus): ReportPhase => ({ ...phase, ...inUtc(phase), certified: null });

const certifiedPhases = async (
  context: RunContext,
  phases: readonly PhaseStatus[],
): Promise<readonly ReportPhase[]> => {
  const stored = await readCertificates<Certificate>(context.source.sql);
  return phases.map((phase) => ({
    ...phase,
    ...inUtc(phase),
    certified: stored.get(phase.name)?.document ?? null,
  }));
};

const outcomesOf = async (context: RunContext, phases: readonly ReportPhase[]): Promise<readonly PhaseOutcome[]> => {
  const { sql } = context.source;
  const verified = phases.map(({ name, certified }) => ({ name, verifiedSeconds: certified?.seconds ?? null }));
  return await readOutcomes(sql, verified, (await readRun(sql))?.facts.estimates ?? {});
};

const inUtc = ({ certificate }: PhaseStatus): Pick<PhaseStatus, 'certificate'> => ({
  certificate: certificate && { ...certificate, at: utc(certificate.at) },
});

const readDepth = async (context: RunContext): Promise<Depth> => {
  const { sql } = context.source;
  const [switches, lanes, journal, lag, looked] = await Promise.all([
    switchesOf(context),
    readLanes(sql),
    journalOf(context),
    readLag(sql).then(lagByLane),
    look(context),
  ]);
  return { switches, halts: lanes.flatMap(({ halt }) => (halt ? [halt] : [])), journal, lag, ...looked };
};

/** The mirror holds the status only, with the last switch's steps. */
const mirrorDepth = (known: Pick<RunStatus, 'phases' | 'lastSwitch' | 'sourceError'>): Depth => {
  const last = known.lastSwitch;
  const lines = last?.steps.map(cut) ?? [];
  return {
    switches: last && lines[0] ? [mirroredSwitch(last, lines)] : [],
    halts: known.phases.flatMap(({ lane }) => (lane?.halt ? [lane.halt] : [])),
    findings: [],
    findingsError: `the source does not answer: ${known.sourceError ?? ''}`,
    journal: { complete: false, lines },
    lag: [],
  };
};

const mirroredSwitch = (last: NonNullable<RunStatus['lastSwitch']>, lines: readonly JournalLine[]): ReportSwitch => {
  const facts: SwitchFacts = {
    id: last.id,
    direction: last.id.startsWith('failback') ? 'reverse' : 'forward',
    phases: lines[0]?.phases ?? [],
    outcome: last.outcome === 'committed' || last.outcome === 'aborted' ? last.outcome : null,
    at: lines[0]?.at ?? '',
    epoch: lines.at(-1)?.epoch ?? '',
    fencedAt: null,
    reverseFrom: null,
  };
  return reportSwitch(facts, lines);
};

const switchesOf = async (context: RunContext): Promise<readonly ReportSwitch[]> => {
  const { sql } = context.source;
  const records = await readSwitches(sql, SWITCHES);
  const lines = Map.groupBy((await readSwitchJournal(sql, SWITCH_LINES)).map(lineOf), (line) => line.scope);
  return records.map(({ document, epoch, at, ...facts }) =>
    reportSwitch(
      {
        ...facts,
        at: utc(at),
        epoch: String(epoch),
        fencedAt: document.fencedAt ?? null,
        reverseFrom: document.reverseFrom ?? null,
      },
      lines.get(facts.id) ?? [],
    ),
  );
};

/** Read page by page, so that at most one page of whole details is held. */
const journalOf = async (context: RunContext): Promise<Report['journal']> => {
  const { sql } = context.source;
  const last = await lastJournalId(sql);
  const first = last > JOURNAL_LINES ? last - BigInt(JOURNAL_LINES) : 0n;
  const lines: JournalLine[] = [];
  for (let after = first; after < last; ) {
    const page = await readJournal(sql, { after, limit: JOURNAL_PAGE });
    lines.push(...page.filter((entry) => entry.id <= last).map(lineOf));
    after = page.at(-1)?.id ?? last;
  }
  return { complete: first === 0n, lines };
};

const lineOf = (entry: JournalEntry): JournalLine => cut(journalLine(entry));

const cut = (line: JournalLine): JournalLine => {
  const { detail } = line;
  const long = detail !== null && detail.length > DETAIL_CHARACTERS;
  return { ...line, at: utc(line.at), detail: long ? `${detail.slice(0, DETAIL_CHARACTERS - 1)}…` : detail };
};

const lagByLane = (samples: readonly LagSample[]): readonly ReportLag[] =>
  [...Map.groupBy(samples, ({ lane }) => lane)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([lane, own]) => ({ lane, samples: own.map(({ at, ms, changes }) => ({ at: utc(at), ms, changes })) }));

/** As `check` looks. That it could not look is told, and spoils nothing else of the report. */
const look = async (context: RunContext): Promise<Pick<Report, 'findings' | 'findingsError'>> => {
  try {
    const input = await readCheckInput(context, await readRuns(context));
    if (input.scope.phases.size === 0) return { findings: [], findingsError: null };
    return { findings: [...input.scope.findings, ...(await context.preflight(input))], findingsError: null };
  } catch (error) {
    return { findings: [], findingsError: messageOf(error) };
  }
};

/** Text of the server's timestamp type in a UTC session as ISO 8601; ISO 8601 stays as it is. */
const utc = (text: string): string => text.replace(' ', 'T').replace(/\+00(:00)?$/, 'Z');
