import { messageOf } from '../../src/domain/errors.ts';
import { otherSide } from '../../src/domain/position.ts';
import type { RequestResult } from '../../src/sidecar/requests.ts';
import type { RunFacts } from '../../src/sidecar/run.ts';
import { type Cluster, primaryOf, type Running } from './cluster.ts';
import { heal } from './faults.ts';
import { contentOf, judgeLedger } from './history.ts';
import type { Server } from './server.ts';

/** L2: the time in which a command brings one writable side back, in milliseconds. */
export const RECOVERY_MS = 60_000;

const SETTLE_MS = 90_000;
const QUIET_MS = 30_000;

/** What somebody on call knows of what has been done to the run. */
export interface Known {
  /** A router said that it had repointed, and had not: somebody has to lead clients right by hand. */
  readonly hasLied: boolean;
}

const isOver = (cluster: Cluster, phase: string): boolean =>
  ['gone', 'aborted', 'finalised'].includes(cluster.state(phase));

/** Heals, then does what somebody on call does: `resume`, from a machine that knows nothing, until it has worked (L2). */
export const recover = async (cluster: Cluster, wakeAfterMs: number, known: Known): Promise<void> => {
  const { world } = cluster;
  heal(cluster);
  const begun = world.now;
  for (const process of cluster.processes.filter(({ state }) => state === 'paused')) {
    world.schedule(null, wakeAfterMs, 'a sleeper wakes', () => world.wake(process));
  }
  let said = 'nothing was said';
  for (;;) {
    const resume = cluster.startCommand('resume');
    const isEnded = (): boolean => resume.done !== null || resume.process.state === 'dead';
    const isDone = await world.until(isEnded, begun + RECOVERY_MS);
    said = answerOf(resume);
    if (world.violations.length > 0) return;
    if (isDone && (isSuccess(resume) || said.includes('no run has been begun'))) {
      judgeEnd(cluster, said);
      break;
    }
    if (!isDone || world.now - begun > RECOVERY_MS) break;
    // Nobody else would know of it, so nothing but this makes a person look at the router.
    if (known.hasLied && said.includes('NOT PROVEN')) leadByHand(cluster);
    await world.until(() => false, world.now + 1_000);
  }
  for (const phase of cluster.phases) {
    if (isOver(cluster, phase.name)) continue;
    if (cluster.state(phase.name) === 'switching') {
      world.violate('L2', `phase ${phase.name} is still switching after ${RECOVERY_MS} ms: ${said}`);
    }
    if (cluster.invariants.writable(phase).length === 0) {
      world.violate('L2', `no side of ${phase.name} is writable after resume: ${said}`);
    }
  }
};

/** As a person does who was told that clients do not arrive: leads them to the side that is written. */
const leadByHand = (cluster: Cluster): void => {
  for (const phase of cluster.phases) {
    const primary = primaryOf(cluster, phase);
    if (primary === null) continue;
    for (const routes of cluster.routers.values()) routes.correct(phase.name, primary);
  }
};

/** When all phases are at their end, nothing of ours is left but a fence that is to stay, and the sidecar that it needs. */
const judgeEnd = (cluster: Cluster, said: string): void => {
  if (!cluster.phases.every(({ name }) => isOver(cluster, name))) return;
  const { source, target } = cluster.servers;
  const hasSidecar = (server: Server): boolean => server.store('catalog').size > 0;
  const fences = cluster.phases.map(({ inserted }) => source.get('fence', inserted));
  if (hasSidecar(target)) cluster.world.violate('L2', `the run is over, and the target's sidecar is left: ${said}`);
  if (hasSidecar(source) && !fences.includes('on')) {
    cluster.world.violate('L2', `the run is over, and the source's sidecar is left: ${said}`);
  }
};

/** Lets the run go on by itself. What stands still has said why, and goes on when it is told to (L3). */
export const goOn = async (cluster: Cluster): Promise<void> => {
  const { world } = cluster;
  const isSettled = (): boolean =>
    cluster.phases.every(
      ({ name }) =>
        isOver(cluster, name) || (['ready', 'soaking'].includes(cluster.state(name)) && !isStopped(cluster, name)),
    );
  const deadline = world.now + SETTLE_MS;
  let worker = cluster.startWorker();
  while (!(await world.until(isSettled, Math.min(deadline, world.now + 5_000)))) {
    if (world.violations.length > 0) return;
    if (world.now >= deadline) {
      const states = cluster.phases.map(({ name }) => `${name} ${cluster.state(name)}`).join(', ');
      return world.violate('L3', `stuck: ${states}; worker: ${answerOf(worker)}; ${haltsOf(cluster)}`);
    }
    if (worker.done) worker = cluster.startWorker();
    if (cluster.phases.some(({ name }) => isStopped(cluster, name))) cluster.startCommand('resume');
  }
};

