import { describe, expect, it } from 'vitest';
import type { Reached } from '../../src/databases/client-path.ts';
import type { Event } from '../../src/domain/event.ts';
import type { RunContext } from '../../src/stages/context.ts';
import { proveRoutes } from '../../src/stages/prove-routes.ts';
import type { RouterOfPhases } from '../../src/stages/routes.ts';

const SOURCE = { identity: 'postgresql:1/5', instance: 'postgresql:1/5@09:00', version: '' };
const TARGET = { identity: 'postgresql:2/5', instance: 'postgresql:2/5@10:00', version: '' };
const WITHIN_MS = 120;

const reached = (identity: string, instance: string, isStandby = false): Reached => ({ identity, instance, isStandby });
const AT_SOURCE = reached(SOURCE.identity, SOURCE.instance);
const AT_TARGET = reached(TARGET.identity, TARGET.instance);

/** A context in which each path answers what is next in its list, the last for ever; an error is thrown. No request waits. */
const contextOf = (
  answers: Readonly<Record<string, readonly (Reached | Error)[]>>,
  sides: { readonly source?: Error; readonly target?: Error } = {},
): { readonly context: RunContext; readonly events: readonly Event[] } => {
  const events: Event[] = [];
  const describing = (side: 'source' | 'target') => ({
    sessions: {
      describe: async () => {
        if (sides[side]) throw sides[side];
        return side === 'source' ? SOURCE : TARGET;
      },
    },
  });
  const paths = Object.entries(answers).map(([name, list]) => {
    const left = [...list];
    const ask = async (): Promise<Reached> => {
      const next = left.length > 1 ? left.shift() : left[0];
      if (next === undefined || next instanceof Error) throw next;
      return next;
    };
    return { name, ask };
  });
  const context = {
    source: { ...describing('source'), sql: { query: async () => ({ rows: [] }) } },
    target: describing('target'),
    probes: () => ({ paths, withinMs: WITHIN_MS }),
    emit: (event: Event) => events.push(event),
  } as unknown as RunContext;
  return { context, events };
};

const ROUTERS = [{ name: 'app', phases: ['orders'] }] as unknown as readonly RouterOfPhases[];
const prove = async (context: RunContext, signal = new AbortController().signal) =>
  await proveRoutes(context, { routers: ROUTERS, to: 'target', signal });

