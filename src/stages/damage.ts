import { isKind, SwitchbackError } from '../domain/errors.ts';
import { type Finding, SLOT_LOST } from '../domain/finding.ts';
import type { PhaseState, PhaseStateName } from '../domain/phase.ts';
import { type Side, sidesOf } from '../domain/position.ts';
import { laneDirection } from '../domain/protocol.ts';
import { fillRemedy } from '../domain/remedy.ts';
import { sleep } from '../platform/clock.ts';
import { laneName, readLanes, readProgress, type StoredLane } from '../sidecar/lanes.ts';
import { type Lease, readLease } from '../sidecar/lease.ts';
import { type Ownership, readOwnership } from '../sidecar/ownership.ts';
import { readPhases } from '../sidecar/phases.ts';
import { type RunFacts, type RunRow, readRun } from '../sidecar/run.ts';
import { isWhole, parsedOrNull, readShape, type SidecarShape } from '../sidecar/shape.ts';
import { readOutcome, readSwitch, type SwitchRecord } from '../sidecar/switches.ts';
import { SIDECAR_VERSION } from '../sidecar/tables.ts';
import type { RunContext, SidePorts } from './context.ts';

/** Somebody may be writing what we read, on two servers: damage counts when it is there in two looks this far apart. */
const LOOK_AGAIN_MS = 400;

/** States in which a side's ownership rows have been written and not yet removed. */
const OWNED: ReadonlySet<PhaseStateName> = new Set([
  'prepared',
  'copying',
  'following',
  'ready',
  'switching',
  'soaking',
]);

/** States of phases of which nothing on the target is needed any more. */
const OVER: ReadonlySet<PhaseStateName> = new Set(['finalised', 'aborted']);

const finding = (subject: string, fact: string, id = 'sidecar/damaged'): Finding => ({
  id,
  severity: 'blocks',
  subject,
  fact,
  remedy: 'see what is left of the run, then rebuild it: switchback resume PLAN --rebuild',
});

/** Throws kind `parked` with every damage that {@link findDamage} sees, and the command that mends it. */
export const assertSound = async (context: RunContext): Promise<void> => {
  const found = await findDamage(context);
  if (found.length === 0) return;
  const { path } = context.plan;
  const findings = found.map((f) => ({ ...f, remedy: fillRemedy(f.remedy, { plan: path }) }));
  const list = findings.map(({ subject, fact }) => `  ${subject}: ${fact}`);
  throw new SwitchbackError('parked', ['the records of the run are damaged:', ...list].join('\n'), {
    remedy: `switchback resume ${path} --rebuild (it shows what is left and what follows from it, and asks before it changes anything)`,
    findings,
  });
};

/**
 * What of the sidecars is damaged or gone, so that a stage would guess: tables, columns, documents that are no JSON, rows
 * that must be there in the phases' states, a whole sidecar. Empty when there is no run. Changes nothing. Throws kind
 * `unreachable` when a side does not answer.
 */
export const findDamage = async (context: RunContext): Promise<readonly Finding[]> => {
  const once = await lookOnce(context).catch(onlyOnce);
  if (once?.length === 0) return once;
  await sleep(LOOK_AGAIN_MS);
  return await lookOnce(context);
};

/** A sidecar that is being removed while we read it is seen so by the second look. */
const onlyOnce = (error: unknown): null => {
  if (error instanceof SwitchbackError && error.kind !== 'refused') throw error;
  return null;
};

const lookOnce = async (context: RunContext): Promise<readonly Finding[]> => {
  const [source, target] = await Promise.all([
    readShape(context.source.sql),
    readShape(context.target.sql).catch(nullIfSilent),
  ]);
  if (await isOfAnotherVersion(context.source, source)) return [];
  const broken = [...shapeDamage('source', source), ...(target ? shapeDamage('target', target) : [])];
  if (!source.exists && target?.exists) broken.unshift(finding('source', 'has no sidecar, and the target has one'));
  if (broken.length > 0 || !source.exists) return broken;
  const records = await readRecords(context.source);
  const found = [...recordDamage(context, records)];
  if (!target) return found;
  if (!target.exists) return [...found, ...targetGone(records)];
  return [...found, ...((await targetDamage(context, records).catch(nullIfSilent)) ?? [])];
};

