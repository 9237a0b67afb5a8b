import type { Configuration, Middleware } from '@kubernetes/client-node';
import { isKind, SwitchbackError } from '../../domain/errors.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { before } from '../bounded.ts';
import { callsOf, type Library, loadLibrary } from './calls.ts';
import { type Asked, answerOf, failureOf, NeverAsked, type Verb } from './failures.ts';
import { type Access, Credentials } from './kubeconfig.ts';
import { type ObjectRef, type Objects, RESOURCES, type ResourceName } from './resources.ts';

/** How long one request may take, in milliseconds. */
const REQUEST_MS = 10_000;
/** How long a server that has too much to do is left alone when it does not say so itself. */
const RETRY_AFTER_MS = 1_000;
/** A request that has been cut says so at once; only what comes before it is waited for no longer than this. */
const OVERTIME_MS = 300;
/** Of a cluster in a kubeconfig. */
const SKIPPED = 'insecure-skip-tls-verify';
/** As whom the API server remembers fields that we wrote. */
const MANAGER = 'switchback';

/** How a patch is sent. */
export interface PatchOptions {
  /** The server only says whether it would. */
  readonly isTried?: boolean;
  readonly withinMs?: number;
}

/**
 * One namespace of one API server, by the client library. Objects are changed by merge patches that say no more than what
 * changes: the library's types know the fields of one version, and an object that was read and written back whole would
 * lose those of a newer server. `metadata.resourceVersion` in a patch is its condition, as it is in a replacement; and a
 * field that the server does not know is refused instead of dropped in silence.
 *
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/ for resource versions, dry runs and field validation
 */
export class Cluster {
  readonly namespace: string;
  readonly #credentials: Credentials;
  #date: string | undefined;

  constructor(options: Access & { readonly namespace: string }) {
    this.namespace = options.namespace;
    this.#credentials = new Credentials(options);
  }

  /** The address of the API server, and what keeps its certificate from being looked at; null for nothing. Throws kind `refused`. */
  async server(): Promise<{ readonly address: string; readonly unverifiedBy: string | null }> {
    const cluster = (await this.#credentials.config(await loadLibrary())).getCurrentCluster();
    const address = cluster?.server ?? '';
    if (cluster?.skipTLSVerify === true) return { address, unverifiedBy: SKIPPED };
    // Node reads it, since the library says nothing of its own.
    const isOff = process.env.NODE_TLS_REJECT_UNAUTHORIZED === '0';
    return { address, unverifiedBy: isOff ? 'NODE_TLS_REJECT_UNAUTHORIZED=0' : null };
  }

  /** When the server gave its last answer, by its own clock: RFC 3339, in seconds. Null before the first. */
  get date(): string | null {
    const at = new Date(this.#date ?? '');
    return Number.isNaN(at.valueOf()) ? null : at.toISOString().replace(/\.\d+Z$/, 'Z');
  }

  /** Throws kind `refused` where there is none, or we may not. */
  read<N extends ResourceName>(ref: ObjectRef<N>, withinMs = REQUEST_MS): Promise<Objects[N]> {
    const call = { name: ref.name, namespace: this.namespace };
    return this.#ask({ ...call, verb: 'get', of: ref.of }, withinMs, (k8s, configuration) =>
      callsOf(k8s, configuration)[ref.of].read(call),
    );
  }

  /** False when the object is not the one any more whose `resourceVersion` is in the patch; nothing was changed then. */
  async patch(ref: ObjectRef, body: object, options: PatchOptions = {}): Promise<boolean> {
    const call = { name: ref.name, namespace: this.namespace };
    const sent = { ...call, body, fieldManager: MANAGER, fieldValidation: 'Strict' };
    const tried = options.isTried === true ? { dryRun: 'All' } : {};
    try {
      const asked: Asked = { ...call, verb: 'patch', of: ref.of, isTried: options.isTried === true };
      await this.#ask(asked, options.withinMs ?? REQUEST_MS, (k8s, configuration) =>
        callsOf(k8s, configuration)[ref.of].patch({ ...sent, ...tried }),
      );
      return true;
    } catch (error) {
      if (isKind(error, 'busy')) return false;
      throw error;
    }
  }