/** At the end: nothing is lost, the route is right, and the way back works. */
export const judge = async (cluster: Cluster, known: Known): Promise<void> => {
  const { world, servers } = cluster;
  for (const client of cluster.clients) client.stop();
  await world.until(() => cluster.clients.every(({ isIdle }) => isIdle), world.now + QUIET_MS);
  cluster.beforeJudging();
  for (const phase of cluster.phases) {
    const primary = primaryOf(cluster, phase) ?? (isOver(cluster, phase.name) ? 'source' : null);
    if (primary === null) {
      world.violate('L2', `phase ${phase.name} has ${cluster.invariants.writable(phase).length} writable sides`);
      continue;
    }
    for (const [name, routes] of cluster.routers) {
      const route = routes.entry(phase.name);
      // Of a phase that is at its end it was told at its cutover, and nobody resumes it any more.
      if (known.hasLied && isOver(cluster, phase.name)) routes.correct(phase.name, primary);
      if (route.primary !== primary || route.isHeld) {
        const held = route.isHeld ? ' and held' : '';
        world.violate(
          'L3',
          `clients of ${phase.name} are led to the ${route.primary}${held} by ${name}; the ${primary} is writable`,
        );
      }
    }
    judgeReaders(cluster, phase.name);
    // What a copy puts off has been built, or was put back by the abort.
    const dropped = [...servers.target.store('dropped index').keys()].filter((name) =>
      name.startsWith(`${phase.name}_`),
    );
    // A worker may have begun the next run meanwhile.
    const isSettled = isOver(cluster, phase.name) || ['ready', 'soaking'].includes(cluster.state(phase.name));
    if (isSettled && dropped.length > 0)
      world.violate('S7', `phase ${phase.name} is settled without ${dropped.join(', ')}`);
    judgeLedger(world, servers[primary], phase, cluster.ledger);
    // Nothing happens any more once something is broken.
    if (world.violations.length > 0) return;
    const tables = [phase.appended, phase.inserted];
    const isEqual = (): boolean =>
      isOver(cluster, phase.name) ||
      tables.every((table) => contentOf(servers.source, table) === contentOf(servers.target, table));
    if (!(await world.until(isEqual, world.now + QUIET_MS))) {
      world.violate('L5', `the ${otherSide(primary)} does not follow: phase ${phase.name}; ${haltsOf(cluster)}`);
    }
  }
};

/** Readers are where the newest move that ended has led them; on the source again where the target is of no use. */
const judgeReaders = (cluster: Cluster, phase: string): void => {
  const [run] = [...cluster.servers.source.store('sidecar:run').values()] as { readonly facts: string }[];
  const facts = JSON.parse(run?.facts ?? '{}') as RunFacts;
  const led = isOver(cluster, phase) ? undefined : facts.readers?.[phase];
  if (led?.isDone === false) cluster.world.violate('L3', `readers of ${phase} are still on their way to the ${led.to}`);
  for (const [name, routes] of cluster.readers) {
    const { primary } = routes.entry(phase);
    const wanted = led?.to ?? 'source';
    if (primary !== wanted) {
      cluster.world.violate(
        'L3',
        `readers of ${phase} are led to the ${primary} by ${name}; recorded is the ${wanted}`,
      );
    }
  }
};

/** Whether a phase stands still and has told why. */
const isStopped = (cluster: Cluster, phase: string): boolean => {
  const { source } = cluster.servers;
  const direction = cluster.state(phase) === 'soaking' ? 'reverse' : 'forward';
  const row = source.get('sidecar:phase', phase) as { readonly stuck: string | null } | undefined;
  const lane = source.get('sidecar:lane', `${phase}/${direction}`) as { readonly halt: string | null } | undefined;
  return (row?.stuck ?? null) !== null || (lane?.halt ?? null) !== null;
};

/** What the sidecar says of halted lanes and stuck phases. */
export const haltsOf = (cluster: Cluster): string => {
  const { source } = cluster.servers;
  const lanes = [...source.store('sidecar:lane').values()] as { name: string; halt: string | null }[];
  const phases = [...source.store('sidecar:phase').values()] as { name: string; stuck: string | null }[];
  return [
    ...lanes.map(({ name, halt }) => `lane ${name}: ${halt ?? 'not halted'}`),
    ...phases.map(({ name, stuck }) => `phase ${name}: ${stuck ?? 'not stuck'}`),
  ].join('; ');
};

const isSuccess = (running: Running<RequestResult>): boolean =>
  running.done !== null && 'value' in running.done && running.done.value.exitCode === 0;

/** What a process said at its end. */
export const answerOf = (running: Running<unknown>): string => {
  if (running.done === null) return 'no answer';
  if ('error' in running.done) return messageOf(running.done.error);
  return JSON.stringify(running.done.value ?? 'ended', (_, value) =>
    typeof value === 'bigint' ? String(value) : value,
  );
};
