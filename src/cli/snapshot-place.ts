import { SwitchbackError } from '../domain/errors.ts';
import { holdsPassword, interpolate } from '../plan/interpolate.ts';
import { type Arguments, text } from './command.ts';

/**
 * Where a snapshot is to be restored to, as `--into` or `--at` says it, with its references to the environment filled in as in a
 * plan; null where nothing is said. Throws kind `usage`, without the text, for one with a password in it: arguments can be read by
 * everybody on the machine.
 */
export const placeOf = (args: Arguments, name: 'into' | 'at'): string | null => {
  const written = text(args, name);
  if (written === undefined) return null;
  if (holdsPassword(written)) {
    throw new SwitchbackError(
      'usage',
      `--${name} has a password in it, and everybody on this machine can read arguments`,
      {
        remedy: `leave it out and set PGPASSWORD, or refer to the environment in single quotes: --${name} 'postgresql://user:\${NAME}@host:port/database'`,
      },
    );
  }
  const filled = interpolate(written, process.env);
  if ('text' in filled) return filled.text;
  const [first] = filled.problems;
  throw new SwitchbackError('usage', `--${name} ${first?.what ?? ''}`, { remedy: first?.remedy ?? '' });
};
