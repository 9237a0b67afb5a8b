import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { rememberSecret } from '../../platform/redact.ts';
import type { Library } from './calls.ts';

/** Which API server, and who we are to it. */
export interface Access {
  /** Absolute path of a kubeconfig, or null for the service account of the pod that we run in. */
  readonly kubeconfig: string | null;
  /** Of the kubeconfig; null for its current one. */
  readonly context: string | null;
  /** Where a pod's files begin: '' but in tests. */
  readonly podRoot: string;
}

const refused = (message: string, remedy: string, cause?: unknown): SwitchbackError =>
  new SwitchbackError('refused', message, { remedy, cause });

/**
 * Who we are to the API server, as the kubeconfig or the pod says. A kubeconfig is read again for every request, because
 * whoever renews its credentials replaces it; only one that has changed makes the library forget what it has got by it.
 */
export class Credentials {
  readonly #access: Access;
  #read: { readonly text: string; readonly config: KubeConfig } | undefined;

  constructor(access: Access) {
    this.#access = access;
  }

  /** Throws kind `refused` for what cannot be read or names nothing. */
  async config(k8s: Library): Promise<KubeConfig> {
    const { kubeconfig } = this.#access;
    if (kubeconfig === null) return this.#ofPod(k8s);
    const text = await readFile(kubeconfig, 'utf8').catch((error: unknown) => {
      const remedy = 'correct `kubeconfig` in the plan, or give this user the right to read it';
      throw refused(`the kubeconfig ${kubeconfig} cannot be read: ${messageOf(error)}`, remedy, error);
    });
    if (this.#read?.text !== text) this.#read = { text, config: this.#parsed(k8s, { text, path: kubeconfig }) };
    return this.#read.config;
  }

  #ofPod(k8s: Library): KubeConfig {
    if (this.#read !== undefined) return this.#read.config;
    if ((process.env.KUBERNETES_SERVICE_HOST ?? '') === '') {
      const remedy = 'name a `kubeconfig` in the plan, or run where the variable KUBERNETES_SERVICE_HOST is set';
      throw refused('the plan names no kubeconfig, and this is no pod of a cluster', remedy);
    }
    const config = new k8s.KubeConfig();
    config.loadFromCluster(this.#access.podRoot);
    this.#read = { text: '', config };
    return config;
  }

  #parsed(k8s: Library, file: { readonly text: string; readonly path: string }): KubeConfig {
    const config = new k8s.KubeConfig();
    try {
      config.loadFromString(file.text);
      config.makePathsAbsolute(dirname(file.path));
    } catch (error) {
      const remedy = 'see what `kubectl config view` says of it';
      throw refused(`the kubeconfig ${file.path} is not understood: ${messageOf(error)}`, remedy, error);
    }
    const { context } = this.#access;
    if (context !== null) config.setCurrentContext(context);
    if (config.getCurrentCluster() === null) {
      const named = `the context ${config.getCurrentContext() || '(none is current)'}`;
      const known = config.getContexts().map(({ name }) => name);
      const remedy = `write one of its contexts as \`context\`: ${known.join(', ') || 'it has none'}`;
      throw refused(`the kubeconfig ${file.path} has no cluster for ${named}`, remedy);
    }
    const { token = '', password = '' } = config.getCurrentUser() ?? {};
    for (const secret of [token, password]) rememberSecret(secret);
    return config;
  }
}
