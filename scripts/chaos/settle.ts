import { monotonicMs, sleep } from '../../src/platform/clock.ts';
import type { World } from './faults/fault.ts';
import { lookAtPhases, sideOfState } from './look.ts';
import type { Prober } from './prober.ts';
import { Command, type Place } from './program.ts';
import { count } from './record.ts';
import { agreedRoute } from './route.ts';
import { PHASE_NAMES } from './workloads.ts';

/** L2: from every crash state a command brings one writable side back within this time, in milliseconds. */
const RECOVERY_WITHIN_MS = 60_000;
/** Left alone for so long first, because most of what is under way ends by itself. */
const PATIENCE_MS = 3_000;
/** How long a healthy worker may take until every phase can switch again: it verifies after a failback. */
const READY_WITHIN_MS = 120_000;
const LOOK_MS = 100;

/** What settling needs besides the world: whoever is on call, on a machine that has not seen the run. */
export interface OnCall {
  readonly prober: Prober;
  readonly place: Place;
}

/**
 * Whether every phase can be written at exactly one side, where all routers lead its clients without holding them. Judged by probes
 * that were begun after the call, so it takes a moment.
 */
export const isSettled = async (world: World, { prober }: OnCall): Promise<boolean> => {
  const sinceMs = monotonicMs();
  while (!PHASE_NAMES.every((phase) => (prober.result(phase)?.atMs ?? 0) >= sinceMs)) {
    if (world.signal.aborted) return false;
    await sleep(20);
  }
  return PHASE_NAMES.every((phase) => {
    const side = prober.writableSide(phase, sinceMs);
    const route = agreedRoute(world.stage.routeFiles.writers, phase);
    return side !== undefined && route?.primary === side && !route.held;
  });
};

/**
 * After a fault has been healed: exactly one writable side for each phase, by itself within a moment or by the commands
 * that `status` prints, within 60 s of the first of them. What is not so is a violation.
 */
export const settle = async (world: World, onCall: OnCall, after: string): Promise<void> => {
  const patientUntil = monotonicMs() + PATIENCE_MS;
  while (monotonicMs() < patientUntil) {
    if (await isSettled(world, onCall)) return;
    if (world.signal.aborted) return;
    await sleep(LOOK_MS);
  }
  const begun = monotonicMs();
  const said = await bringBack(world, onCall, begun);
  if (world.signal.aborted) return;
  if (said.isSettled) world.record.recovered({ after, command: said.command, ms: monotonicMs() - begun });
  else world.record.violate(`not one writable side ${RECOVERY_WITHIN_MS / 1000} s after ${after}: ${said.command}`);
};

const bringBack = async (
  world: World,
  onCall: OnCall,
  begun: number,
): Promise<{ readonly isSettled: boolean; readonly command: string }> => {
  const said: string[] = [];
  while (monotonicMs() - begun < RECOVERY_WITHIN_MS && !world.signal.aborted) {
    const leftMs = RECOVERY_WITHIN_MS - (monotonicMs() - begun);
    const [words] = await printedCommands(world, onCall);
    if (words !== undefined) {
      const command = new Command(world.stage, { place: onCall.place, args: words, withinMs: leftMs });
      // It may be settled while the command still does what nobody waits for.
      const over = command.answer.then((answer) =>
        said.push(`${words[0]} ended with ${answer.exitCode}: ${answer.text}`),
      );
      await Promise.race([over, untilSettled(world, onCall, leftMs)]);
      if (await isSettled(world, onCall)) {
        await over;
        return { isSettled: true, command: `switchback ${words[0]}` };
      }
      await over;
    } else if (await isSettled(world, onCall)) {
      return { isSettled: true, command: 'nothing' };
    }
    await sleep(LOOK_MS);
  }
  return { isSettled: await isSettled(world, onCall), command: said.slice(-3).join(' | ') };
};

const untilSettled = async (world: World, onCall: OnCall, withinMs: number): Promise<void> => {
  const until = monotonicMs() + withinMs;
  while (monotonicMs() < until && !world.signal.aborted && !(await isSettled(world, onCall))) await sleep(LOOK_MS);
};

/** The commands with which `status` says that a phase can be brought back or let go on, without the program's name. */
const printedCommands = async (world: World, onCall: OnCall): Promise<readonly (readonly string[])[]> => {
  const { stage } = world;
  const status = new Command(stage, { place: onCall.place, args: ['status', stage.plan], withinMs: 20_000 });
  const { json } = await status.answer;
  const phases = (json.phases ?? []) as readonly { readonly name: string; readonly next: readonly string[] }[];
  const lines = phases.flatMap(({ next }) => next.filter((line) => line.startsWith('switchback resume ')).slice(0, 1));
  return [...new Set(lines)].map((line) => line.split(' ').slice(1));
};

/**
 * Waits until a worker serves and every phase could switch again. Lanes and phases that were stopped by a finding are
 * resumed as `status` says; one that does not go on is a violation, as is a divergence, whatever became of it.
 */
export const untilReady = async (world: World, onCall: OnCall): Promise<boolean> => {
  const { stage, supervisor, record } = world;
  supervisor.turnOn();
  const until = monotonicMs() + READY_WITHIN_MS;
  let obstacles = '';
  while (monotonicMs() < until && !world.signal.aborted) {
    const phases = await lookAtPhases(stage);
    obstacles = (phases ?? []).flatMap((phase) => phase.obstacles.map((id) => `${phase.name} ${id}`)).join(', ');
    const isReady = phases?.length === PHASE_NAMES.length && phases.every((p) => sideOfState(p.state) !== undefined);
    if (isReady && obstacles === '' && supervisor.isServing) return true;
    if (obstacles !== '') await overcome(world, onCall, obstacles);
    await sleep(LOOK_MS);
  }
  if (!world.signal.aborted) {
    const phases = await lookAtPhases(stage);
    const states = phases?.map((phase) => `${phase.name} is ${phase.state}`).join(', ') ?? 'the source does not answer';
    record.violate(`no worker serves ${READY_WITHIN_MS / 1000} s after everything was healed: ${states}; ${obstacles}`);
  }
  return false;
};

const overcome = async (world: World, onCall: OnCall, obstacles: string): Promise<void> => {
  const { record } = world;
  for (const obstacle of obstacles.split(', ')) count(record.obstacles, obstacle);
  if (/divergence|slot-lost|schema-changed|mismatch/.test(obstacles)) record.violate(`stopped by ${obstacles}`);
  const commands = await printedCommands(world, onCall);
  const texts = commands.map((words) => `switchback ${words.join(' ')}`);
  record.note(`stopped by ${obstacles}; ${texts.join('; ') || 'and status prints no resume'}`);
  for (const args of commands) {
    await new Command(world.stage, { place: onCall.place, args, withinMs: RECOVERY_WITHIN_MS }).answer;
  }
};
