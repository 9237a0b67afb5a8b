import { makeBacklog } from '../backlog.ts';
import { type Course, decodeOn, nativeOn, oursOn } from '../contenders.ts';
import { type Load, loadsOf } from '../loads.ts';
import type { BenchOptions, Check, Figure, Pair, Part, PartResult, Series } from '../part.ts';
import { compareWith, medianOf, runRounds } from '../rounds.ts';
import { dropDatabase, withPair } from '../servers.ts';
import { checkRows } from '../sides.ts';

const REACH_NATIVE = 0.75;
const REACH_DECODE = 0.9;

/** `apply`: catch-up with a backlog: ours, the native apply worker and decoding alone, each from a slot of its own. */
export const apply: Part = {
  name: 'apply',
  description: "catch-up with a backlog, against the native apply worker and the server's own decoding",
  run: async (options) => {
    const results: PartResult[] = [];
    for (const [at, name] of options.pairs.entries()) {
      // All loads on every pair would take a quarter of an hour; what differs by the source's version shows in the first.
      const loads = at === 0 ? loadsOf(options.small) : loadsOf(options.small).slice(0, 1);
      await withPair(name, async (pair) => {
        for (const load of loads) results.push(await measure(pair, load, options));
      });
    }
    return {
      rows: results.flatMap((result) => result.rows),
      figures: results.flatMap((result) => result.figures),
      checks: results.flatMap((result) => result.checks),
      notes: [...loadsOf(options.small).map(({ note }) => note), ...NOTES],
    };
  },
};

const NOTES = [
  "all read the same backlog, each from a slot of its own made before the load's first write; the target is a copy, made anew each round, of the database as it was then",
  'timed from `follow` (ours, its connections included) or ENABLE (native) until the last transaction is visible on the target',
  'ours: the lane of the stream engine in a process of its own, with `synchronous_commit = on`; native: a subscription with `copy_data = false`, which else has its defaults (so `synchronous_commit = off`)',
  'decode only: START_REPLICATION of the same publication by a process that counts frames and throws them away; nothing is applied',
];

const measure = async (pair: Pair, load: Load, options: BenchOptions): Promise<PartResult> => {
  const what = `${pair.name}, ${load.text}`;
  options.tell(`${what}: making the backlog`);
  const backlog = await makeBacklog(pair, load, { slots: 3 * options.rounds, seed: options.seed });
  const slots = [...backlog.slots];
  const checks: Check[] = [];
  const processor = new Processor();
  const course: Course = {
    pair,
    what,
    backlog,
    nextSlot: () => {
      const slot = slots.shift();
      if (slot === undefined) throw new RangeError('more rounds than slots');
      return slot;
    },
    found: (check) => void checks.push(check),
    spent: (contender, seconds) => processor.add(contender, seconds),
  };
  const contenders = [oursOn(course), nativeOn(course), decodeOn(course)];
  const series = await runRounds(what, contenders, options);
  checks.push(await control(course));
  await dropDatabase(pair.target, load.name);
  await dropDatabase(pair.source, load.name);
  const rows = compareWith(what, series, { native: REACH_NATIVE });
  return { rows, figures: [...shares(what, load, series), ...processor.figures(what)], checks, notes: [] };
};

/** The target as it was before the load must not be taken for equal, or the other checks say nothing. */
const control = async ({ pair, what, backlog }: Course): Promise<Check> => {
  const urls = { source: backlog.sourceUrl, target: pair.target.urlFor(backlog.template) };
  const { ok } = await checkRows({ case: what, by: 'control' }, urls);
  return { case: what, what: 'control: a target without the backlog is not equal', ok: !ok };
};

const shares = (what: string, load: Load, series: readonly Series[]): readonly Figure[] => {
  const [ours, native, decode] = series.map(({ median }) => median);
  if (ours === undefined || native === undefined || decode === undefined) return [];
  const share = (name: string, value: number, reach: Figure['reach']): Figure => ({
    case: what,
    name,
    unit: 'ratio',
    value,
    reach,
  });
  return [
    share('share of the decode-only speed', decode / ours, { atLeast: REACH_DECODE }),
    share("the native worker's share of it", decode / native, null),
    { case: what, name: 'changes applied', unit: 'rows/s', value: load.changes / ours, reach: null },
  ];
};

/** Who spent how much of the processor's time, by contender, as medians of the rounds. */
class Processor {
  readonly #seconds = new Map<string, number[]>();

  add(contender: string, seconds: Readonly<Record<string, number>>): void {
    for (const [who, value] of Object.entries(seconds)) {
      const name = `processor time, ${contender}: ${who}`;
      this.#seconds.set(name, [...(this.#seconds.get(name) ?? []), value]);
    }
  }

  figures(what: string): readonly Figure[] {
    return [...this.#seconds].map(([name, values]) => ({
      case: what,
      name,
      unit: 's',
      value: medianOf(values),
      reach: null,
    }));
  }
}
