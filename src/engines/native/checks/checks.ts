import { messageOf } from '../../../domain/errors.ts';
import type { Finding } from '../../../domain/finding.ts';
import { type Direction, sidesOf } from '../../../domain/position.ts';
import type { Table } from '../../../domain/table.ts';
import type { PostgresServer } from '../../../platform/postgres/server.ts';
import { tryToSubscribe } from '../reach.ts';
import { readSubscriber, readUnequal } from './facts.ts';
import { judgeReach, judgeSubscriber, judgeUnequal } from './judge.ts';

/** One direction's lanes. */
export interface NativeChecksInput {
  readonly direction: Direction;
  readonly tables: readonly Table[];
  readonly lanes: number;
  readonly from: PostgresServer;
  readonly to: PostgresServer;
  /** How the written side's server reaches the other one. */
  readonly conninfo: string;
}

/**
 * What the native engine finds about the side that lanes of a direction write to: whether its server may and can subscribe to
 * the other one, and has room for all lanes. Whether it can is tried, and rolled back. Changes nothing.
 */
export const nativeChecks = async (input: NativeChecksInput): Promise<readonly Finding[]> => {
  const { direction, tables, lanes, from, to, conninfo } = input;
  const ends = { ...sidesOf(direction), lanes };
  const facts = await readSubscriber(to);
  const findings = [...judgeSubscriber(facts, ends)];
  if (facts.mayCreate) {
    const refusal = await tryToSubscribe(to, conninfo);
    if (refusal !== null) findings.push(judgeReach(messageOf(refusal), ends));
  }
  const whole = tables.filter((table) => table.key === null && table.replicaIdentity === 'full');
  findings.push(...(await readUnequal(from, whole)).map(judgeUnequal));
  return findings;
};