  /** All objects of a sort, or those with a label. */
  async list<N extends ResourceName>(of: N, labelSelector?: string): Promise<readonly Objects[N][]> {
    const asked: Asked = { verb: 'list', of, name: null, namespace: this.namespace };
    const call = { namespace: this.namespace, ...(labelSelector === undefined ? {} : { labelSelector }) };
    const { items } = await this.#ask(asked, REQUEST_MS, (k8s, configuration) =>
      callsOf(k8s, configuration)[of].list(call),
    );
    return items;
  }

  /** Whether we may do something; null where we may not even ask. */
  async may(verb: Verb, of: ResourceName, name: string | null): Promise<boolean | null> {
    const { group, plural: resource } = RESOURCES[of];
    const { namespace } = this;
    const resourceAttributes = { verb, group, resource, namespace, ...(name === null ? {} : { name }) };
    try {
      const review = await this.#ask({ verb: 'get', of, name, namespace }, REQUEST_MS, (k8s, configuration) =>
        new k8s.AuthorizationV1Api(configuration).createSelfSubjectAccessReview({
          body: { spec: { resourceAttributes } },
        }),
      );
      return review.status?.allowed === true;
    } catch (error) {
      if (error instanceof SwitchbackError && answerOf(error.cause)?.status === 403) return null;
      throw error;
    }
  }

  /** Asks, and asks again when the server was too busy to look at the request. */
  async #ask<T>(
    asked: Asked,
    withinMs: number,
    work: (k8s: Library, configuration: Configuration) => Promise<T>,
  ): Promise<T> {
    const deadline = monotonicMs() + Math.min(withinMs, REQUEST_MS);
    const k8s = await loadLibrary();
    const credentials = await this.#credentials.config(k8s);
    const address = credentials.getCurrentCluster()?.server ?? '';
    for (;;) {
      try {
        const configuration = k8s.createConfiguration({
          baseServer: new k8s.ServerConfiguration(address, {}),
          authMethods: { default: credentials },
          promiseMiddleware: [this.#until(deadline)],
        });
        // A program that the kubeconfig names for credentials knows of no deadline.
        return await before(deadline - monotonicMs() + OVERTIME_MS, work(k8s, configuration));
      } catch (error) {
        const pauseMs = retryAfterMs(error);
        if (pauseMs === null || monotonicMs() + pauseMs >= deadline) throw failureOf(address, asked, error);
        await sleep(pauseMs);
      }
    }
  }

  /** Ends a request at its deadline, and lets none begin after it. */
  #until(deadline: number): Middleware {
    return {
      pre: async (context) => {
        const leftMs = deadline - monotonicMs();
        if (leftMs <= 0) throw new NeverAsked('its time was over when our credentials were known');
        context.setSignal(AbortSignal.timeout(Math.ceil(leftMs)));
        // The first of those that the library knows would be a JSON patch.
        if (context.getHttpMethod() === 'PATCH') context.setHeaderParam('Content-Type', 'application/merge-patch+json');
        return context;
      },
      post: async (context) => {
        this.#date = context.headers.date;
        return context;
      },
    };
  }
}

/** How long to wait before a request is repeated that was not looked at (429); null for every other error. */
const retryAfterMs = (error: unknown): number | null => {
  if (answerOf(error)?.status !== 429) return null;
  const headers = error instanceof Error && 'headers' in error ? error.headers : undefined;
  const given =
    typeof headers === 'object' && headers !== null && 'retry-after' in headers ? headers['retry-after'] : '';
  const seconds = Number(given);
  return given !== '' && seconds >= 0 ? seconds * 1_000 : RETRY_AFTER_MS;
};
