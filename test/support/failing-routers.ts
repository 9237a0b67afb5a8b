import { SwitchbackError } from '../../src/domain/errors.ts';
import type { Event } from '../../src/domain/event.ts';
import type { Router } from '../../src/routers/router.ts';
import type { NewRequest, RequestResult } from '../../src/sidecar/requests.ts';
import { carryOut } from '../../src/stages/command.ts';
import type { RunContext } from '../../src/stages/context.ts';
import type { TestRun } from './run.ts';

/** What a router is made to do wrong: a method of it fails before it does anything; `probe` is the path of its clients. */
export interface RouterFault {
  readonly router: string;
  readonly method: 'observe' | 'hold' | 'repoint' | 'release' | 'probe';
  readonly kind: 'refused' | 'unreachable' | 'unknown' | 'parked';
  /** How often it does; for good when absent. */
  readonly times?: number;
}

/** What a command with routers that fail came to. */
export interface FailingAnswer extends RequestResult {
  readonly events: readonly Event[];
  /** Every call of a router that changes something, in order: `pooler hold`. */
  readonly calls: readonly string[];
}

/** Carries a command out in this process, with the plan's own routers, some of which fail; `before` is told of every call. */
export const askWithFaults = async (
  run: TestRun,
  request: Pick<NewRequest, 'command'> & Partial<NewRequest>,
  faults: readonly RouterFault[],
  before: (router: string, method: RouterFault['method']) => void = () => undefined,
): Promise<FailingAnswer> => {
  const events: Event[] = [];
  const calls: string[] = [];
  const composition = await run.compose((event) => events.push(event));
  const left = new Map(faults.map((fault) => [fault, fault.times ?? Number.POSITIVE_INFINITY]));
  const wrapped = (name: string, router: Router): Router => {
    const call = (method: RouterFault['method']): void => {
      before(name, method);
      if (method !== 'observe') calls.push(`${name} ${method}`);
      for (const fault of faults.filter((one) => one.router === name && one.method === method)) {
        const times = left.get(fault) ?? 0;
        left.set(fault, times - 1);
        if (times > 0) throw new SwitchbackError(fault.kind, `${name} was made to fail at ${method}`);
      }
    };
    return {
      observe: async (phase) => {
        call('observe');
        return await router.observe(phase);
      },
      hold: async (phases, budgetMs) => {
        call('hold');
        await router.hold(phases, budgetMs);
      },
      repoint: async (repoint) => {
        call('repoint');
        await router.repoint(repoint);
      },
      release: async (phases) => {
        call('release');
        await router.release(phases);
      },
    };
  };
  const { context } = composition;
  const routers = new Map([...context.routers].map(([name, router]) => [name, wrapped(name, router)]));
  const probes: RunContext['probes'] = (router, phase) => {
    const fault = faults.find((one) => one.router === router && one.method === 'probe');
    if (!fault) return context.probes(router, phase);
    const ask = () => Promise.reject(new SwitchbackError(fault.kind, `${router} was made to fail at probe`));
    return { paths: [{ name: 'made', ask }], withinMs: 0 };
  };
  const failing: RunContext = { ...context, routers, probes };
  try {
    const answer = await carryOut(
      failing,
      { phases: [], options: {}, by: 'test', ...request },
      { signal: new AbortController().signal, onJournal: () => undefined },
    );
    return { ...answer, events, calls };
  } finally {
    await composition.close();
  }
};
