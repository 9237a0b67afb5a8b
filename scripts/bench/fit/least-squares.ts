/** One measurement: what it grows with, in the order of the constants sought, and what came of it. */
export interface Observation {
  readonly inputs: readonly number[];
  readonly outcome: number;
}

/** Constants that fit, and what they leave unexplained. */
export interface Solution {
  /** As many as an observation has inputs; none is negative. */
  readonly constants: readonly number[];
  /** Measured less modelled, in the order of the observations. */
  readonly residuals: readonly number[];
}

/**
 * Least squares with constants that are not negative, since nothing takes less time for being larger. Errors count by their
 * share of the outcome, so that the small sizes say as much as the large ones. A constant that would be negative is taken
 * out and the rest fitted again, the most negative first: exact where one is (Lawson and Hanson, Solving Least Squares
 * Problems, 1974, chapter 23, in its simplest form), near enough for the handful that we have.
 */
export const fitConstants = (observations: readonly Observation[]): Solution => {
  const count = observations[0]?.inputs.length ?? 0;
  let kept = Array.from({ length: count }, (_, at) => at).filter((at) =>
    observations.some(({ inputs }) => (inputs[at] ?? 0) !== 0),
  );
  for (;;) {
    const found = solve(observations, kept);
    const worst = found.reduce((low, value, at) => (value < (found[low] ?? 0) ? at : low), 0);
    if (found.length === 0 || (found[worst] ?? 0) >= 0) return solutionOf(observations, { count, kept, found });
    kept = kept.filter((_, at) => at !== worst);
  }
};

const solutionOf = (
  observations: readonly Observation[],
  {
    count,
    kept,
    found,
  }: { readonly count: number; readonly kept: readonly number[]; readonly found: readonly number[] },
): Solution => {
  const constants = Array.from({ length: count }, (_, at) => found[kept.indexOf(at)] ?? 0);
  const residuals = observations.map(
    ({ inputs, outcome }) => outcome - inputs.reduce((sum, input, at) => sum + input * (constants[at] ?? 0), 0),
  );
  return { constants, residuals };
};

/** The normal equations by Gauss' elimination, after each input was scaled to about one. */
const solve = (observations: readonly Observation[], kept: readonly number[]): readonly number[] => {
  const scales = kept.map((at) => Math.max(...observations.map(({ inputs }) => Math.abs(inputs[at] ?? 0))));
  const rows = observations.map(({ inputs, outcome }) => {
    const weight = 1 / Math.max(Math.abs(outcome), Number.EPSILON);
    return {
      inputs: kept.map((at, i) => ((inputs[at] ?? 0) / (scales[i] ?? 1)) * weight),
      outcome: outcome * weight,
    };
  });
  // A trace more on the diagonal decides between inputs that grow together, rather than divide by nothing.
  const product = (i: number, j: number): number =>
    rows.reduce((sum, row) => sum + (row.inputs[i] ?? 0) * (row.inputs[j] ?? 0), 0) * (i === j ? 1 + 1e-12 : 1);
  const matrix = kept.map((_, i) => [
    ...kept.map((_, j) => product(i, j)),
    rows.reduce((sum, row) => sum + (row.inputs[i] ?? 0) * row.outcome, 0),
  ]);
  return eliminate(matrix).map((value, i) => value / (scales[i] ?? 1));
};

const eliminate = (matrix: number[][]): readonly number[] => {
  const size = matrix.length;
  for (let column = 0; column < size; column++) {
    const pivot = matrix.slice(column).reduce((best, row, at) => {
      return Math.abs(row[column] ?? 0) > Math.abs(matrix[best]?.[column] ?? 0) ? column + at : best;
    }, column);
    [matrix[column], matrix[pivot]] = [matrix[pivot] ?? [], matrix[column] ?? []];
    const top = matrix[column] ?? [];
    for (const row of matrix) {
      if (row === top) continue;
      const factor = (row[column] ?? 0) / (top[column] ?? 1);
      for (let at = column; at <= size; at++) row[at] = (row[at] ?? 0) - factor * (top[at] ?? 0);
    }
  }
  return matrix.map((row, at) => (row[size] ?? 0) / (row[at] ?? 1));
};
