import { SwitchbackError } from '../domain/errors.ts';
import { proofText } from '../domain/proof.ts';
import { lastProof, readMovedPhases, readSwitches, SWITCHES_ASKED_OF } from '../sidecar/switches.ts';
import type { RunContext } from './context.ts';
import type { Phase } from './machine.ts';
import { observeRoutes } from './routes.ts';

/**
 * Where a router leads clients to the side that is not the primary, only the fence there keeps their writes from being lost,
 * so it must not go: throws kind `refused`. A router that cannot be asked keeps nobody from ending a run.
 */
export const assertLedRight = async (context: RunContext, phases: readonly Phase[]): Promise<void> => {
  const routes = await observeRoutes(context, phases);
  const wrong = routes.find(({ primary, trouble }) => primary !== null && trouble !== null);
  if (!wrong?.trouble) return;
  const { fact, remedy } = wrong.trouble;
  throw new SwitchbackError('refused', `phase ${wrong.label}: ${fact}`, {
    remedy: `${remedy}; then give the command again`,
  });
};

/**
 * Clients that were asked for after the last switch and not seen on its side may still come to the other one, whatever the router
 * says: throws kind `refused`. An end that has begun to take fences away was asked for this before it began, and the `resume`
 * that asks again first goes on with it.
 */
export const assertSeenToArrive = async (context: RunContext, phases: readonly Phase[]): Promise<void> => {
  const switches = await readSwitches(context.source.sql, SWITCHES_ASKED_OF);
  for (const { name, ending, state } of phases) {
    const proof = lastProof(switches, name).filter(({ verdict }) => verdict === 'unproven');
    if (proof.length === 0 || ending?.unfence === true || state.name === 'aborted') continue;
    throw new SwitchbackError(
      'refused',
      `phase ${name}: its clients were not seen to arrive after the last switch: ${proofText(proof)}`,
      {
        remedy: `mend the path, or lead them there by hand, and have it asked again: switchback resume ${context.plan.path} ${name}; then give the command again`,
      },
    );
  }
};

/**
 * The loser of a switch stays fenced, after a failback as after a cutover: a client that still has the target's address gets an
 * error, never a lost write. An abort would let it write where nobody looks, so somebody has to say that there is none:
 * throws kind `refused`.
 */
export const assertNeverMoved = async (context: RunContext, phases: readonly Phase[]): Promise<void> => {
  const moved = new Set(await readMovedPhases(context.source.sql));
  const phase = phases.find(
    ({ name, ending, state }) => moved.has(name) && state.name !== 'aborted' && !ending?.unfence,
  );
  if (!phase) return;
  const { name } = phase;
  throw new SwitchbackError('refused', `phase ${name} has been on the target, whose fence an abort takes away`, {
    remedy: `when no client has the target's address any more: switchback abort ${context.plan.path} ${name} --unfence --confirm ${name}`,
  });
};

/** Throws kind `refused` for a phase whose soak is not over, unless it may be ended early. */
export const assertFinalisable = async (context: RunContext, phase: Phase, early: boolean): Promise<void> => {
  const { state } = phase;
  if (state.name === 'finalised') return;
  if (state.name !== 'soaking') {
    throw new SwitchbackError(
      'refused',
      `phase ${phase.name} is ${state.name}; only a soaking phase can be finalised`,
      {
        remedy: `switchback status ${context.plan.path}`,
      },
    );
  }
  const { rows } = await context.source.sql.query('SELECT extract(epoch from now() - $1::timestamptz) * 1000 AS age', [
    state.since,
  ]);
  const left = context.plan.soak.forMs - Number(rows[0]?.age ?? 0);
  if (left > 0 && !early) {
    throw new SwitchbackError('refused', `phase ${phase.name} soaks for another ${(left / 3_600_000).toFixed(1)} h`, {
      remedy: `wait, or give up the way back now: switchback finalise ${context.plan.path} ${phase.name} --early --confirm ${phase.name}`,
    });
  }
};
