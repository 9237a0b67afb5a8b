import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { messageOf, SwitchbackError } from '../domain/errors.ts';
import { documentProblems, sameUrl } from './checks.ts';
import { canonicalOf, hashOf } from './diff.ts';
import { type Json, type LocatedDocument, MAX_BYTES, readDocument } from './document.ts';
import { type Environment, hasReference, interpolate, isReference } from './interpolate.ts';
import { isHidden, issueProblems, isWebhookUrl } from './issues.ts';
import { type ProbePlan, probesOf } from './probe-plan.ts';
import { type Path, type Problem, pathText, problemsError } from './problem.ts';
import { type RouterPlan, routerOf } from './router-plan.ts';
import { type PlanDocument, planSchema } from './schema.ts';
import { type ObjectsPlan, placeOf, type SnapshotsPlan, snapshotsOf } from './snapshot-plan.ts';
import { listOf } from './values.ts';

/** Where the target's tables come from. Files are absolute paths, run in this order. */
export type SchemaSource =
  | { readonly from: 'pg_dump' }
  | { readonly from: 'existing' }
  | { readonly from: 'files'; readonly files: readonly string[] };

/** One phase of a plan. Which tables it takes is decided by `assignTables`, once the database has been read. */
export interface PlanPhase {
  readonly name: string;
  /** Phases that must be cut over before it. They exist, and there is no cycle. */
  readonly after: readonly string[];
  /** Patterns, well-formed. */
  readonly tables: readonly string[];
  /** Keys of the plan's `routers`, in the order in which they act. At least one, and none twice. */
  readonly routers: readonly string[];
  /** Keys of the plan's `routers` that lead only readers, in the order in which they act; none of them in `routers`. */
  readonly readers: readonly string[];
}

/** A loaded plan: validated, defaults filled in, references to the environment resolved, paths absolute. */
export interface Plan {
  readonly version: 1;
  readonly name: string;
  /** URLs hold secrets: print `redactUrl` of them, never themselves. */
  readonly source: { readonly url: string };
  readonly target: { readonly url: string };
  readonly engine: 'stream' | 'native';
  /** URLs by which the other side's server reaches each; secrets as in `source` and `target`. */
  readonly native: { readonly source: string; readonly target: string };
  readonly schema: SchemaSource;
  readonly phases: readonly PlanPhase[];
  readonly ignore: readonly string[];
  readonly routers: ReadonlyMap<string, RouterPlan>;
  /** Of the routers whose clients' paths are named. */
  readonly probes: ReadonlyMap<string, ProbePlan>;
  /** Null where the plan sets no limit. */
  readonly copy: { readonly bytesPerSecond: number | null };
  readonly switch: {
    readonly maxLagMs: number;
    readonly windowMs: number;
    readonly blockers: { readonly waitMs: number; readonly action: 'terminate' | 'abort' };
    /** What becomes of clients that stay on the side that a switch has led away from. */
    readonly sessionsLeft: { readonly waitMs: number; readonly action: 'terminate' | 'tell' };
  };
  readonly verify: { readonly freshForMs: number };
  /** `archive` is where all changes of the soak are kept, or null. */
  readonly soak: { readonly forMs: number; readonly archive: ObjectsPlan | null };
  /** Null where the plan makes none. */
  readonly snapshots: SnapshotsPlan | null;
  /** SHA-256 of `canonical`, in hex: pinned when a run starts. */
  readonly hash: string;
  /**
   * The document as written with its keys sorted, before the environment, and with a hash instead of a webhook's path: no
   * secrets, made for `diffPlans`.
   */
  readonly canonical: Json;
  /** As given to `loadPlan`, for messages and for commands to print. */
  readonly path: string;
  /** Absolute; relative paths of the plan start here. */
  readonly directory: string;
}

/**
 * What a run moves may not depend on the machine that reads the plan: these are pinned by the hash, which is taken before
 * the environment is filled in.
 */
const PINNED = new Set(['version', 'name', 'engine', 'phases', 'ignore']);

const mapTexts = (value: Json, change: (text: string, path: Path) => string, path: Path = []): Json => {
  if (typeof value === 'string') return change(value, path);
  if (Array.isArray(value)) return value.map((item, index) => mapTexts(item, change, [...path, index]));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value as { readonly [key: string]: Json });
  return Object.fromEntries(entries.map(([key, item]) => [key, mapTexts(item, change, [...path, key])]));
};

/** Fills in every text of a document. Problems carry the place of the text. */
const fill = (document: LocatedDocument, env: Environment): { value: Json; problems: readonly Problem[] } => {
  const problems: Problem[] = [];
  const text = (value: string, path: Path): string => {
    const report = (what: string, remedy: string): void => {
      const shown = isHidden(document.value, path) ? undefined : value;
      problems.push({ spot: document.spot(path), what: `${pathText(path)} ${what}`, value: shown, remedy });
    };
    if (PINNED.has(String(path[0])) && hasReference(value)) {
      report('refers to the environment', 'write it out: what is moved must not depend on who reads the plan');
      return value;
    }
    const filled = interpolate(value, env);
    if ('text' in filled) return filled.text;
    for (const { what, remedy } of filled.problems) report(what, remedy);
    return '';
  };
  return { value: mapTexts(document.value, text), problems };
};

