import { PHASE_TRANSITIONS, SWITCH_STEPS } from '../src/domain/protocol.ts';

/** Replaces what stands between `<!-- made: name -->` and `<!-- end: name -->`. Throws when the page has no such place. */
export const fill = (page: string, name: string, content: string): string => {
  const [begin, end] = [`<!-- made: ${name} -->\n`, `<!-- end: ${name} -->`];
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`the page has no place "${name}" (${begin.trim()} … ${end})`);
  return `${page.slice(0, from + begin.length)}${content}\n${page.slice(to)}`;
};

const diagram = (): string =>
  [
    '```mermaid',
    'stateDiagram-v2',
    '  [*] --> planned',
    ...PHASE_TRANSITIONS.map(({ from, to, by, after }) => `  ${from} --> ${to}: ${by}, ${after}`),
    '```',
  ].join('\n');

/** Rows of cells as a Markdown table; the first one is its head. */
export const table = (rows: readonly (readonly string[])[]): string => {
  const [head = [], ...body] = rows;
  return [head, head.map(() => '---'), ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
};

const transitions = (): string =>
  table([['from', 'to', 'by', 'when'], ...PHASE_TRANSITIONS.map(({ from, to, by, after }) => [from, to, by, after])]);

const told = (text: string): string =>
  text
    .replaceAll(/\{([AB])\}/g, '$1')
    .replaceAll('{tables}', 'its tables')
    .replaceAll('the A', 'A')
    .replaceAll('the B', 'B');

const steps = (undoing: boolean): string => {
  const own = SWITCH_STEPS.filter(({ part }) => (part === 'undoing') === undoing);
  const head = undoing ? ['step', 'at', 'does'] : ['#', 'part', 'step', 'at', 'does', 'undone by'];
  const rows = own.map(({ part, name, at, does, undoneBy }, index) => {
    const step = part === 'commit' ? `**${name}**` : name;
    const cells = [step, at.join(', '), told(does)];
    return undoing ? cells : [String(index + 1), part, ...cells, undoneBy ?? '–'];
  });
  return table([head, ...rows]);
};

/** docs/design.md with its diagram and its tables made from the protocol's table. */
export const withProtocol = (page: string): string => {
  const places = [
    ['phases', `${diagram()}\n\n${transitions()}`],
    ['switch', `${steps(false)}\n\nUndoing, after the outcome \`aborted\` has been recorded:\n\n${steps(true)}`],
  ] as const;
  return places.reduce((filled, [name, content]) => fill(filled, name, content), page);
};
