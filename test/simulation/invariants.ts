import { otherSide, type Side } from '../../src/domain/position.ts';
import type { Ledger, PhaseTables } from './clients.ts';
import { contentOf } from './history.ts';
import { causesOf, intentOf } from './intents.ts';
import type { Commit, Server, SlotChange, WalRecord } from './server.ts';
import type { World } from './world.ts';

type Row = Readonly<Record<string, string | null>>;

/** What invariants are checked on. */
export interface Watched {
  readonly world: World;
  readonly servers: Readonly<Record<Side, Server>>;
  readonly phases: readonly PhaseTables[];
  readonly ledger: Ledger;
}

/** The sidecar's tables on the source that only the holder of the lease may write. */
const OWNED = new Set(
  ['phase', 'journal', 'switch', 'outcome', 'lane', 'certificate'].map((name) => `sidecar:${name}`),
);

const SIDES: readonly Side[] = ['source', 'target'];

/** Watches both servers from outside, at every event, and knows nothing of what the product believes. */
export class Invariants {
  readonly #watched: Watched;
  /** Phases of which a side has been fenced since the run began: from then on one always is. */
  readonly #guarded = new Set<string>();
  /** Phases that are being aborted or finalised: the run is over for them. */
  readonly #ending = new Set<string>();
  /** Phases of which somebody has asked that both sides be open in the end: S1 is no promise any more. */
  readonly #opening = new Set<string>();
  #unfenced = false;
  /** When a switch fenced the last writable side of a phase. */
  readonly #fencedAt = new Map<string, number>();
  #longestFence = 0;
  readonly #outcomes = new Map<string, string>();
  readonly #intents = new Map<string, Map<string, string>>();
  /** The newest epoch that each process has held the lease under, by worker id. */
  readonly #held = new Map<string, bigint>();
  /** The newest epoch under which anybody has done anything on a side. */
  readonly #acting: Record<Side, bigint> = { source: 0n, target: 0n };
  /** Who made each slot, by side and name. */
  readonly #makers = new Map<string, string>();
  /** Where each lane has been, with the commit that made it so. */
  #progress: { readonly side: Side; readonly lane: string; readonly position: number; readonly lsn: number }[] = [];

