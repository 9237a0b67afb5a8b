import { proofText } from '../domain/proof.ts';
import { primarySide } from '../domain/protocol.ts';
import { type ObservedSessions, sessionsText } from '../stages/sessions-left.ts';
import type { PhaseStatus } from '../stages/status.ts';
import { color, say } from './render.ts';

/** Prints whether clients were seen to arrive after each phase's last switch, and who is still where it led away from. */
export const printProofs = (phases: readonly PhaseStatus[], left: readonly ObservedSessions[]): void => {
  for (const { name, state, proof } of phases) {
    if (proof.length === 0) continue;
    const isGood = proof.every(({ verdict }) => verdict === 'proven');
    say(
      `${isGood ? color.green('proof') : color.yellow('proof')}  ${name} on the ${primarySide(state)}: ${proofText(proof)}`,
    );
  }
  for (const { side, sessions, primaryOf, readOf } of left) {
    const owners = primaryOf.length === 0 ? '' : `; phase ${primaryOf.join(', ')} is there, and they may be its own`;
    const readers = readOf.length === 0 ? '' : `; readers of phase ${readOf.join(', ')} are led there`;
    say(`${color.yellow('left')}   on the ${side}: ${sessionsText(sessions)}${owners}${readers}`);
  }
};
