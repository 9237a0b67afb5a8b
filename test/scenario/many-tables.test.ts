import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manyPhases, manyTablesSql } from '../../scripts/bench/many-tables.ts';
import type { RunningServer } from '../../src/demo/servers.ts';
import { Worker } from '../../src/stages/worker.ts';
import { makeScenario, type Scenario, scenarioOn } from '../support/scenario.ts';
import { useServerPair } from '../support/servers.ts';

/**
 * What Switchback asks does not grow with the number of tables and phases: the servers write every statement to their logs,
 * and what our sessions have sent is counted there, for a database of 100 tables in 4 phases and one of 600 in 24. A statement
 * for each table or each phase is seen whatever the machine's speed is.
 */
const servers = useServerPair({ log_statement: 'all', log_line_prefix: '%a|', max_locks_per_transaction: '256' });
const FEW = 100;
const MANY = 600;
const MORE = 'switch: { window: 60s, max_lag: 30s }';

/** Sent again and again as time goes by, so that their number says nothing. */
const BY_THE_CLOCK =
  /switchback[."]+(marker|lease|request|lag|progress|mirror|chain_end|journal)\b|^(BEGIN|COMMIT|SET )/;

const logOf = (server: RunningServer): string => readFileSync(join(server.directory, 'server.log'), 'utf8');

/** Statements that our sessions send to both sides while the work is done. */
const sentDuring = async (work: () => Promise<unknown>): Promise<readonly string[]> => {
  const both = [servers().source, servers().target];
  const before = both.map((server) => logOf(server).length);
  await work();
  const written = both.map((server, at) => logOf(server).slice(before[at]));
  return written
    .flatMap((log) => [...log.matchAll(/^switchback\/.*?\|LOG: {2}(?:statement|execute [^:]*): (.*)/gm)])
    .map(([, text = '']) => text);
};

const makeSide = async (tables: number): Promise<Scenario> =>
  await makeScenario(servers(), {
    name: `many_${tables}`,
    schema: manyTablesSql(tables, { rows: 0 }).join('\n'),
    phases: manyPhases(tables),
    more: MORE,
  });

let few: Scenario;
let many: Scenario;
beforeAll(async () => {
  few = await makeSide(FEW);
  many = await makeSide(MANY);
});
afterAll(async () => {
  await few?.close();
  await many?.close();
});

const counts = async (work: (scenario: Scenario) => Promise<unknown>) => ({
  few: (await sentDuring(() => work(few))).length,
  many: (await sentDuring(() => work(many))).length,
});

/** The most that two counts of the same work may differ by, for what a moment brings; far below one for each phase. */
const ABOUT = 8;

describe('600 tables in 24 phases are asked about by as many statements as 100 in 4', () => {
  it.each(['check', 'show'])('%s', async (name) => {
    const { few: small, many: large } = await counts(({ run }) => run.command(name, run.plan));
    expect(small).toBeGreaterThan(0);
    expect(large - small).toBeLessThanOrEqual(ABOUT);
  });

  it('a worker that begins, and status of what it began', async () => {
    const begun = await counts(async ({ run }) => {
      const { context, close } = await run.compose();
      await (await Worker.open(context)).close();
      await close();
    });
    expect(begun.many - begun.few).toBeLessThanOrEqual(ABOUT);
    const looked = await counts(({ run }) => run.command('status', run.plan));
    expect(looked.many - looked.few).toBeLessThanOrEqual(ABOUT);
    const { json } = await many.run.command('status', many.run.plan);
    expect(json.phases).toHaveLength(MANY / 25);
    const ended = await counts(({ run }) => run.command('abort', run.plan, '--confirm', 'test'));
    // Each phase is ended by itself: a few statements each, none for a table.
    expect(ended.many).toBeLessThan(MANY);
  });

  it('one phase among them, prepared, copied, verified, cut over', async () => {
    const through = async (scenario: Scenario): Promise<readonly string[]> => {
      const alone = scenarioOn(scenario, { phases: manyPhases(FEW).slice(0, 1), ignore: ['*.*'], more: MORE });
      try {
        return await sentDuring(async () => {
          const worker = alone.worker();
          await alone.untilState(worker, 'ready', 'p000');
          await alone.change('cutover', 'p000');
          await worker.stop();
        });
      } finally {
        await alone.run.remove();
      }
    };
    const byTables = (sent: readonly string[]) => sent.filter((text) => !BY_THE_CLOCK.test(text)).length;
    const small = byTables(await through(few));
    const large = byTables(await through(many));
    expect(small).toBeGreaterThan(100);
    expect(large - small).toBeLessThan((MANY - FEW) / 5);
  });
});
