import { isKind, messageOf, SwitchbackError } from '../domain/errors.ts';
import { isOver, laneDirection } from '../domain/protocol.ts';
import { monotonicMs } from '../platform/clock.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { laneName, writeHalt } from '../sidecar/lanes.ts';
import { type NewRequest, READERS_COMMANDS, type RequestResult } from '../sidecar/requests.ts';
import { certify, repairAndCertify } from './certify.ts';
import { AS_RESTORED, change, changeAsRestored } from './change.ts';
import type { RunContext } from './context.ts';
import { abortPhases, assertAbortable, endingError, endRun, finalisePhases, isEnding, type Remains } from './end.ts';
import { failureOf } from './failure.ts';
import type { Phase } from './machine.ts';
import { proveAgain } from './prove-again.ts';
import { executeReaders, goOnWithReaders } from './reads/command.ts';
import { assertReadersMay } from './reads/guards.ts';
import { releaseStray } from './release-stray.ts';
import { assertProtected } from './snapshots/guards.ts';
import { assertStates } from './switch/guards.ts';
import type { SwitchTools } from './switch/types.ts';
import type { Tenure } from './tenure.ts';

/** What executing a command needs of the worker. */
export interface Executor {
  readonly context: RunContext;
  readonly tenure: Tenure;
  readonly phases: readonly Phase[];
  readonly signal: AbortSignal;
  /** Phases by name, all of them for an empty list. Throws kind `usage`. */
  find(names: readonly string[]): readonly Phase[];
  /** Runs work on phases while nothing else is done to them. */
  exclusively<T>(phases: readonly Phase[], work: () => Promise<T>): Promise<T>;
  switchTools(signal: AbortSignal): SwitchTools;
  /** Opens and starts the lane of the phase's state, unless it runs or is halted. */
  ensureLane(phase: Phase): Promise<void>;
  /** Settles switches that were left half done; returns what became of them. */
  settle(): Promise<readonly string[]>;
  /** Phases whose switch this worker has settled, at its start or since. */
  readonly settled: ReadonlySet<Phase>;
  /** Lets a phase go on after somebody mended what stopped it. */
  revive(phase: Phase): Promise<void>;
  /** Runs work on phases whose stages are ended for it, and begin nothing meanwhile. */
  interrupting<T>(phases: readonly Phase[], work: () => Promise<T>): Promise<T>;
  /** Forgets why a phase could not go on. */
  clear(phase: Phase): Promise<void>;
  /** Tells why a phase cannot go on by itself. */
  block(phase: Phase, error: SwitchbackError): Promise<void>;
  /** There is no run any more. */
  stop(): void;
}

/** The journal's scope of what was asked for, by whom, and how it ended; the step is the command. */
export const COMMAND_SCOPE = 'command';

/**
 * Executes a command on behalf of whoever asked, in the process that holds the lease. Failures come back as a result with
 * their exit code; only being deposed is thrown, because then nothing more may be written. Nothing is begun before the
 * journal says who asked.
 */
export const execute = async (worker: Executor, request: NewRequest): Promise<RequestResult> => {
  try {
    return await executeAsked(worker, request);
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    return failureOf(error, { context: worker.context, command: request.command, signal: worker.signal });
  }
};

const executeAsked = async (worker: Executor, request: NewRequest): Promise<RequestResult> => {
  const begun = monotonicMs();
  const asked = { scope: COMMAND_SCOPE, phases: request.phases, step: request.command };
  const who = `asked by ${request.by}${optionsText(request.options)}`;
  await worker.tenure.record({ ...asked, status: 'begun', detail: who, ms: null });
  const result = await attempt(worker, request);
  const status = result.exitCode === 0 ? 'done' : 'failed';
  const detail = `${who}; exit code ${result.exitCode}: ${result.message}`;
  await recordEnd(worker, { ...asked, status, detail, ms: monotonicMs() - begun });
  return result;
};

const optionsText = (options: NewRequest['options']): string =>
  Object.entries(options)
    .filter(([, isSet]) => isSet)
    .map(([name]) => ` --${name}`)
    .join('');

/** What was done is done: that its end cannot be written is told, and whoever asked gets the answer all the same. */
const recordEnd = async ({ context, tenure }: Executor, line: Parameters<Tenure['record']>[0]): Promise<void> => {
  try {
    // The end of a run takes the journal with it.
    if (await sidecarExists(context.source.sql)) await tenure.record(line);
  } catch (error) {
    context.emit({ type: 'note', phase: null, text: `the command's end was not recorded: ${messageOf(error)}` });
  }
};

