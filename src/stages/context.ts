import type { Probe } from '../databases/client-path.ts';
import type { Clients } from '../databases/clients.ts';
import type { Database } from '../databases/database.ts';
import type { Digests } from '../databases/digests.ts';
import type { SchemaTool } from '../databases/schema.ts';
import type { Sessions } from '../databases/sessions.ts';
import type { Emit } from '../domain/event.ts';
import type { Finding } from '../domain/finding.ts';
import type { Side } from '../domain/position.ts';
import type { SqlSide } from '../domain/sql.ts';
import type { Sequence, Table, TableName } from '../domain/table.ts';
import type { Engine } from '../engines/engine.ts';
import type { LaneTraces } from '../engines/traces.ts';
import type { Plan } from '../plan/load.ts';
import type { Objects } from '../platform/objects/objects.ts';
import type { Router } from '../routers/router.ts';
import type { SnapshotStore } from '../snapshots/store.ts';

/** One of the two databases with everything that a stage can do to it. */
export interface SidePorts {
  readonly side: Side;
  /** For the sidecar. */
  readonly sql: SqlSide;
  readonly database: Database;
  readonly digests: Digests;
  readonly sessions: Sessions;
  readonly clients: Clients;
}

/** A place where a snapshot of the source stands restored. Its ports are those of a source. */
export interface OpenPlace extends SidePorts {
  close(): Promise<void>;
}

/** Everything that one phase is made of, from the source's catalogue. */
export interface PhaseScope {
  readonly name: string;
  readonly tables: readonly Table[];
  readonly roots: readonly TableName[];
  readonly sequences: readonly Sequence[];
}

/** What the run takes and leaves, and what the plan's patterns got wrong. */
export interface RunScope {
  readonly phases: ReadonlyMap<string, PhaseScope>;
  readonly ignored: readonly TableName[];
  readonly findings: readonly Finding[];
  /** Those findings that say how a phase's tables differ from the ones it was prepared with, by phase. */
  readonly changed: ReadonlyMap<string, readonly Finding[]>;
}

/** What preflight looks at. */
export interface CheckInput {
  readonly scope: Pick<RunScope, 'phases' | 'ignored'>;
  /** Phases whose target tables hold rows by now, so that emptiness is no longer asked of them. */
  readonly begun: ReadonlySet<string>;
  /** Whether the target's tables stand as they will be; before that, drift cannot be judged. */
  readonly schemaReady: boolean;
  /** Phases whose indexes and foreign keys are put off on the target at the moment. */
  readonly copying?: ReadonlySet<string>;
}

/** Ports and plan of one run, made by `compose.ts` and handed to every stage. */
export interface RunContext {
  readonly plan: Plan;
  readonly source: SidePorts;
  readonly target: SidePorts;
  readonly engine: Engine;
  /** Where lanes archive what they carry; absent where the plan has no archive. Only with an engine that has `archives`. */
  readonly archive?: Objects;
  /** Which slots there are, whatever the sidecar knows of them, and what positions mean. */
  readonly traces: Pick<LaneTraces, 'slots' | 'covers'>;
  readonly schema: SchemaTool;
  readonly routers: ReadonlyMap<string, Router>;
  /** The paths by which clients of a phase come that a router leads. */
  readonly probes: (router: string, phase: string) => Probe;
  /** Keeps snapshots of the source; null where the plan makes none. */
  readonly snapshots: SnapshotStore | null;
  /** The ports of a restored place by its URL. Connects to nothing yet. */
  readonly openPlace: (url: string) => OpenPlace;
  readonly preflight: (input: CheckInput) => Promise<readonly Finding[]>;
  readonly emit: Emit;
  /** This process: a random id, and the machine's name for people. */
  readonly holder: string;
  readonly host: string;
  /** Who runs this process, `user@host`, for the audit. */
  readonly by: string;
}

/** The ports of a side by its name. */
export const portsOf = (context: RunContext, side: Side): SidePorts =>
  side === 'source' ? context.source : context.target;
