import yargs from 'yargs';
import manifest from '../../package.json' with { type: 'json' };
import { messageOf, SwitchbackError } from '../domain/errors.ts';
import { ask } from './ask.ts';
import { audit } from './audit.ts';
import { check } from './check.ts';
import type { CommandModule } from './command.ts';
import { demo } from './demo.ts';
import { printError } from './render.ts';
import { report } from './report.ts';
import { run } from './run.ts';
import { show } from './show.ts';
import { snapshot } from './snapshot.ts';
import { status } from './status.ts';

/** Every command, in the order in which a migration uses them. */
const COMMANDS: readonly CommandModule[] = [
  check,
  show,
  run,
  status,
  ask('verify', 'Compare every table of both sides now'),
  ask('cutover', 'Move phases to the target'),
  ask('failback', 'Move phases back to the source, losing nothing'),
  ask('finalise', 'End the soak: give up the way back and remove our objects'),
  ask('abort', 'Undo phases that have not been cut over'),
  ask('resume', 'Complete or undo what was interrupted, and let halted lanes go on'),
  report,
  snapshot,
  audit,
  demo,
];

/**
 * Parses arguments, runs the command and returns its exit code (see ERROR_KINDS). Never throws: what went wrong is printed
 * to standard error, as JSON when `--json` was asked for.
 */
export const runCommandLine = async (argv: readonly string[]): Promise<number> => {
  let exitCode = 0;
  const json = argv.includes('--json');
  const parser = yargs([...argv])
    .scriptName('switchback')
    .usage('$0 <command> PLAN [phases]\n\nMoves a live database to a new one, phase by phase, and can always go back.')
    .option('json', { type: 'boolean', default: false, describe: 'Print JSON for programs', global: true })
    .option('color', { type: 'boolean', default: true, describe: 'Colours on a terminal', global: true })
    .version(manifest.version)
    .completion('completion', 'Print a shell completion script')
    .strict()
    .demandCommand(1, 'Name a command.')
    .recommendCommands()
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .epilogue(
      'Exit codes: 0 done, 1 unexpected, 2 usage or plan, 3 findings block, 4 refused, 5 aborted and undone, 6 parked or not seen to arrive.',
    )
    .exitProcess(false)
    .fail((message, error) => {
      throw error ?? new SwitchbackError('usage', message, { remedy: 'switchback --help' });
    });
  for (const command of COMMANDS) {
    const build = (own: typeof parser) => {
      for (const [name, about] of Object.entries(command.positionals ?? {})) own.positional(name, about);
      return own.options(command.options);
    };
    parser.command(command.usage, command.describe, build, async (args) => {
      exitCode = await command.run(args);
    });
  }
  try {
    await parser.parseAsync();
    return exitCode;
  } catch (error) {
    printError(
      error instanceof SwitchbackError ? error : new SwitchbackError('internal', messageOf(error), { cause: error }),
      json,
    );
    return error instanceof SwitchbackError ? error.exitCode : 1;
  }
};