const attempt = async (worker: Executor, request: NewRequest): Promise<RequestResult> => {
  try {
    const phases = worker.find(request.phases);
    assertPossible(worker, request.command, phases);
    if (request.command === 'cutover') await assertProtected(worker.context);
    const inTurn = () => worker.exclusively(phases, () => run(worker, request, phases));
    return await (request.command === 'abort' ? worker.interrupting(phases, inTurn) : inTurn());
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    return failureOf(error, { context: worker.context, command: request.command, signal: worker.signal });
  }
};

/** Refuses at once what cannot be done in the phases' states, rather than wait for hours until a copy has ended. */
const assertPossible = (worker: Executor, command: NewRequest['command'], phases: readonly Phase[]): void => {
  const { context, phases: all } = worker;
  if (command === 'cutover') assertStates(phases, { direction: 'forward', all, context });
  if (command === 'failback') assertStates(phases, { direction: 'reverse', all, context });
  if (command === READERS_COMMANDS.target) assertReadersMay(context, phases, 'target');
  if (command === READERS_COMMANDS.source) assertReadersMay(context, phases, 'source');
  for (const phase of phases) {
    const goesOn = command === 'resume' || command === phase.ending?.command;
    if (isEnding(phase) && !goesOn) throw endingError(context, phase);
    if (command === 'verify') assertVerifiable(context, phase);
    if (command === 'abort') assertAbortable(context, phase);
  }
};

const assertVerifiable = (context: RunContext, phase: Phase): void => {
  if (laneDirection(phase.state) !== null && phase.state.name !== 'copying') return;
  throw new SwitchbackError('refused', `phase ${phase.name} is ${phase.state.name}; there is nothing to verify`, {
    remedy: `it has to follow first: switchback status ${context.plan.path}`,
  });
};

const run = async (worker: Executor, request: NewRequest, phases: readonly Phase[]): Promise<RequestResult> => {
  switch (request.command) {
    case 'cutover':
      return await change(worker, 'forward', phases);
    case 'failback':
      return await (request.options[AS_RESTORED] === true
        ? changeAsRestored(worker, phases)
        : change(worker, 'reverse', phases));
    case READERS_COMMANDS.target:
      return await executeReaders(worker, phases, 'target');
    case READERS_COMMANDS.source:
      return await executeReaders(worker, phases, 'source');
    case 'verify':
      return await verify(worker, request, phases);
    case 'resume':
      return await resume(worker, phases);
    case 'abort':
    case 'finalise':
      return await end(worker, request, phases);
    default:
      throw unknownCommand(request.command, worker.context);
  }
};

/** It was asked for by another version, so the types do not rule it out. */
const unknownCommand = (command: never, { plan }: RunContext): SwitchbackError =>
  new SwitchbackError('refused', `command ${String(command)} is not known to the worker's version of Switchback`, {
    remedy: `end the worker, and run the version that you ask with: switchback run ${plan.path}`,
  });

const verify = async (worker: Executor, request: NewRequest, phases: readonly Phase[]): Promise<RequestResult> => {
  const certificates = [];
  let repaired = 0;
  for (const phase of phases) {
    assertVerifiable(worker.context, phase);
    await worker.ensureLane(phase);
    const options = { tenure: worker.tenure, phase, signal: worker.signal };
    if (request.options.repair === true) {
      const outcome = await repairAndCertify(worker.context, options);
      certificates.push(outcome.certificate);
      repaired += outcome.repaired;
    } else {
      certificates.push(await certify(worker.context, options));
    }
    // Differences may have been what it was stuck at.
    await worker.clear(phase);
  }
  const tables = certificates.reduce((sum, c) => sum + c.tables.length, 0);
  const rows = certificates.reduce((sum, c) => sum + c.tables.reduce((n, t) => n + t.rows, 0), 0);
  const mended = repaired > 0 ? `${repaired} rows copied again; ` : '';
  return { exitCode: 0, message: `${mended}${tables} tables, ${rows} rows: equal on both sides`, data: certificates };
};

