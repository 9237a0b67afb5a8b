import type { Event } from '../../src/domain/event.ts';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import type { Card } from './faults/deck.ts';
import type { Dice, Fault, Moment, World } from './faults/fault.ts';
import { lookAtPhases, sideOfState } from './look.ts';
import { type Answer, Command } from './program.ts';
import { count } from './record.ts';
import { routeNow } from './route.ts';
import { type OnCall, settle, untilReady } from './settle.ts';
import type { PhaseName } from './workloads.ts';

/** A command that has not ended for so long after everything was healed hangs, which is a violation (L1). */
const COMMAND_WITHIN_MS = 150_000;

/** A switch to ask for, or a move of readers alone. */
interface Wanted {
  readonly command: 'cutover' | 'failback';
  readonly phases: readonly PhaseName[];
  readonly areReaders: boolean;
}

/** How often readers are moved instead, where they have a router of their own. */
const READERS_SHARE = 0.3;
/** Steps of such a move at whose beginning a fault can be injected. */
const READERS_STEPS = ['checks', 'intent', 'repoint', 'probe', 'readers'] as const;

/** What a round is played with. */
export interface RoundOptions {
  readonly world: World;
  readonly onCall: OnCall;
  readonly dice: Dice;
}

/**
 * One switch, or one move of readers, under at most one fault: waits until everything is well, asks for it, injects the fault at its moment,
 * heals it, and sees to it that each phase has one writable side again. False when the run cannot go on, which has been
 * told as a violation: what comes after it would say nothing more.
 */
export const playRound = async (options: RoundOptions, card: Card | undefined): Promise<boolean> => {
  const { world, onCall } = options;
  if (!(await untilReady(world, onCall))) return false;
  if (card?.moment === 'between') {
    await healing(options, card, () => suffer(world, card.fault, card.moment));
    return await playRound(options, undefined);
  }
  const wanted = await choose(options);
  if (wanted === undefined || world.signal.aborted) return true;
  if (card !== undefined) {
    await healing(options, card, () => withFault(options, { ...card, wanted }));
    return true;
  }
  await askInCalm(options, wanted);
  await settle(world, onCall, 'a command without a fault');
  return true;
};

/** Whatever becomes of the work, the fault is healed, and then every phase must come to have one writable side. */
const healing = async ({ world, onCall }: RoundOptions, card: Card, work: () => Promise<void>): Promise<void> => {
  try {
    await work();
  } finally {
    await card.fault.heal();
  }
  await settle(world, onCall, `${card.fault.kind} at ${card.moment}`);
};

const withFault = async (
  options: RoundOptions,
  { fault, moment, wanted }: { readonly fault: Fault; readonly moment: Moment; readonly wanted: Wanted },
): Promise<void> => {
  const { world, dice } = options;
  switch (moment) {
    case 'before': {
      const suffering = suffer(world, fault, moment);
      await sleep(dice.between(0, 1_000));
      await Promise.all([suffering, ask(options, wanted).answered]);
      return;
    }
    case 'after':
      await ask(options, wanted).answered;
      if (!world.signal.aborted) await suffer(world, fault, moment);
      return;
    default: {
      const step = wanted.areReaders ? dice.pick(READERS_STEPS) : moment;
      const reached = stepBegun(world, { step, scope: wanted.areReaders ? /^reads-/ : /^(cutover|failback)-/ });
      const { answered } = ask(options, wanted);
      const isReached = await Promise.race([reached.promise, answered.then(() => false)]);
      reached.stop();
      if (isReached) {
        // A moment later, or else everything would always be injected right after the intent was recorded.
        if (dice.chance(0.5)) await sleep(dice.between(1, 40));
        await suffer(world, fault, wanted.areReaders ? `readers' ${step}` : world.supervisor.worker?.step || moment);
      }
      await answered;
    }
  }
};

const suffer = async (world: World, fault: Fault, moment: string): Promise<void> => {
  world.record.fault({ kind: fault.kind, moment }, fault.detail);
  await fault.inject();
  await sleep(fault.lastsMs, world.signal).catch(() => undefined);
  await fault.heal();
};