  constructor(watched: Watched) {
    this.#watched = watched;
    for (const side of SIDES) {
      const server = watched.servers[side];
      server.onCommit.push((commit) => this.#onCommit(commit));
      server.onSlot.push((change) => this.#onSlot(change));
      server.onCrash.push(() => {
        this.#progress = this.#progress.filter((one) => one.side !== side || one.lsn <= server.durableLsn);
      });
      for (const [lane, row] of server.store('sidecar:progress')) this.#note(side, lane, row as Row, server.lsn);
    }
    for (const phase of watched.phases) if (this.writable(phase).length < 2) this.#guarded.add(phase.name);
    for (const [id, row] of watched.servers.source.store('sidecar:outcome'))
      this.#outcomes.set(id, (row as Row).outcome ?? '');
    watched.world.afterEvent.push(() => this.#assertOneWritable());
  }

  /** The longest time in milliseconds that a switch has kept both sides fenced, until now (L1). */
  longestFence(): number {
    const { now } = this.#watched.world;
    return Math.max(this.#longestFence, ...[...this.#fencedAt.values()].map((at) => now - at));
  }

  /** Somebody has asked for a finalise that leaves no fence. */
  onUnfence(): void {
    this.#unfenced = true;
  }

  /** Whether a phase is being aborted or finalised, or has been. */
  isEnding(phase: string): boolean {
    return this.#ending.has(phase);
  }

  /** Clients' sessions on a side are about to be ended: none of them may be where it belongs. */
  onClientsEnded(side: Side): void {
    for (const phase of this.#watched.phases) {
      if (!this.writable(phase).includes(side)) continue;
      this.#watched.world.violate('S1', `clients were ended on the ${side}, where ${phase.name} is written`);
    }
  }

  /** Sides whose tables of a phase an application could write now. */
  writable(phase: PhaseTables): readonly Side[] {
    return SIDES.filter((side) => !this.#isFenced(side, phase));
  }

  /** S6: a slot is told of nothing that is not durable on the other side. */
  onConfirmed(lane: string, to: Side, position: number): void {
    const { durableLsn } = this.#watched.servers[to];
    const isDurable = this.#progress.some(
      (one) => one.side === to && one.lane === lane && one.position >= position && one.lsn <= durableLsn,
    );
    if (!isDurable) this.#violate('S6', `${lane} confirmed ${position}, which is not durable on the ${to}`);
    const isBoundary = this.#watched.servers[otherSide(to)].wal.some((record) => record.lsn === position);
    if (!isBoundary) this.#violate('S6', `${lane} confirmed ${position}, which is no commit boundary`);
  }

  /** S14, S5: what is applied follows what has been applied without a gap, in the order of commits. */
  onApply(lane: string, from: Side, position: number, records: readonly WalRecord[]): void {
    const last = Math.max(position, ...records.map(({ lsn }) => lsn));
    const expected = this.#watched.servers[from].wal.filter(({ lsn }) => lsn > position && lsn <= last);
    const isComplete = expected.length === records.length && expected.every((record) => records.includes(record));
    const isOrdered = records.every((record, i) => i === 0 || record.lsn > (records[i - 1]?.lsn ?? 0));
    if (!isOrdered) this.#violate('S5', `${lane} applied ${records.map(({ lsn }) => lsn).join(', ')}, in this order`);
    else if (!isComplete)
      this.#violate(
        'S14',
        `${lane} applied ${records.length} records after ${position}; the log has ${expected.length}`,
      );
  }

  /** S12: an effect of a process that has none of the steps in the journal that may cause it. */
  onEffect(owner: string, what: string): void {
    const isDeposed = this.#leaseHolder() !== owner;
    const causes = causesOf(what === 'router release' && isDeposed ? `${what}, deposed` : what);
    if (causes === null) return;
    const open = [...(this.#intents.get(owner)?.values() ?? [])];
    if (!open.some((step) => causes.includes(step)))
      this.#violate('S12', `${owner} did "${what}" without a durable intent; open: ${open.join(', ') || 'none'}`);
  }

  #leaseHolder(): string {
    const [lease] = [...this.#watched.servers.source.store('sidecar:lease').values()] as Row[];
    return lease?.holder ?? '';
  }

  #violate(id: string, text: string): void {
    this.#watched.world.violate(id, text);
  }

  #isFenced(side: Side, phase: PhaseTables): boolean {
    const server = this.#watched.servers[side];
    return server.get('fence', phase.appended) === 'on' && server.get('fence', phase.inserted) === 'on';
  }

  #assertOneWritable(): void {
    for (const phase of this.#watched.phases) {
      if (!this.#guarded.has(phase.name) || this.#opening.has(phase.name)) continue;
      if (!this.#isFenced('source', phase) && !this.#isFenced('target', phase)) {
        this.#violate('S1', `phase ${phase.name} is writable on both sides`);
      }
    }
  }

  #onCommit(commit: Commit): void {
    const { server, transaction } = commit;
    const { owner } = transaction.session;
    for (const [name, writes] of transaction.writes) {
      const isLanes = name.startsWith('rows:') && transaction.isApplier;
      if (isLanes || name === 'dropped index' || name === 'publication') this.#assertNewest(server.side, owner, name);
      if (name === 'fence') this.#onFence(commit, writes);
      if (name === 'sidecar:ownership' || name === 'sidecar:progress' || name === 'sidecar:lease')
        this.#assertEpochs(commit, name, writes);
      if (name === 'sidecar:progress')
        for (const [lane, row] of writes) if (row) this.#note(server.side, lane, row as Row, commit.lsn);
      if (server.side !== 'source') continue;
      if (name === 'sidecar:outcome')
        for (const [id, row] of writes) this.#onOutcome(owner, id, row as Row | undefined);
      if (name === 'sidecar:journal') for (const row of writes.values()) this.#onJournal(owner, row as Row | undefined);
      if (OWNED.has(name)) this.#assertHolder(commit, name);
    }
    this.#noteActing(server.side, owner, transaction.writes.get('sidecar:lease'));
  }

  /** Whoever has taken the lease tells both sides before it does anything else, and until then nobody is deposed there. */
  #noteActing(side: Side, owner: string, lease: ReadonlyMap<string, unknown> | undefined): void {
    for (const row of (lease?.values() ?? []) as Iterable<Row | undefined>)
      if (row?.holder) this.#held.set(row.holder, BigInt(row.epoch ?? 0));
    const mine = this.#held.get(owner) ?? 0n;
    if (lease === undefined && mine > this.#acting[side]) this.#acting[side] = mine;
  }

  /** S7: what would harm the work of a newer worker is done by nobody older, once the newer one has acted on that side. */
  #assertNewest(side: Side, owner: string, what: string): void {
    const mine = this.#held.get(owner) ?? 0n;
    if (mine < this.#acting[side])
      this.#violate(
        'S7',
        `${owner}, of epoch ${mine}, changed ${what} on the ${side} after epoch ${this.#acting[side]}`,
      );
  }

  /** S7 of slots, which know no epochs: a deposed worker does away with none but its own, and that only while no lane needs it. */
  #onSlot({ server, slot, kind, by }: SlotChange): void {
    const key = `${server.side} ${slot}`;
    const maker = this.#makers.get(key);
    if (kind === 'made') this.#makers.set(key, by);
    else if (maker !== by || this.#isNeeded(slot)) this.#assertNewest(server.side, by, `slot ${slot}`);
  }

  #isNeeded(slot: string): boolean {
    const { source } = this.#watched.servers;
    return ([...source.store('sidecar:lane').values()] as Row[]).some((lane) => {
      if (lane.slot !== slot) return false;
      const { doc } = (source.get('sidecar:phase', lane.phase ?? '') ?? {}) as Row;
      const { name } = JSON.parse(doc ?? '{}') as { readonly name?: string };
      const direction = name === 'soaking' ? 'reverse' : 'forward';
      return name === 'switching' || (name !== 'planned' && lane.direction === direction);
    });
  }

