import { isKind, SwitchbackError } from '../../domain/errors.ts';
import { blocks, type Finding } from '../../domain/finding.ts';
import { opposite, sidesOf } from '../../domain/position.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { laneName, writeLane } from '../../sidecar/lanes.ts';
import { readCertificate } from '../../sidecar/records.ts';
import type { Certificate } from '../certificate.ts';
import { proveWhileFollowing } from '../certify.ts';
import type { RunContext } from '../context.ts';
import { haltedError } from '../lane-halt.ts';
import type { Phase } from '../machine.ts';
import { publicationName, slotName } from '../names.ts';
import { routersOf } from '../routes.ts';
import { readScope, scopeFindings } from '../scope.ts';
import { retireUnusedSlot } from '../slots.ts';
import { recordRoutes } from './routing.ts';
import { allOf, runnerOf, type Switch, sideA, sideB } from './types.ts';

/** So many changed keys are compared within the window in a few milliseconds. */
const KEYS_LEFT = 500;
/** What has changed while the slots were made is compared down to this, in a pass that takes a fraction of a second. */
const LAST_KEYS = 50;

const refused = (message: string, remedy: string): SwitchbackError =>
  new SwitchbackError('refused', message, { remedy });

/** The command that a direction is asked for with. */
export const commandOf = (direction: Switch['direction']): 'cutover' | 'failback' =>
  direction === 'forward' ? 'cutover' : 'failback';

/** Refuses phases that are not in a state from which they can switch, or whose turn it is not (`after:`). */
export const assertStates = (
  phases: readonly Phase[],
  options: { readonly direction: Switch['direction']; readonly all: readonly Phase[]; readonly context: RunContext },
): void => {
  const { plan } = options.context;
  for (const phase of phases) {
    const state = phase.state.name;
    const wanted = options.direction === 'forward' ? ['ready', 'following'] : ['soaking'];
    if (!wanted.includes(state)) throw wrongState(phase, options.direction);
    if (options.direction === 'reverse') continue;
    const after = plan.phases.find(({ name }) => name === phase.name)?.after ?? [];
    for (const name of after) {
      const other = options.all.find((p) => p.name === name);
      const gone =
        other?.state.name === 'soaking' || other?.state.name === 'finalised' || phases.includes(other as Phase);
      if (!gone) {
        throw refused(
          `phase ${phase.name} comes after ${name}, which is ${other?.state.name ?? 'unknown'}`,
          `cut over ${name} first, or both together: switchback cutover ${plan.path} ${name} ${phase.name} --confirm ${name},${phase.name}`,
        );
      }
    }
  }
};

/** Refuses phases whose lane is halted. */
export const assertLanes = (phases: readonly Phase[]): void => {
  for (const phase of phases) {
    if (!phase.runner) throw new SwitchbackError('internal', `phase ${phase.name} has no lane open`);
    if (phase.runner.halt) throw haltedError(phase.runner.name, phase.runner.halt);
  }
};

const wrongState = (phase: Phase, direction: Switch['direction']): SwitchbackError => {
  const { name } = phase.state;
  const command = commandOf(direction);
  if (direction === 'reverse' && name === 'finalised') {
    return refused(
      `phase ${phase.name} is finalised: its way back was given up`,
      'restore from a snapshot, or migrate anew; what was done says: switchback report PLAN',
    );
  }
  if (direction === 'reverse') {
    return refused(
      `phase ${phase.name} is ${name}; only a soaking phase can fail back`,
      'the source is its primary already: switchback status PLAN',
    );
  }
  return refused(
    `phase ${phase.name} is ${name}; a ${command} needs it to be ready`,
    name === 'soaking'
      ? 'it is cut over already: switchback status PLAN'
      : 'see what it waits for: switchback status PLAN',
  );
};

/** Everything that is looked at before the window, in order of what it costs. Any of it refuses. */
export const checkBeforeWindow = async (s: Switch): Promise<void> => {
  await assertPreflight(s);
  // Asked once more right before the intent; one that does not answer need not cost a verification.
  const names = s.phases.map((phase) => phase.name);
  await recordRoutes(routersOf(s.tools.context, names));
  for (const phase of s.phases) await assertCertificate(s, phase);
  await Promise.all(s.phases.map((phase) => assertLag(s, phase)));
  for (const phase of s.phases) {
    await sideA(s).database.sequences.read(phase.scope.sequences);
    await sideB(s).database.sequences.read(phase.scope.sequences);
  }
  for (const phase of s.phases) await leaveFewKeys(s, phase, KEYS_LEFT);
  await allOf(s.phases, (phase) => proveWayBack(s, phase));
  await allOf(s.phases, (phase) => leaveFewKeys(s, phase, LAST_KEYS));
};

