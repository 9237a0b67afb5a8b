import { SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Side } from '../../domain/position.ts';
import { failpoint } from '../../platform/failpoint.ts';
import type { RunContext } from '../context.ts';
import { findDamage } from '../damage.ts';
import { readRunsLeft } from '../open.ts';
import { carryOutEffect } from '../saga.ts';
import { beginRebuild, changed } from './begin.ts';
import { conclude, strandedReaders } from './conclude.ts';
import type { Conclusion, Settled } from './conclusion.ts';
import type { PhaseEvidence } from './evidence.ts';
import { type LookOptions, look, type Remains } from './look.ts';
import {
  type Concluded,
  emptyTarget,
  endRebuild,
  fenceLoser,
  mendMarkers,
  rejoinLane,
  retireLeftovers,
  type WriteOptions,
  writeSource,
  writeTargetOwnership,
} from './write.ts';

/** What was found and what follows from it, before anything is changed. */
export interface Proposal {
  readonly damage: readonly Finding[];
  /** Workers whose sessions will be ended. */
  readonly workers: readonly string[];
  readonly phases: readonly { readonly evidence: PhaseEvidence; readonly conclusion: Conclusion }[];
  /** Read with it. */
  readonly remains: Remains;
}

/**
 * Looks at what is left of a run and concludes what follows. Changes nothing. Throws kind `refused` when nothing is damaged or
 * nothing is left, when the databases or the plan are not the run's, when readers are led to what would be emptied; `usage` for a statement that nothing needs.
 */
export const propose = async (options: LookOptions): Promise<Proposal> => {
  const { context } = options;
  const rows = await readRunsLeft(context);
  const damage = await findDamage(context);
  const remains = await look(options);
  assertSamePlan(context, remains);
  assertNeeded(context, { damage, remains, isBegun: rows.source !== null || rows.target !== null });
  const phases = remains.phases.map(({ evidence }) => ({ evidence, conclusion: conclude(evidence) }));
  assertStatements(options, remains);
  assertStatedReaders(options, remains);
  assertNoneStranded(context, phases);
  return { damage, workers: remains.workers, phases, remains };
};

const assertSamePlan = (context: RunContext, { source, target }: Remains): void => {
  const hash = source.run?.planHash ?? target.run?.planHash;
  if (hash === undefined || hash === context.plan.hash) return;
  throw new SwitchbackError(
    'refused',
    `the run was begun with another version of the plan (${hash.slice(0, 12)}); this is ${context.plan.hash.slice(0, 12)}`,
    {
      remedy: `put the plan back as the run was begun with it, or was last changed to with --accept-plan, then: switchback resume ${context.plan.path} --rebuild`,
    },
  );
};

const assertNeeded = (
  context: RunContext,
  about: { readonly damage: readonly Finding[]; readonly remains: Remains; readonly isBegun: boolean },
): void => {
  if (about.damage.length > 0) return;
  if (about.isBegun) {
    throw new SwitchbackError('refused', 'nothing is damaged: there is nothing to rebuild', {
      remedy: `switchback resume ${context.plan.path}`,
    });
  }
  if (about.remains.phases.some(({ evidence }) => hasTraces(evidence))) return;
  throw new SwitchbackError('refused', 'there is nothing of a run on these databases', {
    remedy: `switchback run ${context.plan.path}`,
  });
};

/** Nobody leads readers while the sidecars are damaged, so a person has to, before the tables that they read are emptied. */
const assertNoneStranded = ({ plan }: RunContext, phases: Proposal['phases']): void => {
  const stranded = phases.flatMap(({ evidence, conclusion }) =>
    strandedReaders(evidence, conclusion).map((reader) => ({ ...reader, phase: evidence.phase })),
  );
  if (stranded.length === 0) return;
  const facts = stranded.map(({ router, phase, answers }) =>
    answers
      ? `router ${router} leads readers of phase ${phase} to the target`
      : `router ${router} of the readers of phase ${phase} cannot be asked where it leads`,
  );
  const names = [...new Set(stranded.map(({ router }) => router))].join(', ');
  throw new SwitchbackError(
    'refused',
    `a phase would be copied anew under its readers, who would find its tables empty: ${facts.join('; ')}`,
    {
      remedy: `lead ${names} to the source by hand, so that it says so, then give the command again: switchback resume ${plan.path} --rebuild${goneText(stranded)}`,
    },
  );
};

/** The way out where a router will not answer any more: the plan cannot be changed while the sidecars are damaged. */
const goneText = (stranded: PhaseEvidence['readers']): string => {
  const silent = [
    ...new Set(stranded.filter(({ answers }) => !answers).map(({ router }) => `--readers ${router}=source`)),
  ];
  if (silent.length === 0) return '';
  return `; where one is gone for good, and nobody is led to the target by it, state that: ${silent.join(' ')}`;
};

/** A router that answers says itself where it leads. */
const assertStatedReaders = ({ context, awayFromTarget }: LookOptions, { phases }: Remains): void => {
  const readers = phases.flatMap(({ evidence }) => evidence.readers);
  for (const name of awayFromTarget) {
    const own = readers.filter(({ router }) => router === name);
    if (own.length === 0) throw new SwitchbackError('usage', `the plan has no router "${name}" of readers`);
    if (own.every(({ isStatedAway }) => isStatedAway)) continue;
    throw new SwitchbackError('usage', `--readers ${name}=source: that router answers, and says where it leads`, {
      remedy: `leave the option out, and lead it to the source where it does not: switchback resume ${context.plan.path} --rebuild`,
    });
  }
};

