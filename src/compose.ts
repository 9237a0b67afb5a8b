import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { archiveFor } from './compose-archive.ts';
import { routerChecks, routerFor } from './compose-routers.ts';
import { snapshotsFor } from './compose-snapshots.ts';
import type { Probe } from './databases/client-path.ts';
import { postgresChecks } from './databases/postgres/checks/checks.ts';
import { postgresPath } from './databases/postgres/client-path.ts';
import { postgresClients } from './databases/postgres/clients.ts';
import { postgresDatabase } from './databases/postgres/database.ts';
import { postgresDigests } from './databases/postgres/digests.ts';
import { postgresSchema } from './databases/postgres/schema/schema.ts';
import { applicationName, PostgresSessions } from './databases/postgres/sessions.ts';
import { postgresTraces } from './databases/postgres/traces.ts';
import type { Emit } from './domain/event.ts';
import type { Finding } from './domain/finding.ts';
import type { Direction, Side } from './domain/position.ts';
import type { Engine } from './engines/engine.ts';
import { nativeEngine } from './engines/native/engine.ts';
import { markerTable } from './engines/native/names.ts';
import { nativeTraces } from './engines/native/traces.ts';
import { streamEngine } from './engines/stream/engine.ts';
import { streamTraces } from './engines/stream/traces.ts';
import type { LaneTraces } from './engines/traces.ts';
import type { Plan } from './plan/load.ts';
import { PostgresServer } from './platform/postgres/server.ts';
import { conninfoOf } from './platform/postgres/url.ts';
import { redactAll } from './platform/redact.ts';
import type { CheckInput, OpenPlace, PhaseScope, RunContext, SidePorts } from './stages/context.ts';
import type { Traces } from './stages/rebuild/evidence.ts';

/** A run's ports with what has to be closed at the end. */
export interface Composition {
  readonly context: RunContext;
  /** For a rebuild alone. */
  readonly traces: Traces;
  close(): Promise<void>;
}

type Servers = Readonly<Record<Side, PostgresServer>>;

/** The plan's engine with what looks for its traces. */
const engineFor = (plan: Plan, servers: Servers): { readonly engine: Engine; readonly lanes: LaneTraces } => {
  const copyRate = plan.copy.bytesPerSecond;
  switch (plan.engine) {
    case 'stream':
      return { engine: streamEngine(servers, { copyRate }), lanes: streamTraces(servers) };
    case 'native': {
      const conninfo = {
        source: conninfoOf(plan.native.source, 'source'),
        target: conninfoOf(plan.native.target, 'target'),
      };
      const engine = nativeEngine({
        servers,
        conninfo,
        stream: streamEngine(servers, { copyRate, markerOf: markerTable, isForCopies: true }),
      });
      return { engine, lanes: nativeTraces(servers, streamTraces(servers, markerTable)) };
    }
  }
};

/** Once for all phases, since what an engine asks of a server is the same for each; the way back as soon as it has tables. */
const engineChecks = async (engine: Engine, input: CheckInput): Promise<readonly Finding[]> => {
  const all = [...input.scope.phases.values()];
  const specOf = (direction: Direction, phases: readonly PhaseScope[]) => ({
    direction,
    lanes: phases.length,
    tables: phases.flatMap((phase) => phase.tables),
    roots: phases.flatMap((phase) => phase.roots),
  });
  const forward = await engine.checks(specOf('forward', all));
  if (!input.schemaReady) return forward;
  const standing = all.filter((phase) => input.copying?.has(phase.name) !== true);
  return [...forward, ...(await engine.checks(specOf('reverse', standing)))];
};

const NO_PROBE: Probe = { paths: [], withinMs: 0 };

/** The paths by which each phase's clients come, made once so that a URL that cannot be read is told at once. */
const probesOf = (plan: Plan): RunContext['probes'] => {
  const made = new Map(
    [...plan.probes].map(([name, { urls, withinMs }]) => {
      const paths = [...urls].map(([phase, ofPhase]) => {
        const own = ofPhase.map((url) => postgresPath(url, `probe of router ${name}`));
        return [phase, { paths: own, withinMs }] as const;
      });
      return [name, new Map<string, Probe>(paths)] as const;
    }),
  );
  return (router, phase) => made.get(router)?.get(phase) ?? NO_PROBE;
};

/** A container may run us under a number that has no name. */
const userName = (): string => {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'somebody');
  }
};

/** The ports of a side, or of what was restored of it. */
const portsOf = (side: Side, server: PostgresServer, sessions: PostgresSessions): SidePorts => ({
  side,
  sql: server,
  database: postgresDatabase(server),
  digests: postgresDigests(server),
  sessions,
  clients: postgresClients(server),
});

/** The ports of a place where a snapshot of the source stands restored. */
const openPlace = (url: string, application: string): OpenPlace => {
  const server = new PostgresServer({ url, label: 'restored place', application });
  const sessions = new PostgresSessions(server);
  const close = async () => {
    await sessions.close();
    await server.close();
  };
  return { ...portsOf('source', server, sessions), close };
};

/** Makes the concrete ports of a plan. Connects to nothing yet. */
export const compose = (plan: Plan, emit: Emit): Composition => {
  const holder = randomBytes(4).toString('hex');
  const serverOf = (side: Side) =>
    new PostgresServer({ url: plan[side].url, label: side, application: applicationName(holder) });
  const source = serverOf('source');
  const target = serverOf('target');
  const sessions = { source: new PostgresSessions(source), target: new PostgresSessions(target) };
  const { engine, lanes } = engineFor(plan, { source, target });
  const archive = archiveFor(plan);
  const routers = new Map(
    [...plan.routers].map(([name, router]) => [name, routerFor(router, plan, { source, target })]),
  );
  return {
    context: {
      plan,
      source: portsOf('source', source, sessions.source),
      target: portsOf('target', target, sessions.target),
      engine,
      ...(archive && { archive }),
      traces: lanes,
      schema: postgresSchema({ source, target, sourceUrl: plan.source.url }),
      routers,
      probes: probesOf(plan),
      snapshots: snapshotsFor(plan, source),
      openPlace: (url) => openPlace(url, applicationName(holder)),
      preflight: async (input) => [
        ...(await postgresChecks({ source, target, ...input })),
        ...(await engineChecks(engine, input)),
        ...(await routerChecks(plan, routers, input.scope)),
      ],
      emit: (event) => emit(redactAll(event)),
      holder,
      host: hostname(),
      by: `${userName()}@${hostname()}`,
    },
    traces: {
      source: postgresTraces(source, holder),
      target: postgresTraces(target, holder),
      lanes,
    },
    close: async () => {
      await Promise.allSettled([sessions.source.close(), sessions.target.close()]);
      await Promise.allSettled([source.close(), target.close()]);
    },
  };
};
