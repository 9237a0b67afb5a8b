import { primarySide } from '../domain/protocol.ts';
import { sleep } from '../platform/clock.ts';
import { readRoutes } from '../stages/reads/routes.ts';
import type { ObservedRoute } from '../stages/routes.ts';
import { type ObservedSessions, observeSessionsLeft } from '../stages/sessions-left.ts';
import { findOrphanSlots, type OrphanSlot } from '../stages/slots.ts';
import { type ArchivedPhase, readArchived } from '../stages/snapshots/archived.ts';
import { type PhaseStatus, type RunStatus, readStatusFromEither } from '../stages/status.ts';
import { type CommandModule, flag, interruption, withPlan } from './command.ts';
import { printProofs } from './proofs.ts';
import { bytesText, color, countText, durationText, say, sayJson, table } from './render.ts';
import { archiveLine, snapshotLines } from './snapshot-text.ts';
import { printRoutes } from './status-routes.ts';

const WATCH_MS = 1_000;

/** `status`: what is true, and what can be done next. */
export const status: CommandModule = {
  usage: 'status <plan>',
  describe: 'Say what is true now, and what can be done next',
  options: { watch: { type: 'boolean', default: false, describe: 'Go on until Ctrl-C' } },
  run: async (args) =>
    await withPlan(
      args,
      () => undefined,
      async (context) => {
        const stopping = interruption(() => undefined);
        try {
          for (;;) {
            const now = await readStatusFromEither(context);
            const routes = await readRoutes(context, now);
            const orphans = await findOrphanSlots(context).catch(() => []);
            const left = await observeSessionsLeft(context, now.phases);
            // A listing of all its objects: once, and not every second.
            const archived = now.run === null || flag(args, 'watch') ? [] : await readArchived(context, now.run.id);
            if (flag(args, 'json')) sayJson({ ok: true, ...now, routes, left, orphans, archived });
            else print(now, { path: context.plan.path, watch: flag(args, 'watch'), routes, left, orphans, archived });
            if (!flag(args, 'watch') || stopping.signal.aborted) return 0;
            await sleep(WATCH_MS, stopping.signal).catch(() => undefined);
            if (stopping.signal.aborted) return 0;
          }
        } finally {
          stopping.release();
        }
      },
    ),
};

const print = (
  status: RunStatus,
  {
    path,
    watch,
    routes,
    left,
    orphans,
    archived,
  }: {
    readonly path: string;
    readonly watch: boolean;
    readonly routes: readonly ObservedRoute[];
    readonly left: readonly ObservedSessions[];
    readonly orphans: readonly OrphanSlot[];
    readonly archived: readonly ArchivedPhase[];
  },
): void => {
  if (watch && process.stdout.isTTY) process.stdout.write('\u001b[H\u001b[2J');
  if (!status.run) {
    say(`no run on these databases (source ${status.servers.source}, target ${status.servers.target})`);
    say(`next: switchback check ${path}`);
    printOrphans(orphans);
    return;
  }
  if (status.answeredBy === 'target') {
    say(color.red(`the source does not answer: ${status.sourceError ?? ''}`));
    say(`this is what the target's mirror knew at ${status.mirroredAt}`);
  }
  say(`run ${status.run.name} (${status.run.id}), source ${status.servers.source} → target ${status.servers.target}`);
  const worker = status.worker;
  say(
    worker?.alive
      ? `worker ${worker.holder} on ${worker.host}, epoch ${worker.epoch}`
      : color.yellow(
          worker ? `the worker on ${worker.host} has gone; nothing is followed now` : 'no worker is running',
        ),
  );
  say();
  say(
    table([
      ['phase', 'state', 'primary', 'source', 'target', 'lag', 'rows copied', 'certificate'],
      ...status.phases.map(row),
    ]),
  );
  for (const phase of status.phases) printNeeds(phase);
  if (status.unended)
    say(
      `${color.red('unended')}  ${status.unended.fact}\n        ${color.dim(status.unended.id)}  remedy: ${status.unended.remedy}`,
    );
  printRoutes(routes, status);
  printProofs(status.phases, left);
  for (const line of status.snapshots === null ? [] : snapshotLines(status.snapshots)) say(line);
  for (const one of archived) say(archiveLine(one));
  printOrphans(orphans);
  if (status.lastSwitch) {
    say();
    say(`last switch ${status.lastSwitch.id}: ${status.lastSwitch.outcome ?? color.red('in doubt')}`);
  }
  say();
  const next = nextCommandsOf(status, path);
  if (next.length > 0) say(`next:\n${next.map((command) => `  ${command}`).join('\n')}`);
};

const printOrphans = (orphans: readonly OrphanSlot[]): void => {
  for (const { slot, side, remedy } of orphans) {
    say(
      `${color.yellow('slot')}   ${slot} on the ${side}: no lane reads it, and it holds back the log\n        remedy: ${remedy}`,
    );
  }
};

const printNeeds = (phase: PhaseStatus): void => {
  if (phase.stuck)
    say(
      `${color.red('stuck')}  ${phase.name}: ${phase.stuck.fact}\n        ${color.dim(phase.stuck.id)}  remedy: ${phase.stuck.remedy}`,
    );
  const halt = phase.lane?.halt;
  if (halt)
    say(
      `${color.red('halted')}  ${halt.lane}: ${halt.finding.fact}\n        ${color.dim(halt.finding.id)}  remedy: ${halt.finding.remedy}`,
    );
};

const sideText = (side: PhaseStatus['source']): string =>
  side === null ? '–' : `${side.role}, ${side.fenced ? 'fenced' : 'writable'}`;

const row = (phase: PhaseStatus): readonly string[] => [
  phase.name,
  phase.state.name,
  phase.state.name === 'switching' ? 'in doubt' : primarySide(phase.state),
  sideText(phase.source),
  sideText(phase.target),
  phase.lane?.lagMs == null ? '–' : `${durationText(phase.lane.lagMs)} (${durationText(phase.lane.lagAgeMs ?? 0)} ago)`,
  `${countText(phase.copied.rows)} (${bytesText(phase.copied.bytes)})`,
  phase.certificate
    ? `${phase.certificate.clean ? 'clean' : 'NOT CLEAN'}, ${durationText(phase.certificate.ageMs)} old`
    : '–',
];

/** Commands that make sense now, best first. */
export const nextCommandsOf = (status: RunStatus, path: string): readonly string[] => [
  ...(status.unended ? [`switchback resume ${path}`] : []),
  ...new Set(status.phases.flatMap((phase) => phase.next)),
];
