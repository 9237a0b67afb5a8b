import { createHash } from 'node:crypto';
import { messageOf, SwitchbackError } from '../domain/errors.ts';
import type { RouteFormat } from '../domain/route-format.ts';
import { monotonicMs } from '../platform/clock.ts';
import { type FileContent, readContent, replaceFile, syncFile } from '../platform/replace-file.ts';
import { inTurn } from './in-turn.ts';
import { propertiesText } from './route-properties.ts';
import { envText, jsonText, NOT_TOLD, type RouteText, RouteTextError, type StoredRoute } from './route-text.ts';
import { yamlText } from './route-yaml.ts';
import type { Repoint, Route, Router } from './router.ts';

/** Where a route file is and how it is written. */
export interface FileRouterOptions {
  /** Absolute. Made when it is not there; a symbolic link is followed to its file. */
  readonly path: string;
  readonly format: RouteFormat;
}

const TEXTS: Readonly<Record<RouteFormat, RouteText>> = {
  json: jsonText,
  yaml: yamlText,
  env: envText,
  properties: propertiesText,
};

/** How often a change is begun anew because another process wrote in between, before the file counts as contended. */
const MAX_ATTEMPTS = 20;

const unreachable = (path: string, cause: unknown): SwitchbackError => {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const mounted = code === 'EBUSY' || code === 'EXDEV';
  return new SwitchbackError('unreachable', `the route file ${path}: ${messageOf(cause)}`, {
    remedy: mounted
      ? 'the file is mounted by itself and cannot be replaced: mount its folder instead'
      : 'give this user the right to read the file and to write in its folder, and to keep its owner',
    cause,
  });
};

/**
 * A small file that the application reads, or is reloaded with. It is replaced as a whole, so a reader never sees half of
 * it; several phases of one repoint change in one replacement. The epoch of the last repoint is kept in the file, so that
 * a worker which was paused and wakes up cannot lead clients back (S7). Phases do not disturb each other: a version covers
 * the primary and the epoch of one phase. What `replaceFile` does not cover is said there.
 */
export class FileRouter implements Router {
  readonly #path: string;
  readonly #text: RouteText;

  constructor(options: FileRouterOptions) {
    this.#path = options.path;
    this.#text = TEXTS[options.format];
  }

  async observe(phase: string): Promise<Route> {
    const content = await this.#asked(() => readContent(this.#path));
    const route = this.#read(content, phase);
    return { primary: route.primary, held: route.held, version: versionOf(route) };
  }

  hold(phases: readonly string[], budgetMs: number): Promise<void> {
    return this.#change(phases, (_, route) => ({ ...route, held: true }), monotonicMs() + budgetMs);
  }

  release(phases: readonly string[]): Promise<void> {
    return this.#change(phases, (_, route) => ({ ...route, held: false }));
  }

  repoint(repoint: Repoint): Promise<void> {
    return this.#change(repoint.phases, (phase, route) => repointed(repoint, phase, route));
  }

  #read(content: FileContent, phase: string): StoredRoute {
    if (content.bytes === null) return NOT_TOLD;
    const { bytes, path } = content;
    return understood(path, () => this.#text.read(bytes, phase));
  }

  async #change(
    phases: readonly string[],
    next: (phase: string, route: StoredRoute) => StoredRoute,
    deadline = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    await inTurn(this.#path, async () => {
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
        const content = await this.#asked(() => readContent(this.#path));
        const changed = new Map<string, StoredRoute>();
        for (const phase of phases) {
          const before = this.#read(content, phase);
          const after = next(phase, before);
          if (!sameRoute(before, after)) changed.set(phase, after);
        }
        // A worker that died before its last fsync may have written what we find.
        if (changed.size === 0) return content.bytes === null ? undefined : this.#asked(() => syncFile(content.path));
        if (monotonicMs() >= deadline) throw unreachable(this.#path, new Error('no time was left to change it'));
        const bytes = understood(content.path, () => this.#text.write(content.bytes ?? Buffer.alloc(0), changed));
        const { stillAsRead } = await this.#asked(() => replaceFile(content, bytes));
        if (stillAsRead) return;
      }
      throw unreachable(this.#path, new Error(`somebody else wrote it ${MAX_ATTEMPTS} times while we did`));
    });
  }

  async #asked<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw unreachable(this.#path, error);
    }
  }
}

/** What is read from or made of a file's text; throws kind `refused` for a text that we do not understand. */
const understood = <T>(path: string, work: () => T): T => {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof RouteTextError)) throw error;
    const remedy = error.remedy ?? 'mend the file by hand, or move it away';
    throw new SwitchbackError('refused', `the route file ${path}: ${error.message}`, {
      remedy: `${remedy}, and run the command again`,
      cause: error,
    });
  }
};

const versionOf = ({ primary, epoch }: StoredRoute): string =>
  createHash('sha256')
    .update(JSON.stringify([primary, String(epoch)]))
    .digest('hex');

const sameRoute = (a: StoredRoute, b: StoredRoute): boolean =>
  a.primary === b.primary && a.held === b.held && a.epoch === b.epoch;

/** The route after a repoint. A hold stays. Throws kind `refused` for an older epoch or a version that has moved on. */
const repointed = (repoint: Repoint, phase: string, route: StoredRoute): StoredRoute => {
  const { to, epoch, expect } = repoint;
  const isAsObserved = expect[phase] === versionOf(route);
  // A higher epoch that was there before the switch is an earlier run's, which began to count anew; one that has come since
  // is a newer worker's.
  if (epoch < route.epoch && !isAsObserved) {
    if (route.primary === to) return route;
    throw new SwitchbackError('refused', `phase ${phase} was repointed by epoch ${route.epoch}, and this is ${epoch}`, {
      remedy: 'stop this worker: a newer one is at work',
    });
  }
  if (route.primary !== to && !isAsObserved) {
    throw new SwitchbackError('refused', `the route of phase ${phase} was changed by somebody since it was looked at`, {
      remedy: `see who edits the route file; it leads ${phase} to ${route.primary ?? 'no side'} now`,
    });
  }
  return { ...route, primary: to, epoch };
};