describe('proof of a repoint', () => {
  it('is there when every path leads to the winner', async () => {
    const { context, events } = contextOf({ 'a:1/shop': [AT_TARGET], 'b:1/shop': [AT_TARGET] });
    expect(await prove(context)).toEqual([
      { router: 'app', phase: 'orders', verdict: 'proven', said: 'a:1/shop, b:1/shop' },
    ]);
    expect(events).toEqual([]);
  });

  it('is waited for, and told of once', async () => {
    const { context, events } = contextOf({ 'a:1/shop': [new Error('refused'), AT_SOURCE, AT_TARGET] });
    const slow = { ...context, probes: () => ({ ...context.probes('', ''), withinMs: 10_000 }) };
    expect(await prove(slow)).toMatchObject([{ verdict: 'proven' }]);
    expect(events).toEqual([
      {
        type: 'note',
        phase: 'orders',
        text: 'probe: a:1/shop could not be asked: refused; asking again for 10000 ms',
      },
    ]);
  });

  it.each([
    ['the loser', AT_SOURCE, 'leads to the source'],
    [
      'a standby of the loser',
      reached(SOURCE.identity, 'postgresql:1/5@11:00', true),
      'leads to a standby of the source',
    ],
    ['a copy of the loser', reached(SOURCE.identity, 'postgresql:1/5@11:00'), 'leads to a copy of the source'],
    [
      'a standby of the winner',
      reached(TARGET.identity, 'postgresql:2/5@11:00', true),
      'leads to a standby of the target',
    ],
    ['a copy of the winner', reached(TARGET.identity, 'postgresql:2/5@11:00'), 'leads to a copy of the target'],
    ['what the winner has become', reached(TARGET.identity, TARGET.instance, true), 'leads to a standby of the target'],
    ['another database', reached('postgresql:3/5', 'postgresql:3/5@11:00'), 'leads to another database'],
    ['nobody', new Error('connection refused'), 'could not be asked: connection refused'],
  ])('is not there when a path leads to %s', async (_, answer, said) => {
    const { context } = contextOf({ 'good:1/shop': [AT_TARGET], 'a:1/shop': [answer] });
    expect(await prove(context)).toEqual([
      { router: 'app', phase: 'orders', verdict: 'unproven', said: `a:1/shop ${said} after ${WITHIN_MS} ms` },
    ]);
  });

  it('is there for readers when a path leads to a standby of the winner, and to no other copy', async () => {
    const asked = async (answer: Reached) => {
      const claim = { routers: ROUTERS, to: 'target', signal: new AbortController().signal, areReaders: true } as const;
      return (await proveRoutes(contextOf({ a: [answer] }).context, claim))[0]?.verdict;
    };
    expect(await asked(reached(TARGET.identity, 'postgresql:2/5@11:00', true))).toBe('proven');
    expect(await asked(AT_TARGET)).toBe('proven');
    expect(await asked(reached(TARGET.identity, 'postgresql:2/5@11:00'))).toBe('unproven');
    expect(await asked(reached(SOURCE.identity, 'postgresql:1/5@11:00', true))).toBe('unproven');
    expect(await asked(AT_SOURCE)).toBe('unproven');
  });

  it('needs the winner to say who it is, and not the loser', async () => {
    const gone = new Error('gone');
    expect(await prove(contextOf({ a: [AT_TARGET] }, { source: gone }).context)).toMatchObject([{ verdict: 'proven' }]);
    expect(await prove(contextOf({ a: [AT_TARGET] }, { target: gone }).context)).toMatchObject([
      {
        verdict: 'unproven',
        said: `a answers, and the target itself, which it is compared with, does not: gone after ${WITHIN_MS} ms`,
      },
    ]);
    expect(await prove(contextOf({ a: [AT_SOURCE] }, { source: gone }).context)).toMatchObject([
      { verdict: 'unproven', said: `a leads to another database after ${WITHIN_MS} ms` },
    ]);
  });

  it('is not waited for by whoever is interrupted, and not asked where the plan names no path', async () => {
    const stop = new AbortController();
    stop.abort();
    const { context } = contextOf({ a: [AT_SOURCE, AT_TARGET] });
    expect(await prove(context, stop.signal)).toMatchObject([
      { verdict: 'unproven', said: 'a leads to the source; interrupted before its time was over' },
    ]);
    expect(await prove(contextOf({}).context)).toMatchObject([{ verdict: 'unasked' }]);
  });

  it('is asked once by a worker that begins', async () => {
    const { context, events } = contextOf({ a: [AT_SOURCE, AT_TARGET] });
    const { signal } = new AbortController();
    expect(await proveRoutes(context, { routers: ROUTERS, to: 'target', signal, isOnce: true })).toMatchObject([
      { verdict: 'unproven', said: 'a leads to the source; it was asked only once, by a worker that had just begun' },
    ]);
    expect(events).toEqual([]);
  });

  it('is not waited for while another command waits for the worker', async () => {
    const { context } = contextOf({ a: [AT_SOURCE, AT_SOURCE, AT_TARGET] });
    const looks = [{ rows: [] }, { rows: [{ token: 'other' }] }];
    const sql = { query: async () => looks.shift() };
    const busy = {
      ...context,
      source: { ...context.source, sql },
      probes: () => ({ ...context.probes('', ''), withinMs: 10_000 }),
    };
    expect(await prove(busy as unknown as RunContext)).toMatchObject([
      {
        verdict: 'unproven',
        said: 'a leads to the source; not asked any longer, because another command waits for the worker',
      },
    ]);
  });
});
