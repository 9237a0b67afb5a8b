import { createInterface } from 'node:readline/promises';
import { SwitchbackError } from '../domain/errors.ts';
import { type Arguments, text } from './command.ts';

/** Asks for a name before something severe, or takes `--confirm`. Throws kind `usage` unless the answer is the name. */
export const confirm = async (args: Arguments, command: string, name: string): Promise<void> => {
  const given = text(args, 'confirm');
  if (given === name) return;
  if (given !== undefined) {
    throw new SwitchbackError('usage', `--confirm ${given} does not match`, { remedy: `--confirm ${name}` });
  }
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw new SwitchbackError('usage', `${command} needs confirmation and there is no terminal to ask on`, {
      remedy: `--confirm ${name}`,
    });
  }
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await lines.question(`Type ${name} to ${command}: `);
  lines.close();
  if (answer.trim() !== name) throw new SwitchbackError('usage', 'not confirmed; nothing was done');
};
