import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { messageOf, SwitchbackError } from '../domain/errors.ts';
import { writeWhole } from '../platform/write-whole.ts';
import { type Report, readReport } from '../stages/report-data.ts';
import { type CommandModule, flag, text, withPlan } from './command.ts';
import { color, say, sayJson } from './render.ts';
import { reportPage } from './report-page.ts';
import { headline } from './report-words.ts';

/** `report`: what happened, for people as one page and for programs as JSON. */
export const report: CommandModule = {
  usage: 'report <plan>',
  describe: 'Write what happened as one HTML page and as JSON; changes nothing in the databases',
  options: {
    out: {
      type: 'string',
      describe:
        'A folder, or the path of the page ending in .html (the JSON goes next to it); with --json also write them',
    },
  },
  run: async (args) =>
    await withPlan(
      args,
      () => undefined,
      async (context) => {
        const json = flag(args, 'json');
        const out = text(args, 'out');
        const paths = json && out === undefined ? null : pathsFor(context.plan.name, out);
        const data = await readReport(context);
        if (paths) await write(data, paths);
        if (json) sayJson({ ok: true, ...data });
        else if (paths) tell(data, paths);
        return 0;
      },
    ),
};

/** Where a report is written. Absolute. */
export interface ReportPaths {
  readonly page: string;
  readonly json: string;
}

/** Decides where a report goes: the working folder, a folder, or the page's own path. */
export const pathsFor = (name: string, out: string | undefined): ReportPaths => {
  if (out === '')
    throw new SwitchbackError('usage', '--out names nothing', { remedy: '--out FOLDER or --out FILE.html' });
  const page = out?.endsWith('.html') ? resolve(out) : resolve(join(out ?? '.', `${name}-report.html`));
  return { page, json: page.replace(/\.html$/, '.json') };
};

const write = async (data: Report, paths: ReportPaths): Promise<void> => {
  const page = reportPage(data);
  try {
    await mkdir(dirname(paths.page), { recursive: true });
    await writeWhole(paths.json, `${JSON.stringify(data)}\n`);
    await writeWhole(paths.page, page);
  } catch (error) {
    throw new SwitchbackError('usage', `the report cannot be written: ${messageOf(error)}`, {
      remedy: 'name a folder that can be written to: --out FOLDER',
      cause: error,
    });
  }
};

const tell = (data: Report, paths: ReportPaths): void => {
  const { text, alert } = headline(data);
  say(text);
  if (alert !== null) say(color.red(alert));
  say(`page  ${paths.page}`);
  say(`data  ${paths.json}`);
};