/** What the source says is worth knowing while the target is down. */
const nullIfSilent = (error: unknown): null => {
  if (isKind(error, 'unreachable')) return null;
  throw error;
};

/**
 * Its tables may be other ones; who opens the run refuses it and says so. Throws kind `refused` for a source that was restored
 * and has not been adopted, whatever its version is.
 */
const isOfAnotherVersion = async (ports: SidePorts, shape: SidecarShape): Promise<boolean> => {
  if (!isWhole(shape, 'run')) return false;
  const { rows } = await ports.sql.query('SELECT id, version, identity, facts FROM switchback.run');
  const [row] = rows;
  const facts = parsedOrNull(row?.facts ?? '') as RunFacts | null;
  if (row && facts?.restored && row.identity !== (await ports.sessions.describe()).identity)
    throw notAdopted({ id: row.id ?? '', facts });
  return row !== undefined && row.version !== SIDECAR_VERSION;
};

/** Its records are those of the database that is lost: who believed them would lift a side, or lead clients to it. */
export const notAdopted = ({ id, facts }: Pick<RunRow, 'id' | 'facts'>): SwitchbackError =>
  new SwitchbackError(
    'refused',
    `the source was restored from snapshot ${facts.restored?.snapshot} of run ${id} and has not taken its source's place`,
    {
      remedy:
        'see what the target knows: switchback status PLAN; to go back to what was restored: switchback failback PLAN PHASE --from-snapshot --confirm PHASE; otherwise lead the URL to the source that the run has',
    },
  );

const shapeDamage = (side: Side, shape: SidecarShape): readonly Finding[] =>
  shape.exists
    ? [
        ...shape.missing.map((table) => finding(side, `table switchback.${table} is gone`)),
        ...shape.malformed.map((table) => finding(side, `table switchback.${table} lacks columns`)),
        ...shape.unreadable.map(({ table, column, key }) =>
          finding(side, `switchback.${table} has a row (${key}) whose ${column} cannot be read`),
        ),
      ]
    : [];

/** The source's records as of one moment. */
interface Records {
  readonly run: RunRow | null;
  readonly lease: Lease | null;
  readonly phases: readonly { readonly name: string; readonly state: PhaseState }[];
  readonly ownership: readonly Ownership[];
  readonly lanes: readonly StoredLane[];
  /** Lanes whose progress is here. */
  readonly progress: ReadonlySet<string>;
  /** Phases whose abort or end has begun: it takes the lanes' progress away before it changes the state. */
  readonly ending: ReadonlySet<string>;
  /** Records of the switches that phases are in, with their outcomes. */
  readonly switches: ReadonlyMap<string, { readonly record: SwitchRecord | null; readonly isOpen: boolean }>;
}

const readRecords = async (ports: SidePorts): Promise<Records> =>
  await ports.sql.transaction(async (sql) => {
    await sql.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    const phases = await readPhases(sql);
    const switches = new Map<string, { readonly record: SwitchRecord | null; readonly isOpen: boolean }>();
    for (const { state } of phases) {
      if (state.name !== 'switching') continue;
      const isOpen = (await readOutcome(sql, state.switchId)) === null;
      switches.set(state.switchId, { record: await readSwitch(sql, state.switchId), isOpen });
    }
    const run = await readRun(sql);
    return {
      run,
      lease: await readLease(sql),
      phases,
      ownership: await readOwnership(sql),
      lanes: await readLanes(sql),
      progress: new Set((await readProgress(sql)).keys()),
      ending: new Set(Object.keys(run?.facts.ending ?? {})),
      switches,
    };
  });