  #note(side: Side, lane: string, row: Row, lsn: number): void {
    this.#progress.push({ side, lane, position: Number(row.position), lsn });
    if (this.#progress.length > 400) this.#progress.splice(0, 200);
  }

  /** S7: rows that carry an epoch never get an older one. */
  #assertEpochs({ server }: Commit, name: string, writes: ReadonlyMap<string, unknown>): void {
    for (const [key, row] of writes) {
      const known = this.#epochs.get(`${server.side} ${name} ${key}`) ?? 0n;
      const epoch = BigInt((row as Row | undefined)?.epoch ?? known);
      if (epoch < known)
        this.#violate('S7', `${name} ${key} on the ${server.side} went from epoch ${known} back to ${epoch}`);
      if (row === undefined) this.#epochs.delete(`${server.side} ${name} ${key}`);
      else this.#epochs.set(`${server.side} ${name} ${key}`, epoch);
    }
  }

  readonly #epochs = new Map<string, bigint>();

  /** S7: what the lease protects is written by its holder alone. */
  #assertHolder({ server, transaction }: Commit, name: string): void {
    const [lease] = [...server.store('sidecar:lease').values()] as Row[];
    const { owner } = transaction.session;
    if (!lease || lease.holder === '' || lease.holder === owner) return;
    this.#violate('S7', `${owner} wrote ${name} while ${lease.holder} held the lease`);
  }

  #onOutcome(owner: string, id: string, row: Row | undefined): void {
    if (row === undefined) return;
    const known = this.#outcomes.get(id);
    if (known !== undefined && known !== row.outcome)
      this.#violate('S11', `${id} was ${known} and became ${row.outcome}`);
    if (known === undefined && row.outcome === 'committed') {
      this.onEffect(owner, 'commit record');
      this.#onCommitRecord(id);
    }
    this.#outcomes.set(id, row.outcome ?? '');
  }

  /** S10: at the commit record both sides stand still and are equal, and sequences are ahead. */
  #onCommitRecord(id: string): void {
    const { servers, phases } = this.#watched;
    const record = servers.source.get('sidecar:switch', id) as Row | undefined;
    const to: Side = record?.direction === 'reverse' ? 'source' : 'target';
    const from = otherSide(to);
    for (const phase of phases.filter(({ name }) => record?.phases?.split(',').includes(name))) {
      for (const side of SIDES)
        if (!this.#isFenced(side, phase)) this.#violate('S10', `${id} committed while the ${side} was writable`);
      for (const table of [phase.appended, phase.inserted]) {
        if (contentOf(servers[to], table) !== contentOf(servers[from], table))
          this.#violate('S10', `${id} committed with different rows in ${table}`);
      }
      const ahead =
        (servers[to].sequences.get(phase.sequence) ?? 0) >= (servers[from].sequences.get(phase.sequence) ?? 0);
      if (!ahead) this.#violate('S10', `${id} committed with ${phase.sequence} behind on the ${to}`);
    }
  }

  #onJournal(owner: string, row: Row | undefined): void {
    if (!row) return;
    const open = this.#intents.get(owner) ?? new Map<string, string>();
    this.#intents.set(owner, open);
    // Several phases may be in the same step at the same time, and each has an intent of its own.
    const intent = `${row.scope}/${row.step} of ${row.phases}`;
    if (row.status === 'begun') open.set(intent, intentOf(row.scope ?? '', row.step ?? ''));
    else open.delete(intent);
    if (row.scope !== 'abort' && row.scope !== 'finalise') return;
    for (const phase of row.phases?.split(',') ?? []) {
      this.#ending.add(phase);
      // An abort gives the target back as it was found; a finalise keeps the source fenced unless somebody says otherwise.
      if (row.scope === 'abort' || this.#unfenced) this.#opening.add(phase);
    }
  }

  #onFence(commit: Commit, writes: ReadonlyMap<string, unknown>): void {
    const { server, transaction } = commit;
    const { owner } = transaction.session;
    const isDrop = transaction.writes.has('schema');
    for (const phase of this.#watched.phases) {
      if (!writes.has(phase.appended)) continue;
      const now = writes.get(phase.appended);
      if (server.side === 'target' && now === 'on') {
        this.#guarded.add(phase.name);
        // The next run, after an abort.
        this.#ending.delete(phase.name);
        this.#opening.delete(phase.name);
      }
      if (!isDrop) this.onEffect(owner, `${now === 'on' ? 'fence' : 'lift'} on the ${server.side}`);
      this.#noteFence(phase);
      const isGuarded = transaction.writes.get('sidecar:ownership')?.has(phase.name) === true;
      if (!isDrop && !isGuarded)
        this.#violate(
          'S7',
          `${owner} changed the fence of ${phase.name} on the ${server.side} without its ownership row`,
        );
      if (now === 'off' && !this.#ending.has(phase.name)) this.#onLift(commit, phase);
    }
  }

  #noteFence(phase: PhaseTables): void {
    const { now } = this.#watched.world;
    if (this.writable(phase).length === 0) {
      if (!this.#fencedAt.has(phase.name)) this.#fencedAt.set(phase.name, now);
      return;
    }
    this.#longestFence = Math.max(this.#longestFence, now - (this.#fencedAt.get(phase.name) ?? now));
    this.#fencedAt.delete(phase.name);
  }

  /** S11: whoever lifts a fence in the middle of a switch has a record that says which side. */
  #assertDecided(side: Side, phase: PhaseTables): void {
    const { source } = this.#watched.servers;
    const row = source.get('sidecar:phase', phase.name) as Row | undefined;
    const state = JSON.parse(row?.doc ?? '{}') as {
      readonly name?: string;
      readonly switchId?: string;
      readonly direction?: string;
    };
    if (state.name !== 'switching') return;
    const outcome = (source.get('sidecar:outcome', state.switchId ?? '') as Row | undefined)?.outcome ?? 'not decided';
    const winner: Side = (state.direction === 'forward') === (outcome === 'committed') ? 'target' : 'source';
    if (outcome === 'not decided' || winner !== side)
      this.#violate('S11', `the ${side} was lifted while ${state.switchId} was ${outcome}`);
  }

  /** S2: nothing that was acknowledged is missing where writes begin. S8: the lane away from there begins before them. */
  #onLift({ server, lsn }: Commit, phase: PhaseTables): void {
    const { servers, ledger } = this.#watched;
    this.#assertDecided(server.side, phase);
    for (const table of [phase.appended, phase.inserted]) {
      for (const { key, id } of ledger.acknowledged(table)) {
        const value = server.get(`rows:${table}`, key) as string | undefined;
        if (!value?.split(' ').includes(id))
          this.#violate('S2', `${id} is not in row ${key} of ${table} on the ${server.side}, which is writable now`);
      }
    }
    const direction = server.side === 'source' ? 'forward' : 'reverse';
    const name = `${phase.name}/${direction}`;
    const lane = servers.source.get('sidecar:lane', name) as Row | undefined;
    const confirmed = server.slots.get(lane?.slot ?? '')?.confirmed;
    const progress = servers[otherSide(server.side)].get('sidecar:progress', name) as Row | undefined;
    if (confirmed === undefined)
      this.#violate('S8', `the ${server.side} is writable, and lane ${name} has no slot there`);
    else if (confirmed > lsn) this.#violate('S8', `slot of ${name} begins at ${confirmed}, after the lift at ${lsn}`);
    if (!progress || Number(progress.position) > lsn)
      this.#violate('S8', `lane ${name} begins at ${progress?.position}, after the lift at ${lsn}`);
  }
}
