import type { DemoResult } from '../demo/demo.ts';
import type { DemoServer } from '../demo/stage.ts';
import { SwitchbackError } from '../domain/errors.ts';
import { type CommandModule, flag } from './command.ts';
import { bytesText, color, countText, say, sayJson } from './render.ts';

const number = (value: unknown, otherwise: number): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : otherwise;

/** `demo`: the whole journey on embedded servers. */
export const demo: CommandModule = {
  usage: 'demo',
  describe: 'Move a shop from PostgreSQL 13 to 18 and back and forth while clients write, on servers of its own',
  options: {
    rows: { type: 'number', default: 1_000_000, describe: 'Rows in the shop' },
    clients: { type: 'number', default: 16, describe: 'Clients that write all the time' },
    engine: { choices: ['stream', 'native'], default: 'stream', describe: 'How changes are replicated' },
    keep: { type: 'boolean', default: false, describe: 'Leave servers and files for a look around' },
  },
  run: async (args) => {
    const json = flag(args, 'json');
    // Loaded when it is run: no other command needs it, and all of them start faster without.
    const { runDemo } = await import('../demo/demo.ts');
    const servers = await givenServers();
    const result = await runDemo({
      ...(servers ? { servers } : {}),
      rows: number(args.rows, 1_000_000),
      clients: number(args.clients, 16),
      engine: args.engine === 'native' ? 'native' : 'stream',
      keep: flag(args, 'keep'),
      script: process.argv[1] ?? '',
      tell: (line) => {
        if (!json) say(line);
      },
    });
    if (json) sayJson(result);
    else print(result);
    return result.ok ? 0 : 1;
  },
};

/** Servers of the user's own, where there are no embedded ones: two empty databases, named in the environment. */
const givenServers = async (): Promise<readonly [DemoServer, DemoServer] | null> => {
  const { SWITCHBACK_DEMO_SOURCE_URL: source, SWITCHBACK_DEMO_TARGET_URL: target } = process.env;
  if (source === undefined && target === undefined) return null;
  if (source === undefined || target === undefined) {
    throw new SwitchbackError('usage', 'only one of SWITCHBACK_DEMO_SOURCE_URL and SWITCHBACK_DEMO_TARGET_URL is set', {
      remedy: 'set both, each to an empty database, or neither',
    });
  }
  const { readDemoServer } = await import('../demo/demo.ts');
  return [await readDemoServer('source', source), await readDemoServer('target', target)];
};

const print = (result: DemoResult): void => {
  say();
  say(color.bold(result.ok ? color.green('Nothing was lost.') : color.red('The ledger and the database differ.')));
  say(
    `  PostgreSQL ${result.servers.source} → ${result.servers.target}, ${countText(result.copied_rows)} rows copied, ${result.verified_tables} tables verified, ${result.mismatches} rows differed`,
  );
  say(
    `  ${countText(result.acknowledged)} acknowledged writes: ${result.lost} lost, ${result.duplicated} duplicated, ${result.reordered} reordered, ${result.phantom} that had failed and are there`,
  );
  say(
    `  ${result.switches.length} switches; worker's memory at most ${bytesText(result.worker_peak_bytes)}; ${result.seconds} s in all`,
  );
};
