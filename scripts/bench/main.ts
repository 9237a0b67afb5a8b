import { readFileSync, writeFileSync } from 'node:fs';
import { monotonicMs } from '../../src/platform/clock.ts';
import { type Arguments, readArguments, usageText } from './arguments.ts';
import { machineText, readMachine } from './machine.ts';
import type { Part } from './part.ts';
import { PARTS } from './parts.ts';
import { markdownText, type Report, terminalText, withReport } from './render.ts';
import { settingsText } from './servers.ts';

const tell = (line: string) => process.stdout.write(`${line}\n`);

/** Ctrl-C and SIGTERM end the run in order; a second one is for a run that hangs. */
const interruption = (): AbortSignal => {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(130);
    tell('interrupted: ending everything');
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return controller.signal;
};

const runPart = async (part: Part, args: Arguments, signal: AbortSignal): Promise<Report> => {
  const { small, rounds, seed, pairs, router } = args;
  tell(`${part.name}: ${part.description}`);
  const begun = monotonicMs();
  const result = await part.run({ small, rounds, seed, pairs, router, signal, tell });
  // It has a place of its own on the page.
  const name = router === 'file' ? part.name : `${part.name}-${router}`;
  return { part: name, small, rounds, seed, seconds: (monotonicMs() - begun) / 1000, result };
};

const write = (args: Arguments, reports: readonly Report[]): void => {
  const machine = readMachine();
  if (args.markdown !== undefined) {
    const page = reports.reduce(
      (text, report) => withReport(text, report.part, markdownText(report, machine)),
      readFileSync(args.markdown, 'utf8'),
    );
    writeFileSync(args.markdown, page);
  }
  if (args.json === undefined) return;
  const object = JSON.stringify({ machine, settings: settingsText(), parts: reports });
  if (args.json === '') tell(object);
  else writeFileSync(args.json, `${object}\n`);
};

const main = async (words: readonly string[]): Promise<number> => {
  let args: Arguments;
  try {
    args = readArguments(words, PARTS);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n${usageText(PARTS)}`);
    return 2;
  }
  if (args.help) {
    tell(usageText(PARTS));
    return 0;
  }
  const signal = interruption();
  tell(`machine: ${machineText(readMachine())}`);
  tell(`servers: ${settingsText()}`);
  const reports: Report[] = [];
  try {
    for (const part of args.parts) {
      reports.push(await runPart(part, args, signal));
      tell(`\n${terminalText(reports.at(-1) as Report)}\n`);
    }
    write(args, reports);
    return reports.every(({ result }) => result.checks.every(({ ok }) => ok)) ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
    return signal.aborted ? 130 : 1;
  }
};

process.exitCode = await main(process.argv.slice(2));
// Sockets of servers that were ended could keep the process.
process.exit();
