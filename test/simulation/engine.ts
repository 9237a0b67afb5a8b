import { SwitchbackError } from '../../src/domain/errors.ts';
import { type Direction, type Position, type Side, sidesOf } from '../../src/domain/position.ts';
import type { Guard } from '../../src/domain/sql.ts';
import type { Engine, LaneSpec, LaneStart } from '../../src/engines/engine.ts';
import type { LaneTraces } from '../../src/engines/traces.ts';
import { inspectSlot, type LaneConditions, type LaneParts, SimulatedLane } from './lane.ts';
import type { Network } from './network.ts';
import type { Server } from './server.ts';
import type { Process } from './world.ts';

/** What a simulated engine is made of. */
export type EngineParts = Omit<LaneParts, 'spec'>;

const CREATE_BUDGET_MS = 60_000;
const POLL_MS = 1;

/** Makes a slot as PostgreSQL does: when every transaction that is writing now has ended. Resolves with its start. */
const createSlot = async (network: Network, process: Process, side: Side, name: string): Promise<Position> => {
  const effect = { process, label: `${side} create slot` };
  const made = network.request<Position>(process, side, 'create slot', (server, reply) => {
    const begun = network.world.now;
    const writing = [...server.sessions].flatMap(({ transaction }) =>
      transaction && transaction.writes.size > 0 ? [transaction] : [],
    );
    const { boot } = server;
    const look = (): void => {
      if (server.boot !== boot) {
        reply({ error: new SwitchbackError('unreachable', 'the server crashed') });
        return;
      }
      if (network.world.now - begun > CREATE_BUDGET_MS) {
        reply({
          error: new SwitchbackError('busy', `slot ${name} waits for transactions that are still writing`),
        });
        return;
      }
      if (writing.some((transaction) => transaction.session.transaction === transaction)) {
        network.world.schedule(null, POLL_MS, `${side}: slot waits`, look);
        return;
      }
      if (server.slots.get(name)?.active) {
        reply({ error: new SwitchbackError('refused', `slot ${name} is in use`) });
        return;
      }
      network.strike(effect, () => {
        server.flush();
        server.makeSlot(name, process.holder);
        if (network.hooks.onEffect(effect, 'after') !== 'die') reply({ value: String(server.lsn) as Position });
      });
    };
    look();
  });
  return await network.replied(effect, made);
};

const retireSlot = (server: Server, name: string, by: string): void => {
  const slot = server.slots.get(name);
  if (slot?.active) server.end(slot.active, 'its slot is retired');
  server.dropSlot(name, by);
};

const openLane = async (parts: LaneParts, start: LaneStart): Promise<SimulatedLane> => {
  const { network, process, spec } = parts;
  const { from, to } = sidesOf(spec.direction);
  switch (start.kind) {
    case 'create': {
      const position = await createSlot(network, process, from, spec.slot);
      await network.transaction(process, to, (sql) =>
        spec.store.restart(sql, { position, strictFrom: null, marker: 0n }),
      );
      break;
    }
    case 'reserve':
      await createSlot(network, process, from, spec.slot);
      break;
    case 'from': {
      await inspectSlot(parts, async () => start.position);
      await network.transaction(process, to, async (sql) => {
        const marker = (await spec.store.progress(sql))?.marker ?? 0n;
        await spec.store.begin(sql, { position: start.position, strictFrom: start.position, marker });
      });
      break;
    }
    case 'resume':
      await inspectSlot(parts, async () => {
        const progress = await spec.store.progress(network.sqlSide(process, to));
        if (progress === null) throw new SwitchbackError('internal', `lane ${spec.lane} was never opened`);
        return progress.position;
      });
  }
  return new SimulatedLane(parts);
};

/** The engine between the two simulated servers. */
export const simulatedEngine = (parts: EngineParts): Engine => {
  const { network, process } = parts;
  const fromOf = (direction: Direction): Side => sidesOf(direction).from;
  const publication = (
    direction: Direction,
    { name, value, guard }: { readonly name: string; readonly value: string | undefined; readonly guard: Guard },
  ): Promise<void> =>
    network.transaction(process, fromOf(direction), async (sql) => {
      await guard(sql);
      await sql.act('publication', (server, transaction) => {
        const isThere = server.read(transaction, 'publication', name) !== undefined;
        if (isThere !== (value !== undefined)) server.write(transaction, 'publication', name, value);
      });
    });
  return {
    capabilities: { truncate: true, keyless: true, strict: true },
    checks: async () => [],
    publish: ({ direction, publication: name, guard }) => publication(direction, { name, value: 'made', guard }),
    retire: async ({ direction, slot, publication: name, guard }) => {
      if (slot !== null)
        await network.transaction(process, fromOf(direction), async (sql) => {
          await guard(sql);
          await sql.act('retire slot', (server, transaction) => {
            // A slot is no part of the transaction; the write only makes its commit an effect that crashes come around.
            retireSlot(server, slot, process.holder);
            server.write(transaction, 'retired', slot, undefined);
          });
        });
      if (name !== null) await publication(direction, { name, value: undefined, guard });
    },
    openLane: (spec: LaneSpec, start) => openLane({ ...parts, spec }, start),
    repair: async () => {
      throw new Error('the simulation repairs nothing: no run of it may need that');
    },
  };
};

/** The slots that there are on a side. */
export const simulatedTraces = (network: Network, process: Process): Pick<LaneTraces, 'slots' | 'covers'> => ({
  covers: (position, confirmed) => Number(position) >= Number(confirmed),
  slots: (direction, prefix) =>
    network.request(process, sidesOf(direction).from, 'read slots', (server, reply) => {
      const found = [...server.slots].filter(([name]) => name.startsWith(prefix));
      reply({
        value: found.map(([name, { confirmed }]) => ({ name, damage: null, confirmed: String(confirmed) as Position })),
      });
    }),
});

/** Lanes as they should be. */
export const honestLanes = (hooks: Pick<LaneConditions, 'onConfirmed' | 'onApply'>): LaneConditions => ({
  applyMs: 0,
  batch: 20,
  acknowledgesEarly: false,
  drainsWithoutMarkers: false,
  sends: (records) => records,
  ...hooks,
});
