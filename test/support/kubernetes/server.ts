import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { type Certificates, makeCertificates } from '../certificates.ts';
import { Controllers } from './controllers.ts';
import { at, isJson, type Json } from './json.ts';
import { KINDS } from './kinds.ts';
import { Refusal, Store } from './store.ts';

/** Something that goes wrong with the next request of a sort. */
export interface Fault {
  readonly verb: 'get' | 'list' | 'patch';
  /** As in paths: `configmaps`. */
  readonly plural: string;
  /** Answers with this status, with `Retry-After` where it is given, and does nothing. */
  readonly status?: number;
  readonly retryAfterS?: number;
  /** The message of such an answer. */
  readonly says?: string;
  /** Does what was asked, then drops the connection. */
  readonly isDroppedAfter?: true;
  /** Does something else first: what somebody does between a look and a write. */
  readonly before?: () => void;
  /** Waits so long before it does anything. */
  readonly delayMs?: number;
}

/** What a kubeconfig says otherwise. */
interface KubeconfigChange {
  readonly token?: string;
  readonly user?: Json;
  readonly cluster?: Json;
  readonly port?: number;
}

/**
 * A fake of a Kubernetes API server, because none can be had where tests run: no result of these tests says how a real one
 * behaves. It speaks HTTPS with an authority of its own, knows who has its token, keeps objects with resource versions and
 * dry runs, checks what it is given against the client library's own generated models, and has controllers for workloads.
 * Its clock goes on by a second with every answer. It has merge patches alone, one namespace, no watch, no admission and no defaults.
 */
export class FakeKubernetes {
  readonly store: Store;
  readonly controllers: Controllers;
  /** What was asked, as `patch configmaps/shop`. Dry runs as `try configmaps/shop`. */
  readonly asked: string[] = [];
  /** `verb plural` that our token may not do; `selfsubjectaccessreviews` that it may not even ask. */
  readonly denied = new Set<string>();
  readonly token = randomBytes(24).toString('hex');
  readonly folder: string;
  readonly #faults: Fault[] = [];
  #answers = 0;
  readonly #certificates: Certificates;
  readonly #server: ReturnType<typeof createServer>;

  private constructor(namespace: string, certificates: Certificates, folder: string) {
    this.store = new Store(namespace);
    this.controllers = new Controllers(this.store);
    this.#certificates = certificates;
    this.folder = folder;
    certificates.issue(folder, { names: 'IP:127.0.0.1', days: 2 });
    const key = readFileSync(join(folder, 'server.key'));
    const cert = readFileSync(join(folder, 'server.crt'));
    this.#server = createServer({ key, cert }, (request, response) => void this.#answer(request, response));
  }