/** Both sidecars are gone, and yet something of a run is there. */
const hasTraces = ({ source, target }: PhaseEvidence): boolean =>
  source.isPublished || target.isPublished || source.slots.length + target.slots.length > 0;

/** A statement that the records contradict is a mistake, and one that nobody asked for may be one. */
const assertStatements = ({ context, stated }: LookOptions, remains: Remains): void => {
  for (const [phase, side] of stated) {
    const left = remains.phases.find(({ evidence }) => evidence.phase === phase);
    if (!left) throw new SwitchbackError('usage', `the plan has no phase "${phase}"`);
    const without = conclude({ ...left.evidence, stated: null });
    if (without.kind === 'parked') continue;
    throw new SwitchbackError(
      'usage',
      `--primary ${phase}=${side}: that the ${without.primary} is the primary is known (${without.because})`,
      {
        remedy: `leave the option out; to move the phase afterwards: switchback ${side === 'target' ? 'cutover' : 'failback'} ${context.plan.path} ${phase}`,
      },
    );
  }
};

/** How a rebuild ended. */
export type RebuildEnd =
  | { readonly kind: 'rebuilt' }
  | { readonly kind: 'parked'; readonly conclusions: readonly Conclusion[] };

/**
 * Does what was proposed and confirmed. What was left is read once more under the lease, when no earlier worker can change it
 * any more, and has to lead to the same conclusions. A phase that cannot be settled parks the run: then only a fence is
 * set, where both sides would accept writes. May be repeated after a crash at any point.
 */
export const rebuild = async (
  options: LookOptions & { readonly signal: AbortSignal },
  proposal: Proposal,
): Promise<RebuildEnd> => {
  const { context } = options;
  const tenure = await beginRebuild(context, proposal.remains);
  failpoint('acted rebuild/begin');
  try {
    const remains = await look(options);
    const concluded = remains.phases.map((left) => ({ left, conclusion: conclude(left.evidence) }));
    if (!isSame(proposal.phases, concluded)) throw changed();
    return await carryOut({ ...options, tenure, remains }, concluded);
  } finally {
    await tenure.release().catch(() => undefined);
  }
};

/** Slots go on being confirmed, so where they stand is not a part of what was confirmed by a person. */
const isSame = (a: Proposal['phases'], b: readonly Concluded[]): boolean => {
  const text = (conclusions: readonly Conclusion[]): string =>
    JSON.stringify(conclusions, (key, value: unknown) => (key === 'rejoin' ? value !== null : value));
  return text(a.map(({ conclusion }) => conclusion)) === text(b.map(({ conclusion }) => conclusion));
};

const carryOut = async (options: WriteOptions, concluded: readonly Concluded[]): Promise<RebuildEnd> => {
  const stepOf = async (name: string, phases: readonly string[], act: () => Promise<void>): Promise<void> => {
    const where = { scope: 'rebuild', phases };
    // Not probed: what was there was read a moment ago, and every act may be repeated.
    const effect = { act: async () => void (await act()) };
    await carryOutEffect(options.tenure, { where, step: name }, effect);
  };
  const step = (name: string, of: Concluded, act: () => Promise<void>) => stepOf(name, [of.conclusion.phase], act);
  for (const one of concluded) {
    const { fence } = one.conclusion;
    if (fence) await step(`fence ${fence}`, one, () => fenceLoser(options, one, fence));
  }
  const settled = concluded.filter((one): one is Concluded<Settled> => one.conclusion.kind === 'settled');
  if (settled.length < concluded.length) {
    return { kind: 'parked', conclusions: concluded.map(({ conclusion }) => conclusion) };
  }
  for (const one of settled) {
    const { conclusion } = one;
    const lane = conclusion.lane;
    if (conclusion.state === 'planned') await step('rows', one, () => emptyTarget(options, one));
    if (lane?.rejoin) await step('rejoin', one, () => rejoinLane(options, conclusion.phase, lane));
    await step('markers', one, () => mendMarkers(options, one));
  }
  const phases = settled.map(({ conclusion }) => conclusion.phase);
  await stepOf('records', phases, () => writeSource(options, settled));
  for (const one of settled) {
    await step('target', one, () => writeTargetOwnership(options, one));
    await step('slots', one, () => retireLeftovers(options, one));
  }
  await stepOf('end', phases, () => endRebuild(options));
  return { kind: 'rebuilt' };
};

/** A statement of fact as the command line has it: `PHASE=source`. Throws kind `usage`. */
export const statementOf = (text: string): readonly [string, Side] => {
  const at = text.lastIndexOf('=');
  const side = text.slice(at + 1);
  if (at > 0 && (side === 'source' || side === 'target')) return [text.slice(0, at), side];
  throw new SwitchbackError('usage', `--primary ${text} is not PHASE=source or PHASE=target`, {
    remedy:
      '--primary PHASE=source when the application writes to the source, PHASE=target when it writes to the target',
  });
};

/** A statement about a router of readers: `ROUTER=source`. Throws kind `usage`. */
export const readersStatementOf = (text: string): string => {
  const router = text.replace(/=source$/, '');
  if (router !== '' && router !== text) return router;
  throw new SwitchbackError('usage', `--readers ${text} is not ROUTER=source`, {
    remedy: '--readers ROUTER=source, when the router is gone for good and nobody is led to the target by it',
  });
};
