import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BenchOptions, Figure, Pair, Part, PartResult } from './part.ts';
import { withPair } from './servers.ts';

/** The program's script, as a checkout runs it. */
export const PROGRAM = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** What a part of figures needs beside its name. */
export interface FiguresPart<Size> extends Pick<Part, 'name' | 'description'> {
  readonly sizes: { readonly full: Size; readonly small: Size };
  /** Measures between one pair of servers, which are started before and ended after it. */
  readonly measure: (pair: Pair, size: Size, options: BenchOptions) => Promise<Pick<PartResult, 'figures' | 'checks'>>;
  readonly notes: (size: Size, options: BenchOptions) => readonly string[];
}

/** A part that has figures and no times against a reference's, from each pair of servers in turn. */
export const figuresPart = <Size>({ name, description, sizes, measure, notes }: FiguresPart<Size>): Part => ({
  name,
  description,
  run: async (options) => {
    const size = options.small ? sizes.small : sizes.full;
    const results: Pick<PartResult, 'figures' | 'checks'>[] = [];
    for (const pair of options.pairs) results.push(await withPair(pair, (servers) => measure(servers, size, options)));
    return {
      rows: [],
      figures: results.flatMap(({ figures }) => figures),
      checks: results.flatMap(({ checks }) => checks),
      notes: notes(size, options),
    };
  },
});

/** Makes the figures of one case; `atMost` is what is aimed at, if anything. */
export const figuresOf =
  (what: string) =>
  (name: string, unit: Figure['unit'], of: { readonly value: number; readonly atMost?: number }): Figure => ({
    case: what,
    name,
    unit,
    value: of.value,
    reach: of.atMost === undefined ? null : { atMost: of.atMost },
  });

/** Works with a temporary directory, and removes it, also when the work rejects. */
export const inDirectory = async <T>(work: (directory: string) => Promise<T>): Promise<T> => {
  const directory = mkdtempSync(join(tmpdir(), 'switchback-bench-'));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
};
