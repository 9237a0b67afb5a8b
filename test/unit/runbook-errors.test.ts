import { globSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { patternOf, readPage } from '../support/runbook.ts';

/**
 * Every error that stops somebody has an entry in docs/runbook.md, or is named here with the reason why it needs none: so
 * that whoever adds an error is asked for its entry. The texts are read from the source itself.
 */

/** Kinds that reach a person in the middle of a run. The others say of a plan, a command line or a server what is wrong there. */
const KINDS = new Set(['refused', 'parked', 'aborted', 'findings', 'halted', 'busy', 'deposed', 'unknown']);

/** A text, and the entry in which a person finds it because it is shown only as a part of that entry's text. */
const INSIDE: Readonly<Record<string, string>> = {
  // The fence's locks, in a switch.
  'src/databases/postgres/blockers.ts: …; blocked …': 'fence-blocked',
  'lane … has stopped following': 'interrupted',
  'lane … was stopped': 'interrupted',
  'src/stages/switch/switch.ts: interrupted': 'interrupted',
  'another worker has recorded an abort': 'undone-otherwise',
  'more rows of phase … changed than could be remembered': 'undone-otherwise',
  "no time was left to run the router's … command for …": 'undone-otherwise',
  "a sequence among … cannot hold the other side's value": 'sequence-range',
  // `check` and every switch ask for the right first.
  'no right to set or read a sequence among …': 'findings',
  'not ended: phase … is on the …, and they may be its own': 'sessions-left',
  'lane … does not follow now': 'behind',
  'phase …: … changed rows of … differ between the sides': 'proof-differs',
  // The worker's lines.
  'slot … on the … is being read by another session': 'trying-again',
  'the … cannot do it now: …': 'trying-again',
  'entry … of the journal was written by another transaction': 'trying-again',
  '… cannot hold a large transaction until it commits (…); from now on the server that it comes from has to':
    'trying-again',
  'an earlier copy of … is still ending on the …': 'trying-again',
  'the … dropped the connection during COMMIT; the outcome is unknown': 'lost-answer',
  'phase … is halted: …': 'lane-failed',
  "command … is not known to the worker's version of Switchback": 'other-version',
  'src/stages/end-guards.ts: phase …: …': 'led-wrong',
  // What stands behind it is the entry's text.
  'phase …: its clients were not seen to arrive after the last switch: …': 'not-proven',
  'subscription … on the … still brings changes the other way; lane … waits for its end': 'trying-again',
  'the triggers of … on the … cannot be removed': 'locked',
  // A pooler, in a switch that is undone by it.
  'sessions of a pooler on the … cannot be ended: …': 'pooler-in-use',
  // What a pooler says is shown behind what it was asked for: by `check` and before a switch, by `status`, in a switch.
  '… refuses a command: …': 'router-mute',
  // As the output of an observe command; `check` finds it.
  '…, asked for observe of …, answered …': 'router-mute',
  'etcd at … refuses: …': 'router-mute',
  "etcd gives no token to the router's user": 'router-mute',
  "the route in etcd's key …… …": 'router-mute',
  // Tried again after a commit record; before it, the switch is undone.
  "it is not known whether etcd's keys were written: …": 'undone-otherwise',
  // What is read from AWS: by `check` and before a switch. In the middle of one it parks.
  'secret … does not say where it leads: it is binary': 'findings',
  '… does not say where it leads: …': 'findings',
  'parameter … has no value': 'findings',
  'parameter … is not among those that our credentials may see': 'findings',
  '… has no … record of the name ……': 'findings',
  '… record … in … is …, which a router cannot lead by': 'findings',
  '… in … is not ours: a switch would remember there what it did': 'findings',
  'secret … was changed by somebody in the middle of a repoint': 'parked',
  'parameter … was changed by somebody in the middle of a repoint': 'parked',
  'writing parameter … was answered without a version': 'parked',
  // What an API server of Kubernetes is asked with, and what is kept in its objects.
  'the kubeconfig … cannot be read: …': 'router-mute',
  'the kubeconfig … is not understood: …': 'router-mute',
  'the kubeconfig … has no cluster for …': 'router-mute',
  'the plan names no kubeconfig, and this is no pod of a cluster': 'router-mute',
  'the annotation … of … is not a whole number': 'router-mute',
  // Behind the commit record.
  '… is not restarted: …': 'parked',
  'src/routers/entry-files.ts: … in …: …': 'findings',
  '… leads … … after its RELOAD': 'parked',
  '… leads … to …, …, and was told …': 'parked',
  'src/routers/haproxy/socket.ts: … has no server …': 'findings',
  '… has no frontend …': 'findings',
  // What halts a lane of the native engine.
  "the … does not let the …'s server in: …": 'lane-failed',
  'our role may not make subscriptions on the …: …': 'lane-failed',
  'src/engines/native/halt.ts: …: …': 'lane-failed',
  // The findings of a lane; each of them has its entry.
  'src/engines/stream/halt.ts: …: …': 'lane-failed',
  'the window of … ms has run out': 'window-out',
  // One cause of what is stuck there.
  '… cannot be copied: its columns have changed in the meantime': 'cannot-copy',
  // Of a snapshot that was named.
  'snapshot … is …, not available…': 'no-snapshot',
  "snapshot … is …, which is not the source of this plan's run": 'no-snapshot',
  // A source that is restored: what stands in the way of going back to it is said before anything is changed.
  'the source is no restored place': 'restored-source',
  // Only where files were copied, identity and all: from-copied-files.test.ts has it.
  'the source of run … is … by now, restored from a snapshot; this is …': 'restored-source',
  'the target (…) has no record of run …, whose target was …': 'restored-source',
  '…, so that nothing says where the application writes phase …': 'restored-source',
  'the target knows … as the source of run …: another database has taken its place': 'restored-source',
  'phase … is not on the target: the source that is lost was its primary': 'restored-source',
  'a failback of phase … was under way when the source was lost: whether it was committed is not known any more':
    'restored-source',
  'the source was restored up to …, and what came later would be read again from the target': 'restored-source',
  // As a rebuild says it.
  'where the application may write is not known: …': 'primary-unknown',
  // Of a restore, which has changed nothing of the run.
  'what snapshot … was restored to is the source of run … by now': 'no-snapshot',
  'it was restored with a replay up to … before': 'no-snapshot',
  'the … has what came before … of direction … already, more than what came before …': 'no-snapshot',
  "what was restored is the plan's own … (…)": 'no-snapshot',
  'the archive of phase … does not cover snapshot …: …': 'no-snapshot',
  'snapshot … was made before a run was begun, and an archive begins with one': 'no-snapshot',
  '--until … is not reached: the archive of phase … …': 'no-snapshot',
  'what was restored is not what snapshot … was made of: … tables differ (…)': 'no-snapshot',
  // Who begins a command looks for the same row first, and parks.
  'the journal has no switch …': 'records-damaged',
};

/** Texts that no run shows. */
const NOT_OF_A_RUN: Readonly<Record<string, string>> = {
  'the database already has a schema named shop': 'of the demonstration, which has no run yet',
  'the archive of phase … in … is not whole: …': 'of a restore, which says so before anything is touched',
  'lane … cannot be archived: with engine native its changes do not pass through us': 'the plan says so before',
};

/** What keeps snapshots says by itself what to do, before anything is touched; nobody is in the middle of a run there. */
const OF_SNAPSHOTS = /^src\/(snapshots|platform\/objects)\//;

/** Errors whose kind or text is put together elsewhere, by file, kind and text: the entries of what they can say. */
const COMPOSED: Readonly<Record<string, readonly string[]>> = {
  // Repeat an error that they were given, with the names that a reader uses.
  'src/cli/command.ts: kind, message': [],
  'src/routers/aws/value-router.ts: refused, refusal.message': [],
  'src/stages/driver.ts: known.kind, known.message': [],
  // Say what a drain, a lane or a program found.
  'src/engines/stream/archive/open.ts: busy, text': ['undone-otherwise'],
  'src/engines/stream/archive/writer.ts: aborted, text': ['drain-late', 'behind'],
  'src/platform/postgres/drain.ts: aborted, text': ['drain-late', 'behind'],
  'src/platform/aws/errors.ts: kind, …': ['findings', 'router-mute', 'parked'],
  'src/routers/command.ts: kind, …': ['router-command', 'parked', 'undone-otherwise'],
  'src/routers/kubernetes/failures.ts: kind, …': ['router-mute', 'parked', 'findings', 'undone-otherwise'],
  // A shorthand; what it is called with is read too.
  'src/routers/kubernetes/kubeconfig.ts: refused, message': [],
  'src/routers/webhook/router.ts: kind, …': ['router-mute', 'parked', 'undone-otherwise'],
  'src/stages/certify.ts: aborted, message': ['undone-otherwise'],
  // Which of the two databases is not of this run.
  'src/stages/snapshots/adopt.ts: refused, wrong': ['restored-source'],
  // Say which of several routers said it.
  'src/stages/switch/routing.ts: kind, text': ['parked'],
  'src/stages/switch/routing.ts: kind, …': ['undone-otherwise'],
  // A shorthand; what it is called with is read too.
  'src/stages/switch/guards.ts: refused, message': [],
  'src/stages/reads/guards.ts: refused, message': [],
};

interface SourceError {
  readonly file: string;
  readonly kind: string;
  readonly text: string;
}

/** The end of the expression that begins at an offset: the next comma or closing bracket that is its caller's. */
const endOfExpression = (code: string, from: number): number => {
  let depth = 0;
  for (let at = from; at < code.length; at++) {
    const character = code[at] ?? '';
    if (character === '`') at = endOfTemplate(code, at);
    else if (character === "'" || character === '"') at = code.indexOf(character, at + 1);
    else if ('([{'.includes(character)) depth += 1;
    else if (')]}'.includes(character)) depth -= 1;
    if (depth < 0 || (depth === 0 && character === ',')) return at;
  }
  return code.length;
};

const endOfTemplate = (code: string, from: number): number => {
  for (let at = from + 1; at < code.length; at++) {
    if (code[at] === '`') return at;
    if (code.startsWith('${', at)) at = endOfExpression(code, at + 2);
  }
  return code.length;
};

/** What a string, a template or a list of them says, with `…` for what is filled in; null for anything else. */
const textOf = (expression: string): string | null => {
  const [first = ''] = expression;
  if (first === '[') {
    const inner = expression.slice(1).trimStart();
    return textOf(inner.slice(0, endOfExpression(inner, 0)).trim());
  }
  if (first === "'" || first === '"') return expression.slice(1, expression.lastIndexOf(first));
  if (first !== '`') return null;
  let text = '';
  for (let at = 1; at < expression.length && expression[at] !== '`'; at++) {
    if (!expression.startsWith('${', at)) text += expression[at];
    else {
      text += '…';
      at = endOfExpression(expression, at + 2);
    }
  }
  return text.replaceAll(/\s+/g, ' ');
};

const argumentsAt = (code: string, from: number): readonly string[] => {
  const list: string[] = [];
  for (let at = from; list.length < 2; ) {
    const end = endOfExpression(code, at);
    list.push(code.slice(at, end).trim());
    at = end + 1;
  }
  return list;
};

/** All errors of the source, and where one is put together from what was given. */
const readErrors = (): { readonly errors: readonly SourceError[]; readonly composed: ReadonlySet<string> } => {
  const errors: SourceError[] = [];
  const composed = new Set<string>();
  for (const file of globSync('src/**/*.ts').toSorted()) {
    if (OF_SNAPSHOTS.test(file)) continue;
    const code = readFileSync(file, 'utf8');
    for (const { index } of code.matchAll(/new SwitchbackError\(/g)) {
      const [kind = '', text = ''] = argumentsAt(code, index + 'new SwitchbackError('.length);
      const literal = /^'(\w+)'$/.exec(kind)?.[1];
      const said = textOf(text);
      if (literal !== undefined && said !== null) errors.push({ file, kind: literal, text: said });
      else if (literal === undefined || KINDS.has(literal)) {
        composed.add(`${file}: ${literal ?? kind}, ${/^\w+(\.\w+)*$/.test(text) ? text : '…'}`);
      }
    }
    // A shorthand for the kind that it is named after.
    if (!/^const refused = \(message/m.test(code)) continue;
    for (const { index } of code.matchAll(/(?:return|throw) refused\(/g)) {
      const [text = ''] = argumentsAt(code, code.indexOf('(', index) + 1);
      const said = textOf(text);
      if (said === null) composed.add(`${file}: refused, ${text}`);
      else errors.push({ file, kind: 'refused', text: said });
    }
  }
  return { errors: errors.filter(({ kind }) => KINDS.has(kind)), composed };
};

const page = readPage();
const { errors, composed } = readErrors();
const onPage = [...page.entries.values()].flatMap(({ texts }) => texts);

/** A text that says nothing by itself is not told from another one of its kind, but by its file. */
const isTelling = (text: string): boolean => text.replaceAll(/[^a-z]/gi, '').length >= 12;

/** How an error is named in the lists. */
const keyOf = ({ file, text }: SourceError): string => (isTelling(text) ? text : `${file}: ${text}`);

/** A text of the page stands for one of the source, or names one of the causes that it has. */
const isOnPage = (text: string): boolean => {
  const whole = new RegExp(`^${patternOf(text).source}$`);
  return onPage.some((entry) => patternOf(entry).test(text) || (isTelling(text) && whole.test(entry)));
};

describe('errors that stop somebody', () => {
  it('are found at all', () => {
    expect(errors.length).toBeGreaterThan(60);
    expect(new Set(errors.map(({ kind }) => kind))).toEqual(KINDS);
  });

  it('have an entry in the runbook, or a reason why they have none', () => {
    const forgotten = errors.filter(
      (error) => !(keyOf(error) in { ...INSIDE, ...NOT_OF_A_RUN }) && !isOnPage(error.text),
    );
    expect(forgotten).toEqual([]);
  });

  it('have no reason that nothing needs any more', () => {
    const needed = new Set(errors.filter(({ text }) => !isOnPage(text)).map(keyOf));
    expect(Object.keys({ ...INSIDE, ...NOT_OF_A_RUN }).filter((key) => !needed.has(key))).toEqual([]);
  });

  it('are listed under entries that there are', () => {
    const named = [...Object.values(INSIDE), ...Object.values(COMPOSED).flat()];
    expect(named.filter((id) => !page.entries.has(id))).toEqual([]);
  });

  it('are put together nowhere but where it is listed', () => {
    expect([...composed].toSorted()).toEqual(Object.keys(COMPOSED).toSorted());
  });
});
