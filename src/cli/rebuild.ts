import { SwitchbackError } from '../domain/errors.ts';
import { fillRemedy } from '../domain/remedy.ts';
import type { RunContext } from '../stages/context.ts';
import type { Conclusion } from '../stages/rebuild/conclusion.ts';
import type { PhaseEvidence, SideEvidence, Traces } from '../stages/rebuild/evidence.ts';
import { type Proposal, propose, readersStatementOf, rebuild, statementOf } from '../stages/rebuild/rebuild.ts';
import { type Arguments, type CommandModule, flag, list } from './command.ts';
import { color, findingText, say, sayJson } from './render.ts';

/** Options of `resume` for a run whose sidecars are damaged. */
export const REBUILD_OPTIONS: CommandModule['options'] = {
  rebuild: {
    type: 'boolean',
    default: false,
    describe: 'The sidecars are damaged or gone: show what is left of the run and what follows, ask, and write it',
  },
  primary: {
    type: 'string',
    array: true,
    describe:
      'With --rebuild: PHASE=source or PHASE=target, the side on which the application wrote last, where it cannot be known',
  },
  readers: {
    type: 'string',
    array: true,
    describe:
      'With --rebuild: ROUTER=source, for a router of readers that is gone for good and leads nobody to the target',
  },
  confirm: { type: 'string', describe: 'With --rebuild: the name of the plan, instead of typing it' },
};

/** Throws kind `usage` for options that mean nothing without `--rebuild`. */
export const assertNoRebuildOptions = (args: Arguments): void => {
  const given = ['primary', 'readers', 'confirm'].find((name) => args[name] !== undefined);
  if (given === undefined) return;
  throw new SwitchbackError('usage', `--${given} belongs to --rebuild`, { remedy: 'switchback resume PLAN --rebuild' });
};

/** What rebuilding works with. */
export interface RebuildCommand {
  readonly context: RunContext;
  readonly traces: Traces;
  readonly phases: readonly string[];
  readonly signal: AbortSignal;
  /** Asks; throws kind `usage` unless the answer is the name of the plan. */
  confirm(): Promise<void>;
}

/** Shows, asks, rebuilds. Throws kind `parked` when what is left does not say where the application may write. */
export const rebuildFirst = async (args: Arguments, command: RebuildCommand): Promise<void> => {
  const { context } = command;
  if (command.phases.length > 0) {
    throw new SwitchbackError('usage', 'a rebuild is of the whole run: name no phases', {
      remedy: `switchback resume ${context.plan.path} --rebuild`,
    });
  }
  const stated = new Map(list(args, 'primary').map(statementOf));
  const awayFromTarget = new Set(list(args, 'readers').map(readersStatementOf));
  const options = { context, traces: command.traces, stated, awayFromTarget, signal: command.signal };
  const proposal = await propose(options);
  const { damage, workers, phases } = proposal;
  if (flag(args, 'json')) sayJson({ type: 'proposal', damage, workers, phases });
  else show(proposal, context.plan.path);
  await command.confirm();
  const end = await rebuild(options, proposal);
  if (end.kind === 'parked') throw parked(end.conclusions, context.plan, args);
  if (!flag(args, 'json')) say(color.green('rebuilt; going on with it'));
};

const parked = (conclusions: readonly Conclusion[], plan: RunContext['plan'], args: Arguments): SwitchbackError => {
  const open = conclusions.filter((conclusion) => conclusion.kind === 'parked');
  const given = ['primary', 'readers'].flatMap((name) => list(args, name).map((statement) => `--${name} ${statement}`));
  const wanted = open.map(({ phase }) => `--primary ${phase}=source|target`);
  const why = open.map(({ phase, why: reason }) => `  phase ${phase}: ${reason}`);
  return new SwitchbackError(
    'parked',
    [
      'where the application may write cannot be known from what is left; at most one side accepts writes now:',
      ...why,
    ].join('\n'),
    {
      remedy:
        'find out on which side the application wrote last (its configuration, its newest rows), and state it: ' +
        `switchback resume ${plan.path} --rebuild ${[...given, ...wanted].join(' ')} --confirm ${plan.name}`,
    },
  );
};