const stepBegun = (
  world: World,
  { step, scope }: { readonly step: string; readonly scope: RegExp },
): { readonly promise: Promise<boolean>; stop(): void } => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const stop = world.supervisor.listen((event: Event) => {
    if (event.type !== 'step' || event.status !== 'begun' || event.step !== step) return;
    if (scope.test(event.scope)) resolve(true);
  });
  return { promise, stop };
};

/** Without a fault a switch is done, unless the machine is too busy for its guards and its window. */
const CALM_EXITS: ReadonlySet<number> = new Set([0, 4, 5]);

const askInCalm = async (options: RoundOptions, wanted: Wanted): Promise<void> => {
  const { world } = options;
  const answer = await ask(options, wanted).answered;
  if (answer === undefined || CALM_EXITS.has(answer.exitCode)) return;
  world.record.violate(`without a fault ${textOf(wanted)} ended with ${answer.exitCode}: ${messageIn(answer.json)}`);
};

/** Gives the command from a process of its own, elsewhere. The answer is undefined when the run has ended meanwhile. */
const ask = ({ world, onCall }: RoundOptions, wanted: Wanted): { readonly answered: Promise<Answer | undefined> } => {
  const { stage, record } = world;
  const { command, phases, areReaders } = wanted;
  const text = textOf(wanted);
  const args = [command, stage.plan, ...phases, ...(areReaders ? ['--reads'] : ['--confirm', phases.join(',')])];
  const asked = new Command(stage, { place: onCall.place, args, withinMs: COMMAND_WITHIN_MS });
  const stop = () => asked.kill();
  world.signal.addEventListener('abort', stop);
  const answered = asked.answer.then((answer) => {
    world.signal.removeEventListener('abort', stop);
    if (world.signal.aborted) return undefined;
    count(areReaders ? record.readersExits : record.exits, String(answer.exitCode));
    record.note(`${text}: ${answer.exitCode} after ${Math.round(answer.ms)} ms: ${messageIn(answer.json)}`);
    if (answer.isLate) record.violate(`${text} did not end within ${COMMAND_WITHIN_MS / 1000} s`);
    if (kindIn(answer.json) === 'internal') record.violate(`${text} failed within: ${answer.text}`);
    if (areReaders && answer.exitCode === 0) assertLed(world, wanted);
    return answer;
  });
  return { answered };
};

/** Nobody else moves readers meanwhile, so what a command says it has done is there to be seen. */
const assertLed = ({ stage, record }: World, wanted: Wanted): void => {
  const side: Side = wanted.command === 'cutover' ? 'target' : 'source';
  for (const phase of wanted.phases) {
    const led = stage.routeFiles.readers && routeNow(stage.routeFiles.readers, phase)?.primary;
    if (led !== side) record.violate(`${textOf(wanted)} succeeded, and they are led to ${led}`);
  }
};

const textOf = ({ command, phases, areReaders }: Wanted): string =>
  `${command} ${phases.join(' ')}${areReaders ? ' --reads' : ''}`;

const kindIn = (json: Readonly<Record<string, unknown>>): unknown =>
  (json.error as { readonly kind?: unknown } | undefined)?.kind;

const messageIn = (json: Readonly<Record<string, unknown>>): string => {
  const error = json.error as { readonly message?: unknown } | undefined;
  return String(json.message ?? error?.message ?? JSON.stringify(json)).split('\n')[0] ?? '';
};

const choose = async ({ world, dice }: RoundOptions): Promise<Wanted | undefined> => {
  const phases = (await lookAtPhases(world.stage)) ?? [];
  const { readers } = world.stage.routeFiles;
  const areReaders = readers !== undefined && dice.chance(READERS_SHARE);
  const sideOf = ({ name, state }: (typeof phases)[number]): Side | undefined =>
    areReaders ? routeNow(readers, name)?.primary : sideOfState(state);
  const on = (side: Side) => phases.filter((phase) => sideOf(phase) === side).map(({ name }) => name);
  const groups = (['source', 'target'] as const).map((side) => ({ side, names: dice.shuffle(on(side)) }));
  const filled = dice.shuffle(groups.filter(({ names }) => names.length > 0));
  const [group] = filled;
  if (group === undefined) return undefined;
  const names = group.names.length > 1 && dice.chance(0.4) ? group.names : group.names.slice(0, 1);
  return { command: group.side === 'source' ? 'cutover' : 'failback', phases: [...names].sort(), areReaders };
};