const schemaOf = (schema: PlanDocument['schema'], directory: string): SchemaSource =>
  schema.files === undefined
    ? { from: schema.from ?? 'pg_dump' }
    : { from: 'files', files: schema.files.map((file) => resolve(directory, file)) };

const planOf = (document: PlanDocument, canonical: Json, path: string): Plan => {
  const directory = dirname(resolve(path));
  const { max_lag, window, blockers, sessions_left } = document.switch;
  const about = { directory, region: document.snapshots?.region };
  return {
    version: document.version,
    name: document.name,
    source: document.source,
    target: document.target,
    engine: document.engine,
    native: {
      source: document.native?.source?.url ?? document.source.url,
      target: document.native?.target?.url ?? document.target.url,
    },
    schema: schemaOf(document.schema, directory),
    phases: document.phases.map(({ router, reads, ...phase }) => ({
      ...phase,
      routers: listOf(router),
      readers: listOf(reads ?? []),
    })),
    ignore: document.ignore,
    routers: new Map(
      Object.entries(document.routers).map(([name, router]) => {
        const led = document.phases.filter(({ router, reads }) => [router, reads ?? []].flat().includes(name));
        return [name, routerOf(router, { directory, phases: led.map((phase) => phase.name) })];
      }),
    ),
    probes: probesOf(document),
    copy: { bytesPerSecond: document.copy.limit ?? null },
    switch: {
      maxLagMs: max_lag,
      windowMs: window,
      blockers: { waitMs: blockers.wait, action: blockers.then },
      sessionsLeft: { waitMs: sessions_left.wait, action: sessions_left.then },
    },
    verify: { freshForMs: document.verify.fresh_for },
    soak: { forMs: document.soak.for, archive: placeOf(document.soak.archive, about) },
    snapshots: document.snapshots === undefined ? null : snapshotsOf(document.snapshots, directory),
    hash: hashOf(canonical),
    canonical,
    path,
    directory,
  };
};

/**
 * The document with the URLs of its webhooks as far as the host: a secret in a path need not look like one. What is behind it
 * becomes a hash, so that a change is seen.
 */
const withoutPaths = (root: Json): Json =>
  mapTexts(root, (text, path) => (isWebhookUrl(root, path) ? withoutPath(text) : text));

const withoutPath = (url: string): string => {
  const [host = ''] = /^\w+:\/\/[^/?#\s]*/.exec(url) ?? [];
  if (isReference(url) || url === host) return url;
  return `${host}/… (SHA-256 ${createHash('sha256').update(url).digest('hex')})`;
};

/**
 * Makes a plan of the bytes of its file. Throws kind `usage` with every problem on a line of its own,
 * `file:line:column: what: value "…"; remedy`. Values that came from the environment are never in it.
 */
export const parsePlan = (bytes: Uint8Array, path: string, env: Environment): Plan => {
  const document = readDocument(bytes);
  if (document.value === null && document.problems.length > 0) throw problemsError(path, document.problems);
  const filled = fill(document, env);
  // A text that could not be filled in was reported already, and zod would only complain that it is empty.
  const unfilled = new Set(filled.problems.map((problem) => JSON.stringify(problem.spot)));
  const parsed = planSchema.safeParse(filled.value);
  const found = parsed.success ? [] : issueProblems(parsed.error.issues, document);
  const problems = [
    ...document.problems,
    ...filled.problems,
    ...found.filter((problem) => !unfilled.has(JSON.stringify(problem.spot))),
    ...documentProblems(document),
    ...(parsed.success ? sameUrl(document, { source: parsed.data.source.url, target: parsed.data.target.url }) : []),
  ];
  if (problems.length > 0 || !parsed.success) throw problemsError(path, problems);
  return planOf(parsed.data, canonicalOf(withoutPaths(document.value)), path);
};

/** A file's first bytes, one more than a plan may have, so that a device or a dump given by mistake is not read whole. */
const readBounded = async (path: string): Promise<Uint8Array> => {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { end: MAX_BYTES })) chunks.push(chunk);
  return Buffer.concat(chunks);
};

/** Reads and validates a plan. Throws kind `usage` when it cannot be read or has any problem; see {@link parsePlan}. */
export const loadPlan = async (path: string, env: Environment): Promise<Plan> => {
  const bytes = await readBounded(path).catch((error: unknown) => {
    throw new SwitchbackError('usage', `the plan ${path} cannot be read: ${messageOf(error)}`, {
      remedy: 'give the path of a plan, such as plans/postgres-13-to-18.yaml',
      cause: error,
    });
  });
  return parsePlan(bytes, path, env);
};
