import type { Finding } from '../domain/finding.ts';
import type { PhaseState } from '../domain/phase.ts';

const literally = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

/** The commands that a remedy names, without those that the state rules out; so `status` never says another one than it. */
const commandsIn = (
  remedy: string,
  about: { readonly name: string; readonly state: PhaseState; readonly path: string },
): readonly string[] => {
  const { name, path } = about;
  const words = `(?: (?:${literally(name)}|--[a-z-]+)(?![\\w-]))*`;
  const named = [...remedy.matchAll(new RegExp(`switchback [a-z]+ ${literally(path)}${words}`, 'g'))].map(String);
  const ruledOut = about.state.name === 'soaking' ? 'switchback abort ' : 'switchback finalise ';
  const left = named.filter((command) => !command.startsWith(ruledOut));
  return left.length > 0 ? left : [`switchback resume ${path} ${name}`];
};

/** What somebody would do next in a state. */
export const nextCommands = (about: {
  readonly name: string;
  readonly state: PhaseState;
  /** What halted its lane, or what its stage is stuck at. */
  readonly obstacle: Finding | null;
  readonly worker: boolean;
  /** Its router was asked and did not lead its clients where the last switch had led them. */
  readonly unproven: boolean;
  /** It has readers that can be moved to the target. */
  readonly isReadOnSource: boolean;
  readonly path: string;
}): readonly string[] => {
  const { name, state, obstacle, worker, unproven, path } = about;
  if (unproven && state.name !== 'aborted' && state.name !== 'switching')
    return [`switchback resume ${path} ${name}`, ...nextCommands({ ...about, unproven: false })];
  const reads = about.isReadOnSource ? [`switchback cutover ${path} ${name} --reads`] : [];
  const run = worker ? [] : [`switchback run ${path}`];
  if (obstacle) return commandsIn(obstacle.remedy, about);
  switch (state.name) {
    case 'planned':
      return [`switchback check ${path}`, `switchback run ${path}`];
    case 'prepared':
    case 'copying':
      return run;
    case 'following':
      return [...run, `switchback verify ${path} ${name}`];
    case 'ready':
      return [`switchback cutover ${path} ${name} --confirm ${name}`, ...reads, ...run];
    case 'switching':
      return [`switchback resume ${path}`];
    case 'soaking':
      return [
        ...run,
        `switchback failback ${path} ${name} --confirm ${name}`,
        ...reads,
        `switchback finalise ${path} ${name} --confirm ${name}`,
      ];
    case 'finalised':
    case 'aborted':
      return [];
  }
};
