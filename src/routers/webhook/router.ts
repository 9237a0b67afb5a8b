import { randomUUID } from 'node:crypto';
import { isKind, SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import { monotonicMs, sleep, wallMs } from '../../platform/clock.ts';
import { exchange, type HttpAnswer, type HttpEnd, type TlsFiles } from '../../platform/http.ts';
import { rememberSecret } from '../../platform/redact.ts';
import { urlSecrets } from '../../platform/url-secrets.ts';
import { routeOf } from '../observed.ts';
import type { Repoint, Route, Router } from '../router.ts';
import { said } from '../said.ts';
import { type Call, messageOf } from './message.ts';
import { isDone, type Verdict, verdictOf } from './verdict.ts';

/** Whom to ask, and what it knows besides `repoint`. */
export interface WebhookOptions {
  /** One for which `isGuarded` holds. Its path and query may hold secrets: only its origin is ever told. */
  readonly url: string;
  /** Known to the receiver as well; never told. */
  readonly secret: string;
  /** Name of the run, for receivers that serve several. */
  readonly run: string;
  /** The method by which it is asked where a phase leads; null when it cannot be. */
  readonly observe: 'GET' | 'POST' | null;
  /** Whether it knows `hold` and `release`. */
  readonly holds: boolean;
  /** For one call with all its repetitions. */
  readonly timeoutMs: number;
  readonly tls: Pick<TlsFiles, 'ca'>;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
const ANSWER_SHOWN = 300;

/**
 * Asks a server of the plan's author by signed requests; docs/repointing.md has its protocol. Every call has a key of its own
 * that its repetitions keep: a receiver that knows a key repeats its answer, so that what was done by a request whose answer
 * was lost is not done twice, and the second hold of a hold, a release and a hold is not taken for the first. Without
 * `observe` it is never known where clients are led. With it, a repoint to where they are led already asks for nothing, and
 * one whose version has moved on is refused; the receiver has to compare versions and epochs itself when it acts.
 */
export class WebhookRouter implements Router {
  readonly #options: WebhookOptions;

  constructor(options: WebhookOptions) {
    this.#options = options;
    rememberSecret(options.secret);
    for (const part of urlSecrets(options.url)) rememberSecret(part);
  }

  async observe(phase: string): Promise<Route> {
    if (this.#options.observe === null) return { primary: null, held: false, version: '' };
    const call = { action: 'observe', phases: [phase] } as const;
    const answer = await this.#ask(call, this.#options.timeoutMs);
    if (answer.extent === 'cut') throw this.#cutOff(phase);
    const route = answer.extent === 'whole' ? routeOf(answer.body) : null;
    if (route === null) throw this.#malformed(phase, answer);
    return route;
  }

  async hold(phases: readonly string[], budgetMs: number): Promise<void> {
    if (!this.#options.holds || phases.length === 0) return;
    const leftMs = Math.min(budgetMs, this.#options.timeoutMs);
    if (leftMs <= 0) {
      throw new SwitchbackError('unreachable', `no time was left to ask ${this.#name} to hold ${phases.join(', ')}`, {
        remedy: 'raise switch.window',
      });
    }
    await this.#ask({ action: 'hold', phases, untilMs: wallMs() + leftMs }, leftMs);
  }

  async release(phases: readonly string[]): Promise<void> {
    if (!this.#options.holds || phases.length === 0) return;
    await this.#ask({ action: 'release', phases }, this.#options.timeoutMs);
  }

  async repoint({ phases, to, expect, epoch }: Repoint): Promise<void> {
    const open: string[] = [];
    for (const phase of phases) {
      const route = await this.observe(phase);
      if (route.primary === to) continue;
      if (this.#options.observe !== null && route.version !== expect[phase]) throw movedOn(phase, route);
      open.push(phase);
    }
    if (open.length === 0) return;
    // Who cannot be asked has no versions either, and must not be told to compare with nothing.
    const expected = Object.fromEntries(open.flatMap((phase) => (expect[phase] ? [[phase, expect[phase]]] : [])));
    await this.#ask({ action: 'repoint', phases: open, to, epoch, expect: expected }, this.#options.timeoutMs);
  }

  /** Asks where the phases lead, and so whether the receiver is there and takes our signature. */
  async findings(phases: readonly string[]): Promise<readonly Finding[]> {
    if (this.#options.observe === null) {
      const fact = 'it is not asked where it leads, so that an edit by somebody else is not noticed';
      const remedy = 'let the receiver answer `observe`, and write observe: GET';
      return [{ id: 'router/blind', severity: 'warns', subject: this.#name, fact, remedy }];
    }
    try {
      for (const phase of phases) await this.observe(phase);
      return [];
    } catch (error) {
      if (!isKind(error, 'refused')) throw error;
      const { message, remedy = 'mend that' } = error;
      return [{ id: 'router/refused', severity: 'blocks', subject: this.#name, fact: message, remedy }];
    }
  }

  get #name(): string {
    return `the router's webhook at ${new URL(this.#options.url).origin}`;
  }

  /** Asks until there is an answer that counts, or the time is over. */
  async #ask(call: Call, budgetMs: number): Promise<HttpAnswer> {
    const deadline = monotonicMs() + budgetMs;
    const method = call.action === 'observe' ? (this.#options.observe ?? 'POST') : 'POST';
    const key = randomUUID();
    let isUnknown = false;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const timeoutMs = deadline - monotonicMs();
      const end = await exchange({
        ...messageOf(this.#options, call, { method, key }),
        timeoutMs,
        tls: this.#options.tls,
      });
      if (end.how === 'answer' && isDone(end.answer)) return end.answer;
      const verdict = verdictOf(end);
      isUnknown ||= verdict.kind === 'unknown';
      const waitMs = Math.max(pauseMs, end.how === 'answer' ? end.answer.retryAfterMs : 0);
      if (!verdict.isRepeated || monotonicMs() + waitMs >= deadline) {
        // After a request of which nothing is known, also a refusal may be of what that one has changed.
        throw this.#failure(call, { end, verdict: isUnknown ? { ...verdict, kind: 'unknown' } : verdict });
      }
      await sleep(waitMs);
    }
  }

  #failure(call: Call, { end, verdict }: { readonly end: HttpEnd; readonly verdict: Verdict }): SwitchbackError {
    const why = this.#shown(end.how === 'answer' ? end.answer.body : end.reason);
    const message = `${this.#name}, asked for ${call.action} of ${call.phases.join(', ')}, ${verdict.what}`;
    // A look changes nothing: one without an answer is nothing to be looked up.
    const kind = call.action === 'observe' && verdict.kind === 'unknown' ? 'unreachable' : verdict.kind;
    return new SwitchbackError(kind, why === '' ? message : `${message}: ${why}`, { remedy: verdict.remedy });
  }

  #cutOff(phase: string): SwitchbackError {
    const message = `${this.#name}, asked for observe of ${phase}, did not get to the end of its answer`;
    return new SwitchbackError('unreachable', message, { remedy: 'see what kept it from that' });
  }

  #malformed(phase: string, answer: HttpAnswer): SwitchbackError {
    const text = `${JSON.stringify(this.#shown(answer.body))}${answer.extent === 'whole' ? '' : ' and more'}`;
    return new SwitchbackError('refused', `${this.#name}, asked for observe of ${phase}, answered ${text}`, {
      remedy: 'make it answer {"primary":"source","held":false,"version":"…"}, then: switchback status PLAN',
    });
  }

  /** The beginning of what a receiver said. The path that it was asked by is often in it, and may be a secret. */
  #shown(text: string): string {
    const { pathname, search, searchParams } = new URL(this.#options.url);
    const hidden = [search, ...searchParams.values(), pathname].filter((part) => part.length > 1);
    return said(hidden.reduce((shown, part) => shown.replaceAll(part, '…'), text)).slice(0, ANSWER_SHOWN);
  }
}

const movedOn = (phase: string, route: Route): SwitchbackError =>
  new SwitchbackError('refused', `the route of phase ${phase} was changed by somebody since it was looked at`, {
    remedy: `see who else repoints it; it leads to ${route.primary ?? 'no side'} now`,
  });
