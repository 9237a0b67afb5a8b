import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { runCommandLine } from '../../src/cli/cli.ts';
import { sleep } from '../../src/platform/clock.ts';
import type { TestRun } from './run.ts';
import type { Scene } from './scene.ts';
import type { Terminal } from './terminal.ts';

/** A command as the page has it, with the exit code that it has to end with. */
export interface PageCommand {
  readonly text: string;
  readonly exitCode: number;
  /** It stays in the foreground until Ctrl-C. */
  readonly isForeground: boolean;
}

/** One symptom of the runbook. */
export interface Entry {
  readonly id: string;
  /** What the tool prints; `…` stands for anything. */
  readonly texts: readonly string[];
  readonly commands: readonly PageCommand[];
}

/** The runbook as a test needs it. */
export interface Page {
  readonly entries: ReadonlyMap<string, Entry>;
  /** The list at the top: text and the entry that it leads to. */
  readonly index: readonly { readonly text: string; readonly id: string }[];
  /** Commands that stand outside of entries. */
  readonly elsewhere: readonly string[];
}

const PAGE = fileURLToPath(new URL('../../docs/runbook.md', import.meta.url));
const COMMAND = /`(switchback [^`]+)`(?: \(exit (\d)([^)]*)\))?/g;

/** Reads docs/runbook.md. Fails where an entry is not as all of them are. */
export const readPage = (): Page => {
  const text = readFileSync(PAGE, 'utf8');
  const [head = '', ...parts] = text.split(/^<a id="/m);
  const split = parts.map((part) => part.split(/^(?=## )/m));
  const entries = split.map(([entry = '']) => entryOf(entry));
  const outside = [head, ...split.flatMap(([, ...rest]) => rest)].join('\n');
  return {
    entries: new Map(entries.map((entry) => [entry.id, entry])),
    index: [...head.matchAll(/^- \[(.+)\]\(#([a-z-]+)\)$/gm)].map(([, label = '', id = '']) => ({ text: label, id })),
    elsewhere: [
      ...[...outside.matchAll(COMMAND)].map(([, command = '']) => command),
      ...[...outside.matchAll(/^(switchback .+)$/gm)].map(([, command = '']) => command),
    ],
  };
};

const entryOf = (text: string): Entry => {
  const [, id = ''] = /^([a-z-]+)"><\/a>\n### `/.exec(text) ?? [];
  expect(text, `an entry of the page: ${text.slice(0, 80)}`).toMatch(
    /^[a-z-]+"><\/a>\n### `.+\n(?:- \*\*or:\*\* `.+\n)*- \*\*means:\*\* .+\n- \*\*look at:\*\* .+\n- \*\*do:\*\* .+/,
  );
  const titles = [...text.matchAll(/^(?:### |- \*\*or:\*\* )(.+)$/gm)].map(([, title = '']) => title);
  const commands = [...text.matchAll(COMMAND)].map(([, command = '', code, more = '']) => {
    expect(code, `the exit code of \`${command}\` in entry ${id}`).toBeDefined();
    return { text: command, exitCode: Number(code), isForeground: more.includes('Ctrl-C') };
  });
  expect(commands.length, `commands of entry ${id}`).toBeGreaterThan(0);
  return { id, texts: titles.map((title) => /^`([^`]+)`/.exec(title)?.[1] ?? ''), commands };
};

/** The index's lines that an entry has to have. */
export const titlesOf = (entry: Entry): readonly string[] => entry.texts.map((text) => `\`${text}\``);

const literally = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

/** What a text of the page stands for. Whitespace may be any, because columns and lines are laid out by the printer. */
export const patternOf = (text: string): RegExp =>
  new RegExp(
    text
      .split('…')
      .map((part) => part.trim().split(/\s+/).map(literally).join(String.raw`\s+`))
      .join(String.raw`[\s\S]*?`),
  );

/** What stands for what in a command of the page. */
export type Names = Readonly<Record<'PHASE' | 'FIRST' | 'HASH' | 'ROUTER', string>>;

/** A command that is carried out in this process, through the command line's own code. */
export interface HereCommand {
  /** Everything it has printed so far, both streams. */
  text(): string;
  /** Resolves when it has printed something that matches; rejects when it ends before. */
  says(what: RegExp): Promise<void>;
  readonly ended: Promise<number>;
}

/** Where the databases are, when it is not where the run says. */
export interface Elsewhere {
  readonly source?: string;
  readonly target?: string;
}

/**
 * Runs a command line in this process, as `main.ts` would, in the folder of the plan. One at a time: what a process prints
 * is caught. It spares the start of a process, of which the page has too many.
 */
export const startHere = (run: TestRun, argv: readonly string[], where: Elsewhere = {}): HereCommand => {
  let said = '';
  let over = false;
  const streams = [process.stdout, process.stderr] as const;
  const writes = streams.map((stream) => stream.write);
  const catchWrite = (chunk: unknown, ...rest: readonly unknown[]): boolean => {
    said += String(chunk);
    const done = rest.at(-1);
    if (typeof done === 'function') done();
    return true;
  };
  const environment = run.self.environment;
  process.env.TEST_SOURCE_URL = where.source ?? environment.TEST_SOURCE_URL;
  process.env.TEST_TARGET_URL = where.target ?? environment.TEST_TARGET_URL;
  const folder = process.cwd();
  process.chdir(run.directory);
  for (const stream of streams) stream.write = catchWrite as typeof stream.write;
  const ended = runCommandLine(argv).finally(() => {
    over = true;
    process.chdir(folder);
    for (const [i, stream] of streams.entries()) stream.write = writes[i] as typeof stream.write;
  });
  return {
    text: () => said,
    says: async (what) => {
      while (!what.test(said)) {
        if (over) throw new Error(`it ended without saying ${what}: ${said}`);
        await sleep(10);
      }
    },
    ended,
  };
};

/** How a command ended. */
export interface Said {
  readonly exitCode: number;
  readonly text: string;
}

/** Runs a command line in this process to its end. */
export const say = async (run: TestRun, ...argv: readonly string[]): Promise<Said> => {
  const command = startHere(run, argv);
  return { exitCode: await command.ended, text: command.text() };
};

/** Waits for a process that a person has started to end. */
export const endOf = async (terminal: Terminal): Promise<Said> => ({
  exitCode: await terminal.ended,
  text: terminal.text(),
});

const REMEDY = /^.*(?:what to do|remedy): (.*)$/gm;
const NAMED = /switchback (?:--version|[a-z]+(?: [a-z]+)? \S*plan\.yaml(?: [^\s;.`()]+)*)/g;

/** Plays one entry: every text of it has to be seen, every command of it run, and the remedy's command be one of them. */
export class Play {
  readonly entry: Entry;
  readonly #seen = new Set<string>();
  readonly #done = new Set<string>();
  readonly #given = new Set<string>();
  readonly #remedies: string[] = [];

  constructor(entry: Entry) {
    this.entry = entry;
  }

  /** The tool has printed this: it holds a text of the entry, and names commands as they have to be typed. */
  sees(printed: string): void {
    const found = this.entry.texts.filter((text) => patternOf(text).test(printed));
    if (found.length === 0) throw new Error(`none of ${JSON.stringify(this.entry.texts)} is in: ${printed}`);
    for (const text of found) this.#seen.add(text);
    expect(printed).not.toMatch(/switchback [a-z]+(?: [a-z]+)? PLAN\b|`switchback/);
    for (const [, remedy = ''] of printed.matchAll(REMEDY)) this.#remedies.push(remedy);
  }

  /** Runs a command of the entry as it is written, the first one unless told otherwise, and checks its exit code. */
  async does(
    scene: Pick<Scene, 'run' | 'terminal'>,
    options: Partial<Names> & { readonly at?: number; readonly until?: RegExp } = {},
  ): Promise<string> {
    const command = this.entry.commands[options.at ?? 0];
    if (!command) throw new Error(`entry ${this.entry.id} has no such command`);
    const given = this.#fill(command.text, scene.run.plan, options);
    this.#done.add(command.text);
    this.#given.add(given);
    const [, ...argv] = given.split(' ');
    const said = await (command.isForeground
      ? inForeground(scene, argv, options.until ?? /\S/)
      : // The version is printed by yargs, past the streams that are caught.
        argv.includes('--version')
        ? endOf(scene.terminal(...argv))
        : say(scene.run, ...argv));
    expect(said, given).toMatchObject({ exitCode: command.exitCode });
    return said.text;
  }

  /** Fails unless the whole entry was played. */
  finish(): void {
    expect([...this.#seen].sort()).toEqual([...this.entry.texts].sort());
    expect([...this.#done].sort()).toEqual([...new Set(this.entry.commands.map(({ text }) => text))].sort());
    const named = this.#remedies.flatMap((remedy) =>
      [...remedy.matchAll(NAMED)].map(([command]) => command.replace('=source|target', '=target')),
    );
    if (named.length > 0) {
      const agreed = named.filter((command) => this.#given.has(command));
      expect(agreed, `the page gives ${[...this.#given]}, the remedies ${named}`).not.toEqual([]);
    }
  }

  #fill(command: string, plan: string, names: Partial<Names>): string {
    return command.replaceAll(/\b(PLAN|PHASE|FIRST|HASH|NAME|ROUTER)\b/g, (word) => {
      const value = { PLAN: plan, PHASE: 'all', NAME: 'test', ...names }[word];
      if (value === undefined) throw new Error(`what is ${word} in "${command}"?`);
      return value;
    });
  }
}

const inForeground = async (scene: Pick<Scene, 'terminal'>, argv: readonly string[], until: RegExp): Promise<Said> => {
  const terminal = scene.terminal(...argv);
  await terminal.says(until);
  terminal.process.kill('SIGINT');
  return await endOf(terminal);
};
