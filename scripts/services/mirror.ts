/** Suites of the distribution itself; others, such as a vendor's, are no mirror of it. */
const OWN_SUITE = /^(stable|testing|unstable|sid|buster|bullseye|bookworm|trixie|forky)$/;

interface Source {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
}

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** One-line style: `deb [options] URI suite component…`. */
const oneLine = (line: string): Source | undefined => {
  const found = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)(?:\s+(.*))?$/.exec(line.trim());
  if (found === null) return undefined;
  return { uris: [found[1] ?? ''], suites: [found[2] ?? ''], components: words(found[3] ?? '') };
};

/** A stanza of deb822 style; a line that begins with a space goes on with the field above it. */
const stanza = (text: string): Source | undefined => {
  const fields = new Map<string, string>();
  let name = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const field = /^([A-Za-z-]+):(.*)$/.exec(line);
    if (field !== null) name = (field[1] ?? '').toLowerCase();
    fields.set(name, `${fields.get(name) ?? ''} ${field === null ? line : field[2]}`);
  }
  const isOn = (fields.get('enabled') ?? 'yes').trim() !== 'no';
  if (!isOn || !words(fields.get('types') ?? '').includes('deb')) return undefined;
  return {
    uris: words(fields.get('uris') ?? ''),
    suites: words(fields.get('suites') ?? ''),
    components: words(fields.get('components') ?? ''),
  };
};

const sourcesIn = (text: string): readonly Source[] => {
  const read = /^Types:/im.test(text) ? text.split(/\n\s*\n/).map(stanza) : text.split('\n').map(oneLine);
  return read.filter((source) => source !== undefined);
};

/**
 * The first mirror of Debian itself in apt's sources, given as the files' texts in either of apt's two styles; undefined
 * when there is none. Sources that are switched off do not count.
 */
export const mirrorIn = (texts: readonly string[]): string | undefined =>
  texts
    .flatMap(sourcesIn)
    .find(
      ({ suites, components, uris }) =>
        suites.some((suite) => OWN_SUITE.test(suite)) && components.includes('main') && /^https?:/.test(uris[0] ?? ''),
    )?.uris[0];
