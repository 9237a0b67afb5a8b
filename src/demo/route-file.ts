import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Side } from '../domain/position.ts';

/** Where clients of one phase are led. */
export interface PhaseRoute {
  readonly primary: Side;
  readonly held: boolean;
}

/** What to watch and whom to tell. */
export interface RouteFileOptions {
  readonly path: string;
  readonly phases: readonly string[];
  /** Called with the first route of each phase and with every change, before anybody who waits goes on. */
  readonly onChange?: (phase: string, route: PhaseRoute) => void;
}

/** A file system may drop a notice or have none; no client may wait much longer than this for a release. */
const POLL_MS = 50;

/**
 * The application's side of the file router: follows the JSON file that says, for each phase, which side is primary and
 * whether clients are to wait. While the file is missing or unreadable, the last route holds; without one, clients wait.
 */
export class RouteFile {
  readonly #options: RouteFileOptions;
  readonly #routes = new Map<string, PhaseRoute>();
  readonly #waiting = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;
  #text = '';

  constructor(options: RouteFileOptions) {
    this.#options = options;
    this.#read();
    this.#timer = setInterval(() => this.#read(), POLL_MS);
    this.#watch();
  }

  /** The route of a phase, or undefined when it is not known yet. */
  route(phase: string): PhaseRoute | undefined {
    return this.#routes.get(phase);
  }

  /** Resolves at the next change of any phase, at `wake`, or after `ms`. */
  async changed(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
    });
  }

  /** Lets everybody in `changed` go on. */
  wake(): void {
    for (const resolve of [...this.#waiting]) resolve();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watcher?.close();
    this.wake();
  }

  #watch(): void {
    const { path } = this.#options;
    try {
      // The directory, because the router replaces the file, and a watch of the old one would see nothing more.
      this.#watcher = watch(dirname(path), (_event, name) => {
        if (name === null || name === basename(path)) this.#read();
      });
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // No notices here (too many watches, or no such directory yet); the poll sees every change.
    }
  }

  #read(): void {
    const text = readOrEmpty(this.#options.path);
    if (text === this.#text || text === '') return;
    const routes = parseRoutes(text, this.#options.phases);
    if (routes === undefined) return;
    this.#text = text;
    for (const [phase, route] of routes) {
      const before = this.#routes.get(phase);
      if (before?.primary === route.primary && before.held === route.held) continue;
      this.#routes.set(phase, route);
      this.#options.onChange?.(phase, route);
    }
    this.wake();
  }
}

const readOrEmpty = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** The routes of those phases that the file knows a primary for; undefined when it is not an object in JSON. */
const parseRoutes = (text: string, phases: readonly string[]): Map<string, PhaseRoute> | undefined => {
  const content = parseObject(text);
  if (content === undefined) return undefined;
  const routes = new Map<string, PhaseRoute>();
  for (const phase of phases) {
    const entry = content[phase];
    if (!isRecord(entry)) continue;
    const { primary, held } = entry;
    if (primary === 'source' || primary === 'target') routes.set(phase, { primary, held: held === true });
  }
  return routes;
};

const parseObject = (text: string): Record<string, unknown> | undefined => {
  try {
    const content: unknown = JSON.parse(text);
    return isRecord(content) ? content : undefined;
  } catch {
    return undefined;
  }
};

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
