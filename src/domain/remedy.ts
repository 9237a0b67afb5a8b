/** One of our own commands in a remedy, as far as a reader would copy it. */
const COMMAND = /switchback [a-z]+ PLAN(?: (?:PHASE|--[a-z-]+))*/g;

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
