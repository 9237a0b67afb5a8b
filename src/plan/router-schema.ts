import { z } from 'zod';
import type { RouterAction } from '../domain/placeholder.ts';
import { argv, duration, text } from './values.ts';

const fileRouter = z.strictObject({
  kind: z.literal('file').meta({ description: 'A small file that names the primary of each phase.' }),
  path: text().meta({
    description: 'The file. Made when it is not there; replaced atomically. Relative to the folder of the plan.',
    examples: ['/etc/shop/primary.json'],
  }),
  format: z
    .enum(['json', 'env'])
    .optional()
    .meta({
      description: 'Format of the file. Without it: `json` for a path that ends in .json, `env` for one in .env.',
      examples: ['json'],
    }),
});

const command = (action: RouterAction, description: string, example: readonly string[]) =>
  argv(action).meta({ description, examples: [example] });

const commandRouter = z.strictObject({
  kind: z.literal('command').meta({ description: 'Programs of your own, run without a shell.' }),
  observe: command('observe', 'Prints where {phase} leads: `source`, `target`, or JSON with primary, held, version.', [
    './route.sh',
    'observe',
    '{phase}',
  ]).optional(),
  hold: command('hold', 'Keeps clients of {phase} (run once for each), or of {phases} (run once), waiting.', [
    './route.sh',
    'hold',
    '{phases}',
  ]).optional(),
  repoint: command('repoint', 'Leads clients to {side}. Knows {phase} or {phases}, {epoch} and {previous}.', [
    './route.sh',
    'repoint',
    '{phases}',
    '{side}',
  ]),
  release: command('release', 'Lets clients of {phase} or {phases} go on.', [
    './route.sh',
    'release',
    '{phases}',
  ]).optional(),
  timeout: duration({
    atLeastMs: 1,
    otherwise: '10s',

    description: 'How long one run may take before its process group is ended. What it did is then not known.',
    examples: ['30s'],
  }),
});

/** How one router is set up: one alternative for each kind. */
export const routerSchema = z.discriminatedUnion('kind', [fileRouter, commandRouter]);