const show = (proposal: Proposal, plan: string): void => {
  const { damage, workers, phases } = proposal;
  say(color.bold('what is damaged'));
  if (damage.length === 0) say('  both sidecars are gone');
  for (const { subject, fact } of damage) say(`  ${subject}: ${fact}`);
  for (const worker of workers) say(`  sessions of worker ${worker} are there; they will be ended`);
  for (const { evidence, conclusion } of phases) {
    say();
    say(color.bold(`phase ${evidence.phase}`));
    for (const line of [...evidenceText(evidence), ...conclusionText(conclusion)]) say(`  ${line}`);
    if (conclusion.kind !== 'settled') continue;
    const names = { plan, phase: evidence.phase };
    for (const finding of conclusion.findings)
      say(findingText({ ...finding, remedy: fillRemedy(finding.remedy, names) }));
  }
  say();
};

const evidenceText = (e: PhaseEvidence): readonly string[] => [
  `source: ${sideText(e.source)}`,
  `target: ${sideText(e.target)}`,
  `recorded: ${e.recorded?.name ?? 'no state'}, ${e.switch ? `last switch ${e.switch.id} ${e.switch.outcome ?? 'without an outcome'}` : 'no switch'}; the mirror knew: ${e.mirrored ?? 'nothing'}`,
  ...e.routers.map((router) => `router: ${routerText(router)}`),
];

const routerText = (router: PhaseEvidence['routers'][number]): string => {
  if (router === null) return 'does not answer';
  const leads = router.primary === null ? 'has never been told where to lead' : `leads to the ${router.primary}`;
  return router.held ? `${leads}, keeps clients waiting` : leads;
};

const FENCES: Readonly<Record<SideEvidence['fence'], string>> = {
  all: 'refuses writes',
  some: 'SOME TABLES ACCEPT WRITES',
  none: 'accepts writes',
};

const sideText = (side: SideEvidence): string =>
  [
    side.ownership
      ? `recorded as ${side.ownership.role}, ${side.ownership.fenced ? 'fenced' : 'not fenced'}`
      : 'no record',
    FENCES[side.fence],
    side.isPublished ? 'published' : 'no whole publication',
    side.slots.length === 0
      ? 'no slot'
      : side.slots.map((s) => `slot ${s.name}${s.damage ? ` (${s.damage})` : ''}`).join(', '),
    side.progress ? `lane to it at ${side.progress.position}` : 'no progress of a lane to it',
  ].join('; ');

const conclusionText = (conclusion: Conclusion): readonly string[] => {
  const fence = conclusion.fence ? [`→ the ${conclusion.fence} is fenced first`] : [];
  if (conclusion.kind === 'parked') return [color.red(`→ not known: ${conclusion.why}`), ...fence];
  const { lane, state, primary, because, complete, anew } = conclusion;
  return [
    `→ the ${primary} is the primary: ${because}`,
    ...fence,
    `→ the phase ${state === 'recorded' ? 'is in the state that is recorded' : `is ${state}`}`,
    ...(complete ? [`→ its switch to the ${primary} is completed: the router leads there, and it is lifted`] : []),
    ...(lane ? [laneText(lane)] : []),
    ...(anew ? [color.red("→ the target's tables are emptied and copied anew")] : []),
  ];
};

const laneText = ({
  direction,
  slot,
  rejoin,
  halt,
}: NonNullable<Extract<Conclusion, { kind: 'settled' }>['lane']>): string => {
  if (halt) return color.red(`→ its ${direction} lane is halted: ${halt.fact}`);
  return rejoin
    ? `→ its ${direction} lane takes up again at ${rejoin.confirmed} of slot ${slot}`
    : `→ its ${direction} lane goes on with slot ${slot}`;
};
