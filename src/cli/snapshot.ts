import { SwitchbackError } from '../domain/errors.ts';
import { REFERENCE_FORM } from '../plan/interpolate.ts';
import { type Arguments, type CommandModule, flag, text } from './command.ts';

/** One action of `snapshot`. It is loaded when it is asked for, so that other commands do not wait for it. */
type Action = (args: Arguments) => Promise<number>;

const ACTIONS: Readonly<Record<string, () => Promise<Action>>> = {
  create: async () => (await import('./snapshot-create.ts')).create,
  list: async () => (await import('./snapshot-list.ts')).list,
  show: async () => (await import('./snapshot-show.ts')).show,
  restore: async () => (await import('./snapshot-restore.ts')).restore,
  drill: async () => (await import('./snapshot-drill.ts')).drill,
  prune: async () => (await import('./snapshot-prune.ts')).prune,
};

/** `snapshot`: safety copies of the source. */
export const snapshot: CommandModule = {
  usage: 'snapshot <action> <plan> [id]',
  describe:
    'Safety copies of the source: `create` one, `list` them, `show` one, `restore` one beside, `drill` its restore on a scratch place, `prune` old ones',
  positionals: {
    action: { choices: Object.keys(ACTIONS), describe: 'What to do' },
    plan: { type: 'string', describe: 'The plan' },
    id: { type: 'string', describe: 'The snapshot; without it the newest' },
  },
  options: {
    at: {
      type: 'string',
      describe: 'drill: where the scratch place is to be, if not where the store chooses; as --into',
    },
    into: {
      type: 'string',
      describe: `restore: with pg_dump, URL of the database that is to be made; with pg_basebackup, its folder; with rds, leave it out. ${REFERENCE_FORM} refers to the environment, as in a plan`,
    },
    replay: { type: 'boolean', default: false, describe: 'restore: replay the archive of changes onto it' },
    until: {
      type: 'string',
      describe: "restore --replay: up to this position of the target's log; what came later is lost",
    },
    confirm: {
      type: 'string',
      describe: "restore: the plan's name, instead of typing it; prune: without it, it is only shown what would go",
    },
  },
  run: async (args) => {
    const name = text(args, 'action') ?? '';
    const action = ACTIONS[name];
    if (action === undefined) throw new SwitchbackError('usage', `snapshot has no action "${name}"`);
    assertRead(args, name);
    return await (await action())(args);
  },
};

/** The actions that read an argument. What is given to another one would be ignored. */
const READ_BY: Readonly<Record<string, readonly string[]>> = {
  id: ['show', 'restore', 'drill'],
  at: ['drill'],
  into: ['restore'],
  until: ['restore'],
  confirm: ['restore', 'prune'],
};

const assertRead = (args: Arguments, action: string): void => {
  if (flag(args, 'replay') && action !== 'restore')
    throw new SwitchbackError('usage', `snapshot ${action} does not read --replay`);
  for (const [name, actions] of Object.entries(READ_BY)) {
    if (text(args, name) === undefined || actions.includes(action)) continue;
    const given = name === 'id' ? `an id (${text(args, name)})` : `--${name}`;
    throw new SwitchbackError('usage', `snapshot ${action} does not read ${given}`, {
      remedy: `leave it out, or: switchback snapshot ${actions.join('|')} PLAN`,
    });
  }
};
