import { isKind } from '../domain/errors.ts';
import type { Event } from '../domain/event.ts';
import { readStatus } from '../stages/status.ts';
import { Worker } from '../stages/worker.ts';
import { type CommandModule, flag, interruption, text, withPlan } from './command.ts';
import { Progress } from './progress.ts';
import { color, eventText, say, sayJson } from './render.ts';
import { nextCommandsOf } from './status.ts';

/** `run`: the worker. */
export const run: CommandModule = {
  usage: 'run <plan>',
  describe: 'Run the worker: prepare, copy, follow, verify; execute what other commands ask for',
  options: {
    until: {
      choices: ['ended', 'ready'],
      default: 'ended',
      describe: '`ready`: stop when every phase is ready or cut over',
    },
    'accept-plan': { type: 'string', describe: 'Hash of a changed plan that is meant' },
  },
  run: async (args) => {
    const json = flag(args, 'json');
    const progress = new Progress(json ? null : process.stdout);
    const emit = (event: Event) => {
      if (json) return sayJson(event);
      progress.take(event);
      const line = eventText(event);
      if (line !== null) progress.say(line);
    };
    const stopping = interruption(() =>
      progress.say('stopping after the work in hand; Ctrl-C again to end at once (nothing is lost)'),
    );
    try {
      return await withPlan(args, emit, async (context) => {
        const acceptPlan = text(args, 'accept-plan');
        const worker = await Worker.open(context, acceptPlan === undefined ? {} : { acceptPlan });
        try {
          await worker.run({ signal: stopping.signal, until: args.until === 'ready' ? 'ready' : 'ended' });
        } finally {
          await worker.close();
          progress.end();
        }
        const stuck = worker.stuck[0];
        if (stuck) throw stuck.error;
        const status = await readStatus(context).catch(() => null);
        if (!json && status?.run) {
          const states = status.phases.map((p) => `${p.name} is ${p.state.name}`).join(', ');
          say(`${stopping.signal.aborted ? 'stopped' : 'done'}: ${states}; the application is untouched by this`);
          const next = nextCommandsOf(status, context.plan.path);
          if (next.length > 0) say(`next:\n${next.map((command) => `  ${command}`).join('\n')}`);
        }
        return 0;
      });
    } catch (error) {
      progress.end();
      if (isKind(error, 'deposed') && !json) say(color.yellow('another worker has taken over'));
      throw error;
    } finally {
      stopping.release();
    }
  },
};
