import type { Side } from '../../../src/domain/position.ts';
import { FIRST_ACCOUNTS, FIRST_BALANCE, type PhaseName } from '../workloads.ts';
import type { Control } from './plant.ts';

/** What a reader found where it was led. */
export interface Look {
  readonly phase: PhaseName;
  readonly side: Side;
  /** Of accounts all of them; of lists at most one, which is enough to tell that there are any. */
  readonly rows: number;
  /** Of accounts, the sum of all balances. */
  readonly total: number;
}

/** Where a router leads a phase when all is over. */
export interface Led {
  readonly router: string;
  /** Null when its file says nothing. */
  readonly side: Side | null;
  readonly held: boolean;
}

/** A phase's routers when all is over. */
export interface RoutingEnd {
  readonly phase: PhaseName;
  readonly primary: Side;
  readonly writers: readonly Led[];
  /** Null without a router of readers. `to` and `isDone` are the last move's, as recorded; null before the first. */
  readonly readers: { readonly side: Side | null; readonly to: Side | null; readonly isDone: boolean } | null;
}

/** What is wrong with what a reader found: tables that were emptied under it, or half a transaction. */
export const lookProblem = ({ phase, side, rows, total }: Look): string | undefined => {
  const where = `readers of ${phase} are led to the ${side}, where`;
  if (rows === 0) return `${where} there are no rows`;
  if (phase === 'lists' || (rows === FIRST_ACCOUNTS && total === FIRST_ACCOUNTS * FIRST_BALANCE)) return undefined;
  return `${where} ${rows} accounts hold ${total}`;
};

/** What is wrong with where clients are led when everything was resumed. */
export const routingProblems = (ends: readonly RoutingEnd[]): readonly string[] =>
  ends.flatMap((end) => [
    ...end.writers.flatMap((led) => writersProblem(end, led) ?? []),
    ...(readersProblem(end) ?? []),
  ]);

const writersProblem = ({ phase, primary }: RoutingEnd, { router, side, held }: Led): string | undefined => {
  if (side !== primary)
    return `at the end router ${router} leads ${phase} to ${side}, and the ${primary} is its primary`;
  return held ? `at the end router ${router} still holds ${phase}` : undefined;
};

const readersProblem = ({ phase, readers }: RoutingEnd): readonly string[] | undefined => {
  if (readers === null) return undefined;
  const { side, to, isDone } = readers;
  const wanted = to ?? 'source';
  const astray =
    side === wanted ? [] : [`at the end readers of ${phase} are led to ${side}, and were to be on the ${wanted}`];
  return isDone ? astray : [...astray, `at the end the move of readers of ${phase} to the ${wanted} has not ended`];
};

/** As it should have been. */
const rightOf = (end: RoutingEnd): RoutingEnd => ({
  ...end,
  writers: end.writers.map(({ router }) => ({ router, side: end.primary, held: false })),
  readers: end.readers && { ...end.readers, side: end.readers.to ?? 'source', isDone: true },
});

/**
 * Negative controls on routers and readers: one fault at a time in what should have been seen of those that the run had,
 * and each of them has to be reported.
 */
export const plantInRouting = (ends: readonly RoutingEnd[], looks: Iterable<Look>): readonly Control[] => {
  const inEnds = (what: string, change: (end: RoutingEnd) => RoutingEnd): readonly Control[] =>
    ends.map((end) => ({
      what: `${what}, phase ${end.phase}`,
      isReported: routingProblems([change(rightOf(end))]).length === 1 && routingProblems([rightOf(end)]).length === 0,
    }));
  const onLast =
    (change: (led: Led) => Led) =>
    (end: RoutingEnd): RoutingEnd => ({
      ...end,
      writers: [...end.writers.slice(0, -1), ...end.writers.slice(-1).map(change)],
    });
  const onReaders =
    (change: (readers: NonNullable<RoutingEnd['readers']>) => RoutingEnd['readers']) =>
    (end: RoutingEnd): RoutingEnd => ({ ...end, readers: end.readers && change(end.readers) });
  const hasReaders = ends.some(({ readers }) => readers !== null);
  return [
    ...inEnds(
      'a router that was forgotten',
      onLast((led) => ({ ...led, side: led.side === 'source' ? 'target' : 'source' })),
    ),
    ...inEnds(
      'a hold that was forgotten',
      onLast((led) => ({ ...led, held: true })),
    ),
    ...(hasReaders
      ? inEnds(
          'readers half-way',
          onReaders((readers) => ({ ...readers, isDone: false })),
        )
      : []),
    ...(hasReaders
      ? inEnds(
          'readers who are nowhere',
          onReaders((readers) => ({ ...readers, side: null })),
        )
      : []),
    ...[...looks].map((look) => ({
      what: `tables of ${look.phase} emptied under readers`,
      isReported: lookProblem({ ...look, rows: 0, total: 0 }) !== undefined,
    })),
    ...[...looks]
      .filter(({ phase }) => phase === 'accounts')
      .map((look) => ({
        what: 'half a transfer shown to readers',
        isReported: lookProblem({ ...look, total: look.total - 1 }) !== undefined,
      })),
  ];
};
