import type { Finding } from './finding.ts';

/** What a caller may do about an error: try again by itself, look first whether it took effect, ask a person, or give up. */
export type Policy = 'retry' | 'probe' | 'operator' | 'never';

/**
 * Every kind of error, what may be done about it and the exit code it ends a command with (DESIGN 11: 1 unexpected,
 * 2 usage or plan, 3 findings block, 4 refused by a guard, 5 aborted and undone, 6 in doubt and parked).
 */
export const ERROR_KINDS = {
  /** The plan or the command line is wrong. */
  usage: { policy: 'never', exitCode: 2 },
  /** Preflight or a lane found something that has to be mended first. */
  findings: { policy: 'operator', exitCode: 3 },
  /** A guard refused: wrong state, wrong database, stale certificate, somebody else's lease. */
  refused: { policy: 'operator', exitCode: 4 },
  /** A newer worker has raised the epoch: this one must stop at once. */
  deposed: { policy: 'never', exitCode: 4 },
  /** A switch was undone before its commit record. */
  aborted: { policy: 'operator', exitCode: 5 },
  /** The answer was lost: it is not known whether an act took effect, and it is looked up before anything is repeated. */
  unknown: { policy: 'probe', exitCode: 6 },
  /** It stands half-way, at most one side can be written, and a person has to mend something before it can go on. */
  parked: { policy: 'operator', exitCode: 6 },
  /** It is done, and clients were not seen to arrive where they were led. */
  unproven: { policy: 'operator', exitCode: 6 },
  /** The lane cannot go on until somebody has mended what its finding says. */
  halted: { policy: 'operator', exitCode: 3 },
  /** A server cannot be reached or dropped the connection. */
  unreachable: { policy: 'retry', exitCode: 1 },
  /** A lock could not be had in the time given. */
  busy: { policy: 'retry', exitCode: 1 },
  /** Anything that we did not foresee. */
  internal: { policy: 'operator', exitCode: 1 },
} as const satisfies Record<string, { policy: Policy; exitCode: number }>;

/** The name of a row of {@link ERROR_KINDS}. */
export type ErrorKind = keyof typeof ERROR_KINDS;

/** What an error says besides its message. */
export interface ErrorDetails {
  /** What the reader can do now, as a sentence or a command. */
  readonly remedy?: string;
  readonly findings?: readonly Finding[];
  readonly cause?: unknown;
}

/** The only error class that we throw on purpose. Its message says what happened; its remedy what to do. */
export class SwitchbackError extends Error {
  readonly kind: ErrorKind;
  readonly remedy: string | undefined;
  readonly findings: readonly Finding[];

  constructor(kind: ErrorKind, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'SwitchbackError';
    this.kind = kind;
    this.remedy = details.remedy;
    this.findings = details.findings ?? [];
  }

  /** The policy of this error's kind. */
  get policy(): Policy {
    return ERROR_KINDS[this.kind].policy;
  }

  /** The exit code of this error's kind. */
  get exitCode(): number {
    return ERROR_KINDS[this.kind].exitCode;
  }
}

/** Whether an unknown thrown value is ours and of the given kind. */
export const isKind = (error: unknown, kind: ErrorKind): error is SwitchbackError =>
  error instanceof SwitchbackError && error.kind === kind;

/** The error for whoever acts under an epoch that is not the newest any more; the fact says where that was seen. */
export const deposedError = (fact: string): SwitchbackError =>
  new SwitchbackError('deposed', `another worker has taken over: ${fact}`, {
    remedy: 'this process has stopped; the other one goes on: switchback status PLAN',
  });

/** The text of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
