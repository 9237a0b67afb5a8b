import { basename } from 'node:path';
import type { Side } from '../../src/domain/position.ts';
import { sleep } from '../../src/platform/clock.ts';
import type { Ends } from './checkers/judge.ts';
import type { Led, RoutingEnd } from './checkers/routing.ts';
import type { World } from './faults/fault.ts';
import { lookAtPhases, sideOfState } from './look.ts';
import { Command } from './program.ts';
import { routeNow } from './route.ts';
import type { OnCall } from './settle.ts';
import { runSql, type Stage } from './stage.ts';
import { PHASE_NAMES, PHASES, type PhaseName } from './workloads.ts';

const COMMAND_WITHIN_MS = 120_000;
const TRIES = 3;

/**
 * `resume` and `verify` must succeed when everything is healed and the clients have gone, in processes that have not seen
 * the run before; and then each phase has the one slot of its lane and no other, which would keep a server's log for ever (L4),
 * and no subscription but that of its lane.
 */
export const resumeAndVerify = async (world: World, onCall: OnCall): Promise<void> => {
  const { stage } = world;
  await succeed(world, onCall, ['resume', stage.plan]);
  await succeed(world, onCall, ['verify', stage.plan, ...PHASE_NAMES]);
  if (!world.signal.aborted) await compareSlots(world);
};

/** On the side that lanes write to; none with engine stream. */
const compareSubscriptions = async ({ stage, record }: World, side: Side, wanted: number): Promise<void> => {
  const found = await runSql(stage.directUrls[side], 'SELECT subname AS name FROM pg_subscription ORDER BY 1');
  if (found.length === (stage.engine === 'native' ? wanted : 0)) return;
  const names = found.map(({ name }) => String(name)).join(', ');
  record.violate(`the ${side} has ${found.length} subscriptions, and lanes that write to it are ${wanted}: ${names}`);
};

const compareSlots = async (world: World): Promise<void> => {
  const { stage, record } = world;
  const sides = Object.values(await primaries(stage));
  for (const side of ['source', 'target'] as const) {
    await compareSubscriptions(world, side, sides.filter((primary) => primary !== side).length);
    const wanted = sides.filter((primary) => primary === side).length;
    const slots = await runSql(stage.directUrls[side], 'SELECT slot_name AS slot FROM pg_replication_slots ORDER BY 1');
    if (slots.length === wanted) continue;
    const names = slots.map(({ slot }) => String(slot)).join(', ');
    record.violate(`the ${side} is the primary of ${wanted} phases and has ${slots.length} slots: ${names}`);
  }
};

const succeed = async (world: World, onCall: OnCall, args: readonly string[]): Promise<void> => {
  let said = '';
  for (let attempt = 1; attempt <= TRIES && !world.signal.aborted; attempt++) {
    const { stage } = world;
    const answer = await new Command(stage, { place: onCall.place, args, withinMs: COMMAND_WITHIN_MS }).answer;
    if (answer.exitCode === 0) return;
    said = `${answer.exitCode}: ${answer.text}`;
    world.record.note(`at the end ${args[0]} ended with ${said}`);
    await sleep(1_000);
  }
  if (!world.signal.aborted) world.record.violate(`at the end ${args[0]} fails: ${said}`);
};

/** Compares both sides' tables ourselves, row by row as the servers digest them. */
export const compareSides = async (world: World): Promise<void> => {
  for (const table of Object.values(PHASES).flat()) {
    const digests = async (side: Side) => {
      const sql = `SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE "C")), '-') AS digest FROM ${table} t`;
      return (await runSql(world.stage.directUrls[side], sql))[0]?.digest;
    };
    const [source, target] = [await digests('source'), await digests('target')];
    if (source !== target) world.record.violate(`${table} differs: source ${source}, target ${target}`);
  }
};

const MOVES_SQL = `SELECT facts::json -> 'readers' AS moves FROM switchback.run`;

/** Where all routers lead in the end, and what the run has recorded of its readers' last moves. */
export const readRouting = async (stage: Stage): Promise<readonly RoutingEnd[]> => {
  const sides = await primaries(stage);
  const { writers, readers } = stage.routeFiles;
  const [row] = await runSql(stage.directUrls.source, MOVES_SQL);
  const moves = (row?.moves ?? {}) as Readonly<Record<string, { readonly to: Side; readonly isDone: boolean }>>;
  return PHASE_NAMES.map((phase) => {
    const led = (path: string): Led => {
      const route = routeNow(path, phase);
      return { router: basename(path, '.json'), side: route?.primary ?? null, held: route?.held ?? false };
    };
    const move = moves[phase];
    const last = { to: move?.to ?? null, isDone: move?.isDone ?? true };
    const ofReaders = readers === undefined ? null : { side: led(readers).side, ...last };
    return { phase, primary: sides[phase], writers: writers.map(led), readers: ofReaders };
  });
};

/** The primary of each phase at the end, by its state. */
export const primaries = async (stage: Stage): Promise<Readonly<Record<PhaseName, Side>>> => {
  const phases = (await lookAtPhases(stage)) ?? [];
  const sideOf = (name: PhaseName): Side => {
    const side = sideOfState(phases.find((phase) => phase.name === name)?.state ?? '');
    if (side === undefined) throw new Error(`phase ${name} has no primary at the end`);
    return side;
  };
  return { lists: sideOf('lists'), accounts: sideOf('accounts') };
};

/** Reads everything that the primaries hold of the operations. Call it when nobody writes. */
export const readEnds = async (stage: Stage): Promise<Ends> => {
  const sides = await primaries(stage);
  const read = async (phase: PhaseName, sql: string) => await runSql(stage.directUrls[sides[phase]], sql);
  const lists = await read('lists', 'SELECT key, items FROM list');
  const tickets = await read('lists', 'SELECT id FROM ticket');
  const accounts = await read('accounts', 'SELECT balance FROM account ORDER BY id');
  const transfers = await read('accounts', 'SELECT op, from_id, to_id, amount FROM transfer ORDER BY seq');
  const registers = await read('accounts', 'SELECT key, version, writer FROM register');
  return {
    lists: new Map(lists.map(({ key, items }) => [Number(key), (items as readonly string[]).map(Number)])),
    ids: tickets.map(({ id }) => Number(id)),
    bank: {
      balances: accounts.map(({ balance }) => Number(balance)),
      transfers: transfers.map((row) => ({
        op: Number(row.op),
        from: Number(row.from_id),
        to: Number(row.to_id),
        amount: Number(row.amount),
      })),
    },
    registers: registers.map((row) => ({
      key: Number(row.key),
      version: Number(row.version),
      writer: Number(row.writer),
    })),
  };
};