const assertPreflight = async (s: Switch): Promise<void> => {
  const { context } = s.tools;
  const names = new Set(s.phases.map((phase) => phase.name));
  const now = await readScope(context, sidesOf(s.direction).from);
  const scope = { phases: new Map(s.phases.map((p) => [p.name, p.scope])), ignored: now.ignored };
  const findings = [
    ...(s.direction === 'forward' ? scopeFindings(now, names) : scopeFindings(now, names).map(lessSevere)),
    ...(await context.preflight({ scope, begun: names, schemaReady: true })),
  ];
  for (const finding of findings) context.emit({ type: 'finding', phase: null, finding });
  if (!blocks(findings)) return;
  const list = findings.filter((f) => f.severity === 'blocks').map((f) => `  ${f.subject}: ${f.fact}; ${f.remedy}`);
  throw new SwitchbackError('findings', ['findings block the switch:', ...list].join('\n'), {
    findings,
    remedy: `mend what is named, look again, then give the command again: switchback check ${context.plan.path}`,
  });
};

/** A new table on the target is no reason to stay there: going back leaves it behind. A new partition holds the phase's rows. */
const lessSevere = (finding: Finding): Finding =>
  finding.id === 'plan/new-partition' ? finding : { ...finding, severity: 'warns' };

/** A cutover wants a certificate younger than the plan says; both directions want every change since it to be known. */
const assertCertificate = async (s: Switch, phase: Phase): Promise<void> => {
  const { context, signal } = s.tools;
  const stored = await readCertificate<Certificate>(context.source.sql, phase.name);
  const { touched } = runnerOf(phase);
  const known = touched.complete && !touched.hasWholeKeyedTable(phase.scope.tables);
  const fresh =
    s.direction === 'reverse' || (stored?.document.clean === true && stored.ageMs <= context.plan.verify.freshForMs);
  if (known && fresh && stored?.document.clean === true) return;
  const why = known ? 'its certificate is not fresh' : 'this worker has not seen every change since its certificate';
  context.emit({ type: 'note', phase: phase.name, text: `verifying before the switch: ${why}` });
  await s.tools.certify(phase, signal);
};

/** A lane that is kept going, and when to stop waiting for it. */
export interface Followed {
  readonly phase: Phase;
  readonly signal: AbortSignal;
}

/** Measures what a drain takes now, in milliseconds, rather than trust an old figure. Refuses when it is over max_lag. */
export const measureLag = async ({ plan }: RunContext, { phase, signal }: Followed): Promise<number> => {
  const begun = monotonicMs();
  try {
    await runnerOf(phase).drain({ budgetMs: plan.switch.maxLagMs, signal });
  } catch (error) {
    // A lane that cannot go on for now is as far behind as one that is slow; its own error says why.
    if (!isKind(error, 'aborted') && !isKind(error, 'busy')) throw error;
    throw refused(
      `lane ${runnerOf(phase).name} is more than ${plan.switch.maxLagMs} ms behind: ${error.message}`,
      'wait until the lag falls: switchback status PLAN --watch; or raise switch.max_lag',
    );
  }
  return monotonicMs() - begun;
};

const assertLag = async (s: Switch, phase: Phase): Promise<void> => {
  const { plan } = s.tools.context;
  const ms = await measureLag(s.tools.context, { phase, signal: s.tools.signal });
  if (ms > plan.switch.windowMs) {
    throw refused(
      `a drain takes ${Math.round(ms)} ms, longer than the window`,
      'wait until the lag falls: switchback status PLAN --watch; or raise switch.window',
    );
  }
};

/** Compares what has changed since the certificate now, so that the proof within the window is about what changes last. */
const leaveFewKeys = async (s: Switch, phase: Phase, atMost: number): Promise<void> => {
  const { touched } = runnerOf(phase);
  if (touched.complete && touched.size > atMost) await proveWhileFollowing(s.tools.context, phase, s.tools.signal);
};

/** Makes the slot of the lane B→A now: that it can be had is the strongest proof that it can be had in the window. */
const proveWayBack = async (s: Switch, phase: Phase): Promise<void> => {
  const { tenure, context } = s.tools;
  const direction = opposite(s.direction);
  const slot = slotName(context, phase.name, { direction, generation: s.id });
  const name = laneName(phase.name, direction);
  await retireUnusedSlot(s.tools, phase.name, direction);
  await tenure.act((sql) =>
    writeLane(sql, {
      name,
      phase: phase.name,
      direction,
      slot,
      publication: publicationName(context, phase.name),
      halt: null,
    }),
  );
  const runner = s.tools.runnerFor(phase.scope, direction, slot);
  s.wayBack.set(phase.name, runner);
  await runner.open({ kind: 'reserve' });
};
