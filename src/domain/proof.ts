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

const HEADS: Readonly<Record<Verdict, string>> = { proven: 'proven', unproven: 'NOT PROVEN', unasked: 'not proven' };

const verdictText = ({ router, phase, verdict, said }: RouteProof): string =>
  verdict === 'proven'
    ? `${HEADS.proven} by ${said}`
    : `${HEADS[verdict]}: router ${router} of phase ${phase}: ${said}`;

/** The verdicts as one line, each text once. */
export const proofText = (proof: readonly RouteProof[]): string => [...new Set(proof.map(verdictText))].join('; ');
