/**
 * What is known of a router after a switch: `proven` when the path that its clients take was seen to lead to the side that
 * they were led to, `unproven` when it was asked and was not, `unasked` when the plan names no such path.
 */
export type Verdict = 'proven' | 'unproven' | 'unasked';

/** The verdict on the router of one phase, as the switch's record keeps it. */
export interface RouteProof {
  readonly router: string;
  readonly phase: string;
  readonly verdict: Verdict;
  /** The paths that were asked; for `unproven` also what was met there. No secrets. */
  readonly said: string;
}

/** Whether any router was asked and did not lead its clients where it should. */
export const isUnproven = (proof: readonly RouteProof[]): boolean =>
  proof.some(({ verdict }) => verdict === 'unproven');

/** The verdicts as one line, each text once. */
export const proofText = (proof: readonly RouteProof[]): string => {
  const lines = proof.map(({ router, phase, verdict, said }) =>
    verdict === 'proven' ? `proven by ${said}` : `NOT PROVEN: router ${router} of phase ${phase}: ${said}`,
  );
  return [...new Set(lines)].join('; ');
};
