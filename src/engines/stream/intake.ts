import type { Change } from '../../rows/change.ts';
import { fillUnchanged, type Tuple } from '../../rows/tuple.ts';
import { type LaneTable, type LaneTables, type Matched, matchRelation } from './lane-table.ts';
import type { Message, Relation } from './pgoutput.ts';
import type { ChangeQueue } from './queue.ts';

/** Where the changes of a stream go, and what they are matched against. */
export interface IntakeOptions {
  readonly lane: string;
  readonly tables: LaneTables;
  readonly queue: ChangeQueue;
}

type RowMessage = Message & { readonly type: 'insert' | 'update' | 'delete' };

/** A relation as it was described; not matched before a change of it is wanted. */
interface Described {
  readonly text: string;
  readonly relation: Relation;
  matched: Matched | null;
}

/** Turns what the messages within a transaction say into changes of the lane's tables, in a queue. */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #relations = new Map<number, Described>();
  readonly #types = new Map<number, { schema: string; name: string }>();

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /**
   * Takes one message of so many bytes. Throws kind `halted` when a relation is not what the written side has (S13), and
   * RangeError when the message may not stand within a transaction.
   */
  take(message: Message, bytes: number): void {
    switch (message.type) {
      case 'insert':
      case 'update':
      case 'delete':
        this.#row(message, bytes);
        break;
      case 'type':
        this.describe(message);
        break;
      case 'relation':
        this.#describe(message.relation);
        this.#matched(message.relation.id);
        break;
      case 'truncate':
        this.#truncate(message);
        break;
      case 'ignored':
        break;
      default:
        throw new RangeError(`a message of pgoutput that is no change: ${message.type}`);
    }
  }

  /** Takes what a message within a transaction describes for later ones, and nothing else. */
  describe(message: Message): void {
    if (message.type === 'type') this.#types.set(message.id, { schema: message.schema, name: message.name });
    // It may be what the table was like before somebody changed it on both sides.
    else if (message.type === 'relation') this.#describe(message.relation);
  }

  #row(message: RowMessage, bytes: number): void {
    const relation = this.#matched(message.relationId);
    if (relation.kind === 'marker') {
      if (message.type !== 'delete') this.#mark(message.after, relation.columns);
      return;
    }
    if (relation.kind !== 'table') throw new RangeError('a change of a partitioned table itself');
    this.#options.queue.add(changeOf(message, relation.table), bytes);
  }

  #mark(row: Tuple, columns: readonly string[]): void {
    const [lane, seq] = row.texts([columns.indexOf('lane'), columns.indexOf('seq')]);
    if (lane === this.#options.lane && seq) this.#options.queue.mark(BigInt(seq));
  }

  #truncate(message: Message & { readonly type: 'truncate' }): void {
    const tables = message.relationIds
      .map((id) => this.#matched(id))
      .flatMap((relation) => (relation.kind === 'table' ? [relation.table] : []));
    if (tables.length === 0) return;
    this.#options.queue.add({ kind: 'truncate', tables, restartIdentity: message.restartIdentity }, 0);
  }

  /** Relations are described again after any invalidation (hazard 7); the same description keeps the same object. */
  #describe(relation: Relation): void {
    const text = JSON.stringify([relation, relation.columns.map((c) => this.#types.get(c.typeId))]);
    if (this.#relations.get(relation.id)?.text === text) return;
    this.#relations.set(relation.id, { text, relation, matched: null });
  }

  #matched(id: number): Matched {
    const relation = this.#relations.get(id);
    if (relation === undefined) throw new RangeError(`a change of a relation that was not described: ${id}`);
    relation.matched ??= matchRelation(relation.relation, this.#types, this.#options.tables);
    return relation.matched;
  }
}

const changeOf = (message: RowMessage, table: LaneTable): Change<LaneTable> => {
  switch (message.type) {
    case 'insert':
      return { kind: 'insert', table, after: message.after };
    case 'update': {
      const { before, isWhole } = message;
      // Without FULL the old row has only the key's columns, which may be TOASTed themselves.
      const after = fillUnchanged(message.after, before, isWhole ? undefined : (table.keyAt ?? []));
      return { kind: 'update', table, before, after };
    }
    case 'delete':
      return { kind: 'delete', table, before: message.before };
  }
};
