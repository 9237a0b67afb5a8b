/** How a stage that stands is begun again, once what kept it is mended. A worker that had nothing else to do has ended. */
export const TRY_STAGE_AGAIN =
  'then: switchback resume PLAN PHASE; or, where no worker runs any more: switchback run PLAN';

/** One of our own commands in a remedy, as far as a reader would copy it. */
const COMMAND = /switchback [a-z]+(?: [a-z]+)? PLAN(?: (?:PHASE|--[a-z-]+))*/g;

/** What a reader of a remedy calls things. */
export interface RemedyNames {
  /** The plan's path. */
  readonly plan: string;
  /** Where the remedy is about one. */
  readonly phase?: string;
}

/**
 * Fills in what a sidecar, a server or an engine cannot know when it names a command: `switchback status PLAN`. Only within
 * our own commands, because a table may be called PLAN.
 */
export const fillRemedy = (remedy: string, { plan, phase }: RemedyNames): string =>
  remedy.replaceAll(COMMAND, (command) =>
    command.replaceAll(/\b(?:PLAN|PHASE)\b/g, (word) => (word === 'PLAN' ? plan : (phase ?? word))),
  );

/**
 * How a phase is copied anew, from before its cutover: what is aborted stays so for the run, whose other phases it leaves
 * alone. `phase` is its name; PLAN is filled in by whoever tells it.
 */
export const beginAnew = (phase: string): string =>
  `switchback abort PLAN ${phase} --confirm ${phase}; a new run copies it anew, and can begin when every phase of this one is at its end and the sidecars are removed`;
