import type { Side } from '../../domain/position.ts';
import { isJsonObject, parseExact } from '../exact-json.ts';
import { isSide } from '../observed.ts';

/** A key as etcd has it; null where it is not there. */
export interface KeyState {
  /** Bytes in base64. */
  readonly value: string;
  /** Writes since the key was made, that one included. */
  readonly version: string;
  readonly createRevision: string;
  /** Of the last write. */
  readonly modRevision: string;
}

/** What a key says of a phase. */
export interface EtcdRoute {
  readonly primary: Side | null;
  readonly held: boolean;
  readonly epoch: bigint;
  /** How many writes of the key were ours and led nobody elsewhere: holds and releases. */
  readonly holds: bigint;
  /** Fields of somebody else, which stay, numbers digit by digit. */
  readonly rest: Readonly<Record<string, unknown>>;
}

/** A key that is not there. */
export const NOT_TOLD: EtcdRoute = { primary: null, held: false, epoch: 0n, holds: 0n, rest: {} };

const isNumber = (value: unknown): value is string => typeof value === 'string' && /^\d{1,20}$/.test(value);

/** Reads a value; a text that says what is wrong with it otherwise. Only `primary` has to be there. */
export const readRoute = (base64: string): EtcdRoute | string => {
  let value: unknown;
  try {
    value = parseExact(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(base64, 'base64')));
  } catch {
    return 'is no JSON';
  }
  if (!isJsonObject(value)) return 'is no JSON object';
  const { primary, held = false, epoch = '0', holds = '0', ...rest } = value;
  if (primary !== null && !isSide(primary)) return 'has a primary that is neither "source", "target" nor null';
  if (typeof held !== 'boolean') return 'has a held that is neither true nor false';
  if (!isNumber(epoch)) return 'has an epoch that is no number in quotation marks';
  if (!isNumber(holds)) return 'has a holds that is no number in quotation marks';
  return { primary, held, epoch: BigInt(epoch), holds: BigInt(holds), rest };
};

/** A value, in base64. */
export const writeRoute = ({ primary, held, epoch, holds, rest }: EtcdRoute): string =>
  Buffer.from(JSON.stringify({ primary, held, epoch: String(epoch), holds: String(holds), ...rest })).toString(
    'base64',
  );

/**
 * Differs after every write that was no hold or release of ours, somebody else's also when it has been taken back since:
 * etcd counts the writes of a key, and the value says how many of them led nobody elsewhere. A key that was only ever held
 * has the version of one that is not there.
 */
export const versionOf = (state: KeyState | null, { holds, primary }: EtcdRoute): string => {
  if (state === null) return '0';
  const moves = BigInt(state.version) - holds;
  return moves === 0n && primary === null ? '0' : `${state.createRevision}.${moves}`;
};