/** Ends that an earlier process has begun are brought to their end, as they were asked for. */
const goOnEnding = async (worker: Executor, phases: readonly Phase[]): Promise<readonly string[]> => {
  const said: string[] = [];
  for (const command of ['abort', 'finalise'] as const) {
    for (const unfence of [false, true]) {
      const these = phases.filter(
        (phase) => isEnding(phase) && phase.ending?.command === command && phase.ending.unfence === unfence,
      );
      if (these.length === 0) continue;
      for (const phase of these) await worker.clear(phase);
      said.push((await end(worker, { command, options: { unfence, early: true } }, these)).message);
    }
  }
  return said;
};

/** What an earlier process left undone after the last phase had come to its end, if it has. */
const goOnEndingRun = async (worker: Executor): Promise<readonly string[]> => {
  const { context, tenure, phases: all } = worker;
  if (!all.every(({ state }) => isOver(state)) || !(await sidecarExists(context.source.sql))) return [];
  const remains = await endRun({ context, tenure, all });
  return [await tellEnd(worker, 'the run is at its end', remains)];
};

/** Whoever resumes a lane wants to know whether it is halted again at once by the very same thing. */
const PROOF_MS = 3_000;

const resume = async (worker: Executor, phases: readonly Phase[]): Promise<RequestResult> => {
  const said = [...(await worker.settle())];
  said.push(...(await releaseStray(worker.context, phases)));
  said.push(...(await goOnEnding(worker, phases)));
  said.push(...(await goOnEndingRun(worker)));
  const open = phases.filter(({ state }) => !isOver(state));
  for (const phase of open) {
    const direction = laneDirection(phase.state);
    if (direction !== null) {
      await worker.tenure.act((sql) => writeHalt(sql, laneName(phase.name, direction), null));
    }
    await worker.revive(phase);
    await worker.ensureLane(phase);
    const { runner, state } = phase;
    if (runner && state.name !== 'copying') await runner.untilProven(PROOF_MS, worker.signal);
    const halt = runner?.halt;
    if (halt)
      throw new SwitchbackError('halted', `phase ${phase.name} is still halted: ${halt.fact}`, { remedy: halt.remedy });
    said.push(`phase ${phase.name} goes on (${state.name})`);
  }
  // The lanes that tell whether they may be led on are open now; the end of a run takes with it what would be read.
  if (open.length > 0) said.push(...(await goOnWithReaders(worker, open)));
  said.push(...(await proveAgain(worker, [...new Set([...phases, ...worker.settled])])));
  return { exitCode: 0, message: said.length > 0 ? said.join('; ') : 'there is nothing to resume' };
};

const end = async (
  worker: Executor,
  request: Pick<NewRequest, 'command' | 'options'>,
  phases: readonly Phase[],
): Promise<RequestResult> => {
  const remains = await carryOutEnd(worker, request, phases);
  const names = phases.map((phase) => phase.name).join(', ');
  const done = request.command === 'abort' ? 'aborted' : 'finalised';
  return { exitCode: 0, message: await tellEnd(worker, `${names}: ${done}`, remains), data: { remains } };
};

const tellEnd = async (worker: Executor, what: string, remains: Remains): Promise<string> => {
  const { context } = worker;
  const hasEnded = !(await sidecarExists(context.source.sql));
  const message = `${what}; ${leftText(remains, hasEnded)}`;
  if (!hasEnded) return message;
  // Whoever asked from elsewhere cannot be answered any more: the request went with the sidecar.
  context.emit({ type: 'note', phase: null, text: message });
  worker.stop();
  return message;
};

const carryOutEnd = async (
  worker: Executor,
  request: Pick<NewRequest, 'command' | 'options'>,
  phases: readonly Phase[],
): Promise<Remains> => {
  const { context, tenure, signal } = worker;
  const tools = { context, tenure, phases, all: worker.phases, signal };
  const { unfence, early } = request.options;
  try {
    if (request.command === 'abort') return await abortPhases(tools, { unfence: unfence === true });
    return await finalisePhases(tools, { unfence: unfence === true, early: early === true });
  } catch (error) {
    if (isKind(error, 'deposed')) throw error;
    // Half of it may be done: whoever looks at the phase must not take it for what it was.
    const ending = phases.filter(isEnding);
    for (const phase of ending) await worker.block(phase, endingError(context, phase));
    // What an interruption breaks off says only that it was broken off.
    throw signal.aborted && ending[0] ? endingError(context, ending[0]) : error;
  }
};

const leftText = (remains: Remains, hasEnded: boolean): string => {
  if (remains.length > 0) return `what remains:\n${remains.map((line) => `  ${line}`).join('\n')}`;
  return hasEnded ? 'nothing of ours remains' : 'the run goes on with its other phases';
};
