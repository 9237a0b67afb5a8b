import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startServer } from '../../../src/demo/servers.ts';
import type { Fit } from '../../../src/stages/estimate/fit.ts';
import { type FitServers, runSql } from './bed.ts';
import { type FittedModel, fitModel, fitOf } from './constants.ts';
import { measureApply, measureLanes, measureRows, measureTables } from './measure.ts';

/**
 * `npm run fit`: measures our own stages at four sizes each, on servers of its own, and fits the constants of the model in
 * `src/stages/estimate`. Prints each measurement against the model. With `--write` the file of the constants is written.
 * `--scale 0.2` takes a fifth of the rows and changes; tables and lanes stay.
 */
const FILE = fileURLToPath(new URL('../../../src/stages/estimate/fit.ts', import.meta.url));
const MARK = '// Everything below is written by `npm run fit -- --write`.\n';

const MILLION_ROWS = [0.25, 0.5, 1, 2] as const;
const CHANGES = [50_000, 100_000, 200_000, 400_000] as const;
const TABLES = [25, 50, 100, 200] as const;
const LANES = [2, 4, 8, 12] as const;

const options = parseArgs({
  options: { scale: { type: 'string', default: '1' }, write: { type: 'boolean', default: false } },
});
const scale = Number(options.values.scale);

const tell = (line: string): void => void process.stdout.write(`${line}\n`);

const measure = async (servers: FitServers) => {
  tell('rows …');
  const rows = await measureRows(
    servers,
    MILLION_ROWS.map((millions) => millions * scale),
  );
  tell('tables …');
  const tables = await measureTables(servers, TABLES);
  tell('lanes …');
  const lanes = await measureLanes(servers, LANES);
  tell('apply …');
  const apply = await measureApply(
    servers,
    CHANGES.map((changes) => Math.round((changes * scale) / 5) * 5),
  );
  return { stages: [...rows, ...tables], lanes, apply };
};

const print = (model: FittedModel): void => {
  for (const { part, unit, constants, lines } of [
    ...Object.values(model.stages),
    model.apply,
    model.memory,
    model.window,
  ]) {
    tell(
      `\n${part}: ${Object.entries(constants)
        .map(([name, value]) => `${name} ${value.toPrecision(3)}`)
        .join(', ')}`,
    );
    for (const line of lines) {
      const share = ((line.measured - line.modelled) / line.measured) * 100;
      tell(
        `  ${line.case.padEnd(34)} ${Math.round(line.measured)} ${unit}, model ${Math.round(line.modelled)} (${share.toFixed(0)}% left)`,
      );
    }
  }
  tell(`\nlog of a change: ${Math.round(model.apply.walBytesPerChange)} bytes`);
};

const machine = (): string => {
  const [first] = cpus();
  return `${cpus().length} cores (${first?.model.trim() ?? 'unknown'}), ${Math.round(totalmem() / 2 ** 30)} GB, servers and worker together`;
};

const write = (fit: Fit): void => {
  const [head = ''] = readFileSync(FILE, 'utf8').split(MARK);
  const literal = JSON.stringify(fit, null, 2)
    .replaceAll(/"(\w+)":/g, '$1:')
    .replaceAll(/"((?:[^"\\]|\\.)*)"/g, (_, text: string) => `'${text.replaceAll("'", "\\'")}'`);
  writeFileSync(FILE, `${head}${MARK}export const FIT: Fit = ${literal};\n`);
};

/** By a server's clock, as all times of ours. */
const today = async (url: string): Promise<string> => {
  const [row] = await runSql(url, `SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day`);
  return String(row?.day);
};

const servers = { source: await startServer({ version: 13 }), target: await startServer({ version: 18 }) };
try {
  const measured = await measure(servers);
  const model = fitModel(measured);
  print(model);
  const fit = fitOf(model, {
    date: await today(servers.source.url),
    machine: machine(),
    servers: `PostgreSQL ${servers.source.version} → ${servers.target.version}, shared_buffers 256 MB, fsync on`,
    sizes: `${MILLION_ROWS.map((n) => n * scale).join(', ')} M rows; ${CHANGES.map((n) => n * scale).join(', ')} changes; ${TABLES.join(', ')} tables; ${LANES.join(', ')} lanes`,
  });
  if (options.values.write) write(fit);
  else tell(`\n${JSON.stringify(fit, null, 2)}`);
} finally {
  await Promise.all([servers.source.stopAndRemove(), servers.target.stopAndRemove()]);
}
