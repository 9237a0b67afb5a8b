import type { ErrorKind } from '../../domain/errors.ts';
import type { HttpAnswer, HttpEnd } from '../../platform/http.ts';

/** What the end of one request says of what was asked for. */
export interface Verdict {
  readonly kind: Extract<ErrorKind, 'unreachable' | 'refused' | 'unknown'>;
  /** Whether the same request, with the same key, is made again while there is time. */
  readonly isRepeated: boolean;
  /** As a part of a sentence whose subject is the receiver. */
  readonly what: string;
  readonly remedy: string;
}

const TRY_AGAIN = 'see what it did; it is asked again';
const NOT_KNOWN = { isRepeated: true, remedy: TRY_AGAIN, kind: 'unknown' } as const;
const NOT_TRUSTED = {
  kind: 'refused',
  isRepeated: false,
  remedy: 'give the receiver the same secret, and see that both clocks are right',
} as const;

/** Of statuses that say more than that something is wrong. Whoever answers 429 or 503 has changed nothing. */
const STATUSES: Readonly<Record<number, Pick<Verdict, 'kind' | 'isRepeated' | 'remedy'>>> = {
  401: NOT_TRUSTED,
  403: NOT_TRUSTED,
  409: {
    kind: 'refused',
    isRepeated: false,
    remedy: 'see who else repoints it, and where it leads: switchback status PLAN',
  },
  429: { kind: 'unreachable', isRepeated: true, remedy: 'let the receiver take more requests' },
  502: NOT_KNOWN,
  503: { kind: 'unreachable', isRepeated: true, remedy: 'see why the receiver cannot do it now' },
  504: NOT_KNOWN,
};

/** Whether what was asked for is done. */
export const isDone = ({ status }: HttpAnswer): boolean => status >= 200 && status < 300;

/** What an end says when nothing is done, as far as is known. */
export const verdictOf = (end: HttpEnd): Verdict => {
  if (end.how === 'absent') {
    const remedy = 'mend what keeps us from it: its address, its certificate, or that it is not started';
    return { kind: 'unreachable', isRepeated: false, what: 'could not be reached', remedy };
  }
  if (end.how === 'lost') return { ...NOT_KNOWN, what: 'gave no answer' };
  const { status } = end.answer;
  const what = `answered with status ${status}`;
  const known = STATUSES[status];
  if (known !== undefined) return { ...known, what };
  if (status >= 500) return { ...NOT_KNOWN, isRepeated: false, what };
  const remedy =
    status < 400
      ? "write where it leads to as the router's url: redirects are not followed"
      : 'mend what the receiver does not like, then resume';
  return { kind: 'refused', isRepeated: false, what, remedy };
};
