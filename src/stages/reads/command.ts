import { ERROR_KINDS } from '../../domain/errors.ts';
import type { Side } from '../../domain/position.ts';
import { isUnproven, proofText } from '../../domain/proof.ts';
import { primarySide } from '../../domain/protocol.ts';
import type { RequestResult } from '../../sidecar/requests.ts';
import type { Phase } from '../machine.ts';
import { assertFollows, assertReadersMay } from './guards.ts';
import { moveReaders, type ReadersTools, readersSaid, resumeReaders } from './move.ts';

/** What executing a command on readers needs of the worker. */
export interface ReadersExecutor extends ReadersTools {
  /** All phases of the run. */
  readonly phases: readonly Phase[];
  /** Opens and starts the lane of the phase's state, unless it runs or is halted. */
  ensureLane(phase: Phase): Promise<void>;
}

/** Carries out the move of the readers of phases to a side. */
export const executeReaders = async (
  worker: ReadersExecutor,
  phases: readonly Phase[],
  to: Side,
): Promise<RequestResult> => {
  const names = phases.map(({ name }) => name);
  const proof = await moveReaders(worker, { to, phases: names }, () => check(worker, phases, to));
  const message = `${readersSaid(names, to)}; ${proofText(proof)}`;
  if (!isUnproven(proof)) return { exitCode: 0, message };
  const remedy = 'mend their path, or lead the router there by hand, then give the command again, which asks again';
  return { exitCode: ERROR_KINDS.unproven.exitCode, message, remedy };
};

/** Goes on with moves of readers that an earlier process has begun. Returns what became of them. */
export const goOnWithReaders = async (
  worker: ReadersExecutor,
  phases: readonly Phase[],
): Promise<readonly string[]> => {
  const names = phases.map(({ name }) => name);
  return await resumeReaders(worker, names, async (some, to) => {
    await check(
      worker,
      worker.phases.filter(({ name }) => some.includes(name)),
      to,
    );
  });
};

/** The lane tells how far behind a side is only while it runs; of the primary nothing has to be known. */
const check = async (worker: ReadersExecutor, phases: readonly Phase[], to: Side): Promise<void> => {
  const { context, signal } = worker;
  for (const phase of phases) if (primarySide(phase.state) !== to) await worker.ensureLane(phase);
  assertReadersMay(context, phases, to);
  await Promise.all(phases.map((phase) => assertFollows(context, { phase, signal }, to)));
};
