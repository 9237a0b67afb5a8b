import { SwitchbackError } from '../../domain/errors.ts';
import { monotonicMs } from '../../platform/clock.ts';
import { exchange, type HttpEnd, type TlsFiles } from '../../platform/http.ts';
import { rememberSecret } from '../../platform/redact.ts';
import { said } from '../said.ts';

/** Where the members of a cluster are, and as whom they are asked. */
export interface EtcdMembers {
  /** URLs for which `isGuarded` holds, without a path. */
  readonly endpoints: readonly string[];
  /** Null where authentication is not enabled. */
  readonly user: { readonly name: string; readonly password: string } | null;
  readonly tls: TlsFiles;
  /** How long one member is waited for. */
  readonly timeoutMs: number;
}

/** A value of JSON as it came. */
type Answered = Readonly<Record<string, unknown>>;

/** An answer; `unknown` is for what may have been written or not. */
export type Reply =
  | { readonly how: 'answer'; readonly value: Answered }
  | { readonly how: 'unknown'; readonly reason: string };

interface Question {
  readonly path: '/v3/kv/txn' | '/v3/auth/authenticate';
  readonly body: object;
  readonly isWrite: boolean;
  /** On the monotonic clock. */
  readonly deadline: number;
}

const SHOWN = 300;
const HTTP_TOO_MANY = 429;
const HTTP_UNAUTHENTICATED = 401;
/** What 3.4 and 3.5 say of a token that was made before somebody changed a user or a role. */
const OUTDATED = 'revision of auth store is old';

/**
 * The members of an etcd cluster by the JSON gateway that each has (3.4 and newer), one after another until one answers,
 * beginning with the one that answered last. Errors: kind `unreachable` when none does, `refused` when one does and will not.
 */
export class Gateway {
  readonly #members: EtcdMembers;
  #at = 0;
  #token: string | null = null;

  constructor(members: EtcdMembers) {
    this.#members = members;
    if (members.user !== null) rememberSecret(members.user.password);
  }

  /** Carries out a transaction; see the manual of etcd's API for its form. */
  transact(body: object, options: { readonly isWrite: boolean; readonly deadline: number }): Promise<Reply> {
    return this.#ask({ path: '/v3/kv/txn', body, ...options });
  }

  async #ask(question: Question): Promise<Reply> {
    const { endpoints } = this.#members;
    const reasons: string[] = [];
    // Put in order once: the question for a token is asked within this one, and moves `#at`.
    for (const endpoint of [...endpoints.slice(this.#at), ...endpoints.slice(0, this.#at)]) {
      const end = await this.#authorised(endpoint, question);
      const value = this.#understood(endpoint, end);
      if (value !== null) {
        this.#at = endpoints.indexOf(endpoint);
        return { how: 'answer', value };
      }
      const reason = `${endpoint}: ${reasonOf(end)}`;
      if (question.isWrite && mayHaveActed(end)) return { how: 'unknown', reason };
      reasons.push(reason);
      if (monotonicMs() >= question.deadline) break;
    }
    throw new SwitchbackError('unreachable', `no member of etcd answers: ${reasons.join('; ')}`, {
      remedy: 'see that a majority of its members runs and can be reached from here, and trusts our certificate',
    });
  }

  /** An answer that counts; null when another member may know more. Throws kind `refused` when none would. */
  #understood(endpoint: string, end: HttpEnd): Answered | null {
    if (end.how !== 'answer') return null;
    const { status, body, extent } = end.answer;
    if (status >= 500 || status === 408 || status === HTTP_TOO_MANY || extent === 'cut') return null;
    const value = status === 200 && extent === 'whole' ? objectOf(body) : null;
    if (value !== null) return value;
    throw new SwitchbackError('refused', `etcd at ${endpoint} refuses: ${reasonOf(end)}`, {
      remedy: "see that the address is etcd's own, and that the router's user may read and write its keys",
    });
  }

  /** With a token, where there is a user; one that is not valid any more is replaced once. */
  async #authorised(endpoint: string, question: Question): Promise<HttpEnd> {
    const { user } = this.#members;
    if (user === null || question.path === '/v3/auth/authenticate') return await this.#once(endpoint, question, null);
    const end = await this.#once(endpoint, question, this.#token ?? (await this.#authenticate(question.deadline)));
    if (end.how !== 'answer') return end;
    const { status, body } = end.answer;
    if (status !== HTTP_UNAUTHENTICATED && !body.includes(OUTDATED)) return end;
    return await this.#once(endpoint, question, await this.#authenticate(question.deadline));
  }

  async #authenticate(deadline: number): Promise<string> {
    const body = this.#members.user ?? {};
    const reply = await this.#ask({ path: '/v3/auth/authenticate', body, isWrite: false, deadline });
    const token = reply.how === 'answer' ? reply.value.token : undefined;
    if (typeof token !== 'string') {
      throw new SwitchbackError('refused', "etcd gives no token to the router's user", {
        remedy: 'see that authentication is enabled there, or take `user` and `password` out of the plan',
      });
    }
    this.#token = token;
    return token;
  }

  #once(endpoint: string, { path, body, deadline }: Question, token: string | null): Promise<HttpEnd> {
    return exchange({
      url: new URL(path, endpoint),
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...(token === null ? {} : { Authorization: token }) },
      body: JSON.stringify(body),
      timeoutMs: Math.min(this.#members.timeoutMs, deadline - monotonicMs()),
      tls: this.#members.tls,
    });
  }
}

/** Whether a write may have been carried out, or may still be: etcd does not say of a timeout what became of it. */
const mayHaveActed = (end: HttpEnd): boolean =>
  end.how === 'lost' || (end.how === 'answer' && end.answer.status !== HTTP_TOO_MANY);

const objectOf = (text: string): Answered | null => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Answered) : null;
  } catch {
    return null;
  }
};

/** etcd's own words where there are some. */
const reasonOf = (end: HttpEnd): string => {
  if (end.how !== 'answer') return said(end.reason);
  const { message, error } = objectOf(end.answer.body) ?? {};
  const words = [message, error].find((word) => typeof word === 'string') ?? end.answer.body;
  return `status ${end.answer.status}: ${said(String(words)).slice(0, SHOWN)}`;
};