  /** Null, with a loud line, where there is no openssl; under CI=true that is a failure. */
  static async start(namespace: string): Promise<FakeKubernetes | null> {
    const certificates = makeCertificates();
    if (certificates === null) return null;
    const fake = new FakeKubernetes(namespace, certificates, mkdtempSync(join(tmpdir(), 'switchback-kubernetes-')));
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    return fake;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The certificate of its authority, or of another one. */
  authority(name: 'ours' | 'other' = 'ours'): string {
    return this.#certificates.authority(name);
  }

  /** Writes a kubeconfig for it; returns its path. */
  kubeconfig(change: KubeconfigChange = {}): string {
    const path = join(this.folder, `config-${randomBytes(4).toString('hex')}`);
    writeFileSync(path, this.kubeconfigText(change));
    return path;
  }

  kubeconfigText(change: KubeconfigChange = {}): string {
    const server = `https://127.0.0.1:${change.port ?? this.port}`;
    const cluster = { server, 'certificate-authority': this.authority(), ...change.cluster };
    const context = { cluster: 'fake', user: 'switchback' };
    // JSON is YAML.
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'fake', cluster }],
      users: [{ name: 'switchback', user: change.user ?? { token: change.token ?? this.token } }],
      contexts: [{ name: 'tests', context }],
      'current-context': 'tests',
    });
  }

  authorityText(): string {
    return readFileSync(this.authority(), 'utf8');
  }

  /** The next request that fits goes wrong so. */
  failNext(fault: Fault): void {
    this.#faults.push(fault);
  }

  async stop(): Promise<void> {
    await this.controllers.stop();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    this.#certificates.remove();
    rmSync(this.folder, { recursive: true });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      this.#answers += 1;
      response.setHeader('Date', new Date(Date.UTC(2026, 0, 1) + this.#answers * 1_000).toUTCString());
      const body = await text(request);
      const answer = await this.#handle(request, { body, response });
      if (answer !== null) send(response, 200, answer);
    } catch (error) {
      const { status, reason } = error instanceof Refusal ? error : { status: 500, reason: 'InternalError' };
      const message = error instanceof Error ? error.message : String(error);
      send(response, status, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, reason, message });
    }
  }

  async #handle(
    request: IncomingMessage,
    { body, response }: { readonly body: string; readonly response: ServerResponse },
  ): Promise<Json | null> {
    if (request.headers.authorization !== `Bearer ${this.token}`)
      throw new Refusal(401, 'Unauthorized', 'Unauthorized');
    const url = new URL(request.url ?? '', 'https://fake');
    if (url.pathname === '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews') return this.#review(body);
    const [, plural = '', name] = this.#matched(url.pathname);
    const isPatch = request.method === 'PATCH';
    const verb = isPatch ? 'patch' : name === undefined ? 'list' : 'get';
    const isTried = url.searchParams.get('dryRun') === 'All';
    this.asked.push(`${isTried ? 'try' : verb} ${plural}${name === undefined ? '' : `/${name}`}`);
    this.#authorize(verb, plural, name);
    const fault = this.#takeFault(verb, plural);
    if (fault?.delayMs !== undefined) await delay(fault.delayMs);
    fault?.before?.();
    if (fault?.status !== undefined) {
      if (fault.retryAfterS !== undefined) response.setHeader('Retry-After', String(fault.retryAfterS));
      throw new Refusal(fault.status, 'Fault', fault.says ?? `planted: ${fault.status}`);
    }
    const answer = isPatch
      ? this.#patch(request, { plural, name: name ?? '', body, url })
      : this.#read(plural, name, url);
    if (fault?.isDroppedAfter === undefined) return answer;
    request.socket.destroy();
    return null;
  }

  #matched(path: string): readonly string[] {
    const found = /^\/(?:api\/v1|apis\/[a-z0-9.]+\/v1)\/namespaces\/([^/]+)\/([a-z]+)(?:\/([^/]+))?$/.exec(path);
    const [, namespace, plural = '', name] = found ?? [];
    const group = (KINDS[plural]?.apiVersion ?? '').includes('/') ? `/apis/${KINDS[plural]?.apiVersion}/` : '/api/v1/';
    if (namespace !== this.store.namespace || !path.startsWith(group)) {
      throw new Refusal(404, 'NotFound', 'the server could not find the requested resource');
    }
    return name === undefined ? [path, plural] : [path, plural, decodeURIComponent(name)];
  }

  #patch(
    request: IncomingMessage,
    asked: { readonly plural: string; readonly name: string; readonly body: string; readonly url: URL },
  ): Json {
    const { plural, name, body, url } = asked;
    if (request.headers['content-type'] !== 'application/merge-patch+json') {
      throw new Refusal(415, 'UnsupportedMediaType', 'the body of the request was in an unknown format');
    }
    if (url.searchParams.get('fieldValidation') !== 'Strict') {
      throw new Refusal(400, 'BadRequest', 'the fake has strict field validation alone');
    }
    const patch: unknown = JSON.parse(body);
    if (!isJson(patch)) throw new Refusal(400, 'BadRequest', 'error decoding patch');
    return this.store.patch(plural, name, { patch, isTried: url.searchParams.get('dryRun') === 'All' });
  }

  #read(plural: string, name: string | undefined, url: URL): Json {
    if (name !== undefined) return this.store.get(plural, name);
    const [label = '', value = ''] = (url.searchParams.get('labelSelector') ?? '').split('=');
    const items = this.store
      .list(plural)
      .filter((item) => label === '' || at(item, 'metadata', 'labels')[label] === value);
    const { kind = '', apiVersion = '' } = KINDS[plural] ?? {};
    return { kind: `${kind}List`, apiVersion, metadata: {}, items };
  }

  #review(body: string): Json {
    if (this.denied.has('selfsubjectaccessreviews')) throw new Refusal(403, 'Forbidden', 'forbidden: cannot create');
    const review: unknown = JSON.parse(body);
    const { verb, resource, namespace } = at(review, 'spec', 'resourceAttributes');
    const allowed = namespace === this.store.namespace && !this.denied.has(`${String(verb)} ${String(resource)}`);
    return {
      kind: 'SelfSubjectAccessReview',
      apiVersion: 'authorization.k8s.io/v1',
      ...at(review),
      status: { allowed },
    };
  }

  #authorize(verb: string, plural: string, name: string | undefined): void {
    if (!this.denied.has(`${verb} ${plural}`)) return;
    const who = 'User "system:serviceaccount:shop:switchback"';
    const what = `cannot ${verb} resource "${plural}" in the namespace "${this.store.namespace}"`;
    throw new Refusal(403, 'Forbidden', `${plural} "${name ?? ''}" is forbidden: ${who} ${what}`);
  }

  #takeFault(verb: string, plural: string): Fault | undefined {
    const index = this.#faults.findIndex((fault) => fault.verb === verb && fault.plural === plural);
    return index < 0 ? undefined : this.#faults.splice(index, 1)[0];
  }
}

const send = (response: ServerResponse, status: number, body: Json): void => {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
};