const recordDamage = (context: RunContext, records: Records): readonly Finding[] => {
  const { run, lease, phases, ownership } = records;
  const { plan } = context;
  const gone = (what: string) => finding('source', `${what} is gone`);
  if (run?.facts.rebuilding === true)
    return [finding('source', 'a rebuild of its sidecar has begun and not ended', 'sidecar/rebuild-unfinished')];
  const names = new Set(phases.map(({ name }) => name));
  // A plan that has changed is refused, and its phases are not the run's.
  const unknown = run?.planHash === plan.hash ? plan.phases.filter(({ name }) => !names.has(name)) : [];
  return [
    ...(run ? [] : [gone('the row of the run')]),
    ...(lease || ownership.length === 0 ? [] : [gone('the row of the lease')]),
    ...unknown.map(({ name }) => gone(`the row of phase ${name}`)),
    ...phases.flatMap((phase) => phaseDamage(phase, records).map(gone)),
  ];
};

/**
 * Whether a lane needs its progress. One that has lost its slot never goes on, so nothing can put back where it stood; and an
 * end takes the progress away before it changes the state.
 */
const needsProgress = ({ lanes, ending }: Records, phase: string, lane: string): boolean =>
  !ending.has(phase) && lanes.find(({ name }) => name === lane)?.halt?.finding.id !== SLOT_LOST;

/** What is gone of a phase on the source. */
const phaseDamage = (phase: Records['phases'][number], records: Records): readonly string[] => {
  const { name, state } = phase;
  const row = records.ownership.find((own) => own.phase === name);
  const direction = laneDirection(state);
  const lane = direction === null ? null : laneName(name, direction);
  const known = state.name === 'switching' ? records.switches.get(state.switchId) : undefined;
  return [
    ...(OWNED.has(state.name) && !row ? [`the ownership of phase ${name}`] : []),
    ...(lane !== null && !records.lanes.some((stored) => stored.name === lane) ? [`lane ${lane}`] : []),
    ...(direction === 'reverse' && lane !== null && !records.progress.has(lane) && needsProgress(records, name, lane)
      ? [`the progress of lane ${lane}`]
      : []),
    ...(state.name === 'switching' && !known?.record ? [`the record of ${state.switchId}`] : []),
    ...(known?.record && known.isOpen && row && isDecided(known.record, row)
      ? [`the outcome of ${known.record.id}, which has changed the ownership of phase ${name},`]
      : []),
  ];
};

/** The source's ownership changes its role in the transaction of the commit record and at no other time. */
const isDecided = (record: SwitchRecord, row: Ownership): boolean =>
  (row.role === 'primary' ? 'source' : 'target') === sidesOf(record.direction).to;

/** A target without a sidecar: right before anything is prepared there, and when all phases are over. */
const targetGone = ({ run, phases, lanes }: Records): readonly Finding[] => {
  const isOver = phases.every(({ state }) => OVER.has(state.name));
  const isNew =
    phases.every(({ state }) => state.name === 'planned' || state.name === 'aborted') &&
    lanes.length === 0 &&
    Object.keys(run?.facts.tables ?? {}).length === 0;
  return isOver || isNew ? [] : [finding('target', 'has no sidecar, and the run on the source has begun')];
};

const targetDamage = async (context: RunContext, records: Records): Promise<readonly Finding[]> => {
  const { sql } = context.target;
  const [run, ownership, progress] = await Promise.all([readRun(sql), readOwnership(sql), readProgress(sql)]);
  const gone = (what: string) => finding('target', `${what} is gone`);
  return [
    ...(run ? [] : [gone('the row of the run')]),
    ...records.phases.flatMap(({ name, state }) => [
      ...(OWNED.has(state.name) && !ownership.some((own) => own.phase === name)
        ? [gone(`the ownership of phase ${name}`)]
        : []),
      ...(laneDirection(state) === 'forward' &&
      !progress.has(laneName(name, 'forward')) &&
      needsProgress(records, name, laneName(name, 'forward'))
        ? [gone(`the progress of lane ${name}/forward`)]
        : []),
    ]),
  ];
};
