import { SwitchbackError } from '../domain/errors.ts';
import { type ChainEnd, hashEntry } from '../sidecar/chain.ts';
import { sidecarExists } from '../sidecar/install.ts';
import { entriesWithHash, type LinkedEntry, readLinked, readNotedEnds } from '../sidecar/journal.ts';
import { readLease } from '../sidecar/lease.ts';
import { readRun } from '../sidecar/run.ts';
import { SIDECAR_VERSION } from '../sidecar/tables.ts';
import type { RunContext } from './context.ts';

/** How an entry is wrong. */
export type Flaw =
  /** Its fields do not give its hash. */
  | 'changed'
  /** There is no entry of this number, and later ones are there. */
  | 'missing'
  /** It is linked to another entry of the journal than the one before it. */
  | 'reordered'
  /** It is linked to an entry that is not in the journal: one was put in, taken out or replaced before it. */
  | 'unlinked'
  /** It and what came after it are gone from the end. */
  | 'cut'
  /** The target remembers another entry of this number: the end was cut, and the journal went on. */
  | 'replaced';

/** What an audit found. */
export interface Audit {
  readonly run: string;
  /** Entries that are in order, up to the first that is not. */
  readonly entries: string;
  /** The newest entry that is in order. */
  readonly end: { readonly id: string; readonly hash: string };
  /** Ends that the target noted, and that were looked for; null when it has no sidecar any more (after finalise). */
  readonly noted: number | null;
  readonly problem: { readonly entry: string; readonly flaw: Flaw; readonly fact: string } | null;
}

const PAGE = 1_000;

/** Refuses where there is no journal to audit. Throws kind `refused`. */
const assertRun = async ({ source, plan }: RunContext): Promise<string> => {
  const run = (await sidecarExists(source.sql)) ? await readRun(source.sql) : null;
  if (run === null) {
    throw new SwitchbackError('refused', 'no run has been begun on these databases, so there is no journal', {
      remedy: `switchback status ${plan.path}`,
    });
  }
  if (run.version === SIDECAR_VERSION) return run.id;
  throw new SwitchbackError('refused', `the source's sidecar has version ${run.version}; this is ${SIDECAR_VERSION}`, {
    remedy: 'use the version of switchback that began the run',
  });
};

/** All entries with their links, oldest first, a page at a time. Throws kind `refused` where there is no run. */
export const readAudit = async function* (context: RunContext): AsyncGenerator<LinkedEntry> {
  await assertRun(context);
  for (let after = -1n; ; ) {
    const page = await readLinked(context.source.sql, { after, limit: PAGE });
    yield* page;
    if (page.length < PAGE) return;
    after = page.at(-1)?.id ?? after;
  }
};

/**
 * Checks the whole chain of the journal, and that every end which the target noted is still in it. Whoever may write to
 * both databases can make a chain anew; one of them is not enough. Throws kind `unreachable` when a side does not answer.
 */
export const verifyAudit = async (context: RunContext): Promise<Audit> => {
  const run = await assertRun(context);
  const { target } = context;
  // Before the entries, so that an end that is noted meanwhile is not looked for in a journal that was read earlier.
  const noted = (await sidecarExists(target.sql)) ? await readNotedEnds(target.sql) : null;
  const open = new Map((noted ?? []).map((end) => [end.id, end]));
  let end: ChainEnd = { id: 0n, hash: run };
  const found = (problem: Audit['problem']): Audit => ({
    run,
    entries: String(end.id),
    end: { id: String(end.id), hash: end.hash },
    noted: noted?.length ?? null,
    problem,
  });
  for await (const entry of readAudit(context)) {
    const problem = (await linkProblem(context, entry, end)) ?? replaced(open.get(entry.id), entry);
    if (problem !== null) return found(problem);
    open.delete(entry.id);
    end = { id: entry.id, hash: entry.hash };
  }
  return found(await cutProblem(context, end, [...open.values()]));
};

const linkProblem = async (context: RunContext, entry: LinkedEntry, end: ChainEnd): Promise<Audit['problem']> => {
  const wanted = end.id + 1n;
  if (entry.id !== wanted) {
    const fact = `entry ${wanted} is missing: after ${end.id} comes ${entry.id}`;
    return { entry: String(wanted), flaw: 'missing', fact };
  }
  const problem = (flaw: Flaw, fact: string) => ({
    entry: String(entry.id),
    flaw,
    fact: `${entryText(entry)} ${fact}`,
  });
  if (hashEntry(entry.previous, entry.fields) !== entry.hash) {
    return problem('changed', 'was changed: its fields do not give its hash');
  }
  if (entry.previous === end.hash) return null;
  const [origin] = await entriesWithHash(context.source.sql, entry.previous);
  if (origin !== undefined)
    return problem('reordered', `was written after entry ${origin}, and stands after ${end.id}`);
  return problem('unlinked', 'was written after an entry that is not there: one was put in, taken out or replaced');
};

const replaced = (noted: ChainEnd | undefined, entry: LinkedEntry): Audit['problem'] => {
  if (noted === undefined || noted.hash === entry.hash) return null;
  const fact = `${entryText(entry)} took the place of another one, which the target remembers: the journal was cut and went on`;
  return { entry: String(entry.id), flaw: 'replaced', fact };
};

/** Every take of the lease is an entry, so a run whose lease was ever held cannot have an empty journal. */
const cutProblem = async (context: RunContext, end: ChainEnd, left: readonly ChainEnd[]): Promise<Audit['problem']> => {
  const newest = left.at(-1)?.id ?? (end.id === 0n && (await wasHeld(context)) ? 1n : null);
  if (newest === null) return null;
  const from = end.id + 1n;
  const which = newest === from ? `entry ${from} is` : `entries ${from} to ${newest} are`;
  return { entry: String(from), flaw: 'cut', fact: `${which} gone from the end of the journal` };
};

const wasHeld = async ({ source }: RunContext): Promise<boolean> => (await readLease(source.sql)) !== null;

/** `entry 12 (cutover-7 · fence, begun)`. */
const entryText = ({ id, fields }: LinkedEntry): string =>
  `entry ${id} (${fields.scope} · ${fields.step}, ${fields.status})`;
