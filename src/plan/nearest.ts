/** Levenshtein's distance with adjacent transpositions counted as one (Damerau, restricted), over UTF-16 units. */
export const editDistance = (a: string, b: string): number => {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let least = Math.min(
        (above[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) least = Math.min(least, (before[column - 2] ?? 0) + 1);
      current.push(least);
    }
    before = above;
    above = current;
  }
  return above[b.length] ?? 0;
};

/** The known word that was probably meant, or null when none is near: a third of the letters may differ. */
export const nearest = (word: string, known: readonly string[]): string | null => {
  // A word far longer than any of ours is not a slip, and comparing it would cost time for nothing.
  if (word.length > 100) return null;
  const scored = known.map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate) }));
  const best = scored.sort((a, b) => a.distance - b.distance)[0];
  if (best === undefined) return null;
  const allowed = Math.max(1, Math.floor(Math.max(word.length, best.candidate.length) / 3));
  return best.distance <= allowed ? best.candidate : null;
};
