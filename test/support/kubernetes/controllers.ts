import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { at, type Json } from './json.ts';
import type { Store } from './store.ts';

/** How workloads behave. */
export interface ControllerOptions {
  /** How long each step of a rollout takes, in milliseconds. */
  stepMs: number;
  /** Rollouts that are not to end stand still after the first step, or say that their deadline is over. */
  rollouts: 'complete' | 'stand still' | 'give up';
}

const templateHash = (object: Json): string =>
  createHash('sha256')
    .update(JSON.stringify(at(object, 'spec', 'template')))
    .digest('hex')
    .slice(0, 10);

/**
 * What the controllers of Deployments and StatefulSets do to `status`: they see a new generation after a while, then pods are
 * replaced one by one, each made available a step later. A rollout begins where the template differs from the one before.
 */
export class Controllers {
  readonly options: ControllerOptions = { stepMs: 15, rollouts: 'complete' };
  /** How many times the pods of a workload have been replaced, by `plural/name`. */
  readonly rollouts = new Map<string, number>();
  readonly #store: Store;
  readonly #templates = new Map<string, string>();
  readonly #stopped = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(store: Store) {
    this.#store = store;
    store.onChanged = (plural, name) => {
      if (plural !== 'deployments' && plural !== 'statefulsets') return;
      const run = this.#reconcile(plural, name).catch(() => undefined);
      this.#running.add(run);
      void run.finally(() => this.#running.delete(run));
    };
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#running);
  }

  async #step(): Promise<void> {
    await delay(this.options.stepMs, undefined, { signal: this.#stopped.signal });
  }

  async #reconcile(plural: string, name: string): Promise<void> {
    const key = `${plural}/${name}`;
    const object = this.#store.get(plural, name);
    const before = this.#templates.get(key);
    const template = templateHash(object);
    const { generation } = at(object, 'metadata');
    const wanted = Number(at(object, 'spec').replicas ?? 1);
    const settled = { observedGeneration: generation, currentRevision: template, updateRevision: template };
    this.#templates.set(key, template);
    if (before === undefined) {
      this.#store.setStatus(
        plural,
        name,
        this.#status(plural, { ...settled, replicas: wanted, updated: wanted, available: wanted }),
      );
      return;
    }
    if (before === template) return;
    this.rollouts.set(key, (this.rollouts.get(key) ?? 0) + 1);
    await this.#step();
    const rolling = { observedGeneration: generation, currentRevision: before, updateRevision: template };
    for (let updated = 1; updated <= wanted; updated++) {
      this.#store.setStatus(
        plural,
        name,
        this.#status(plural, { ...rolling, replicas: wanted + 1, updated, available: updated - 1 }),
      );
      if (this.options.rollouts !== 'complete') break;
      await this.#step();
    }
    if (this.options.rollouts === 'stand still') return;
    const end =
      this.options.rollouts === 'give up'
        ? { ...rolling, updated: 1, available: 0 }
        : { ...settled, updated: wanted, available: wanted };
    const status = this.#status(plural, { ...end, replicas: wanted });
    if (plural === 'deployments') status.conditions = [progressing(this.options.rollouts === 'complete')];
    this.#store.setStatus(plural, name, status);
  }

  #status(plural: string, seen: Json): Json {
    const { observedGeneration, replicas, updated, available, currentRevision, updateRevision } = seen;
    const common = {
      observedGeneration,
      replicas,
      updatedReplicas: updated,
      availableReplicas: available,
      readyReplicas: available,
    };
    return plural === 'statefulsets' ? { ...common, currentRevision, updateRevision } : common;
  }
}

const progressing = (isDone: boolean): Json => ({
  type: 'Progressing',
  status: isDone ? 'True' : 'False',
  reason: isDone ? 'NewReplicaSetAvailable' : 'ProgressDeadlineExceeded',
});
