import { SwitchbackError } from '../domain/errors.ts';
import type { Plan } from '../plan/load.ts';
import type { PhaseScope } from '../stages/context.ts';
import { ESTIMATED_STAGES, estimatePhase, type PhaseEstimate, sizeOf } from '../stages/estimate/estimate.ts';
import { FIT } from '../stages/estimate/fit.ts';
import { readScope } from '../stages/scope.ts';
import { describeSteps } from '../stages/switch/steps.ts';
import { type CommandModule, flag, list, withPlan } from './command.ts';
import { bytesText, color, countText, durationText, say, sayJson, table } from './render.ts';

const summary = (phase: PhaseScope) => {
  const { rows, bytes, tables } = sizeOf(phase);
  return { phase: phase.name, tables, rows, bytes, estimate: estimatePhase({ tables, rows, bytes }) };
};

/** Where the estimates come from, and what corrects them. */
const ORIGIN = `estimates: a model fitted on ${FIT.machine}, ${FIT.date}; the run's own times are in: switchback report`;

const FIT_ORIGIN = { machine: FIT.machine, date: FIT.date, servers: FIT.servers };

const estimateText = (estimate: PhaseEstimate): string =>
  ESTIMATED_STAGES.map((stage) => `${stage} ${durationText(estimate[stage])}`).join(', ');

const PREPARE_STEPS = [
  { step: 'sidecars', does: 'schema switchback in both databases', undo: 'abort' },
  { step: 'schema', does: "the target's tables, as the plan says", undo: 'abort drops what was created' },
  { step: 'fence target', does: 'nobody but us writes to the tables on the target', undo: 'abort' },
  { step: 'defer indexes', does: 'indexes and foreign keys on the target wait for the rows', undo: 'abort' },
  { step: 'publish', does: 'a publication on each side', undo: 'abort' },
  { step: 'slot', does: 'the change stream begins here', undo: 'abort' },
  { step: 'copy', does: 'rows in chunks, several at once', undo: 'abort' },
  { step: 'catch up', does: 'changes since the slot; then indexes, foreign keys, statistics', undo: 'abort' },
  { step: 'verify', does: 'digests of every table, computed by both servers', undo: '–' },
] as const;

const SNAPSHOT_STEP = {
  step: 'snapshot',
  does: 'a safety copy of the source, once for all phases',
  undo: 'snapshot prune',
};

/** What preparing a phase of a plan does. */
const prepareSteps = ({ snapshots }: Plan) =>
  snapshots?.before.includes('prepare') ? [PREPARE_STEPS[0], SNAPSHOT_STEP, ...PREPARE_STEPS.slice(1)] : PREPARE_STEPS;

const assertKnown = (wanted: readonly string[], known: readonly string[]): void => {
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new SwitchbackError('usage', `the plan has no phase "${unknown}"`, {
    remedy: `its phases are: ${known.join(', ')}`,
  });
};

/** `show`: the dry run. Every step with its undo and its estimate. */
export const show: CommandModule = {
  usage: 'show <plan> [phases..]',
  describe: 'Show every step with its undo and its estimate; changes nothing',
  options: {},
  run: async (args) =>
    await withPlan(
      args,
      () => undefined,
      async (context) => {
        const scope = await readScope(context);
        const wanted = list(args, 'phases');
        assertKnown(wanted, [...scope.phases.keys()]);
        const phases = [...scope.phases.values()].filter((p) => wanted.length === 0 || wanted.includes(p.name));
        const data = phases.map((phase) => ({
          ...summary(phase),
          prepare: prepareSteps(context.plan),
          cutover: describeSteps({ direction: 'forward', tables: phase.tables }),
          failback: describeSteps({ direction: 'reverse', tables: phase.tables }),
        }));
        if (flag(args, 'json')) {
          sayJson({ ok: true, windowMs: context.plan.switch.windowMs, fit: FIT_ORIGIN, phases: data });
          return 0;
        }
        for (const phase of data) {
          say(color.bold(`phase ${phase.phase}`));
          say(
            `${phase.tables} tables, about ${countText(phase.rows)} rows, ${bytesText(phase.bytes)}; about ${estimateText(phase.estimate)}`,
          );
          say(table([['step', 'does', 'undone by'], ...phase.prepare.map((s) => [`  ${s.step}`, s.does, s.undo])]));
          say(`cutover, within ${durationText(context.plan.switch.windowMs)} or undone:`);
          say(
            table(
              phase.cutover.map((s) => [
                `  ${s.step}`,
                s.does.length > 90 ? `${s.does.slice(0, 89)}…` : s.does,
                s.undo,
              ]),
            ),
          );
          say('failback: the same with source and target swapped');
          say();
        }
        say(ORIGIN);
        say(`next: switchback run ${context.plan.path}`);
        return 0;
      },
    ),
};
