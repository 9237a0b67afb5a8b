import { isIP } from 'node:net';
import type { ResourceRecordSet } from '@aws-sdk/client-route-53';

/** The kinds of record that a router changes. */
export type RecordType = 'CNAME' | 'A' | 'AAAA';

/** A record set without a routing policy, as Route 53 lists it: what a DELETE has to repeat word for word. */
export interface PlainRecord {
  readonly name: string;
  readonly type: RecordType | 'TXT';
  /** In seconds. */
  readonly ttl: number;
  readonly values: readonly string[];
}

/** What our TXT record beside a record says. */
export interface Mark {
  /** Of the last repoint; 0 when there is no mark yet. */
  readonly epoch: bigint;
  /** Whether it is not known yet that all name servers have the change. */
  readonly spreads: boolean;
}

/** Before the first repoint. */
export const NO_MARK: Mark = { epoch: 0n, spreads: false };

const MARK = /^"switchback epoch=(\d{1,19}) state=(spreading|insync)"$/;

/** The name of the record that remembers the last repoint of another one, which as a CNAME can have no other beside it. */
export const markName = (record: string): string => `_switchback.${record}`;

/** The value of a mark, in the quotes of a TXT record. */
export const markText = ({ epoch, spreads }: Mark): string =>
  `"switchback epoch=${epoch} state=${spreads ? 'spreading' : 'insync'}"`;

/** What a TXT record says as a mark; null when it is none of ours. */
export const readMark = (values: readonly string[]): Mark | null => {
  const [, epoch, state] = MARK.exec(values.length === 1 ? (values[0] ?? '') : '') ?? [];
  return epoch === undefined ? null : { epoch: BigInt(epoch), spreads: state === 'spreading' };
};

/** A name as names are compared: DNS does not tell capitals apart, and Route 53 writes the root at its end. */
export const sameName = (a: string, b: string): boolean => nameOf(a) === nameOf(b);

const nameOf = (name: string): string => name.toLowerCase().replace(/\.$/, '');

const spelled = (type: RecordType, value: string): string => {
  if (type === 'CNAME') return nameOf(value);
  // The same address in one spelling.
  return isIP(value) === 6 ? (URL.parse(`http://[${value}]`)?.hostname ?? value) : value;
};

/** The values of a record in one spelling and order, by which they are compared. */
export const valuesText = (type: RecordType, values: readonly string[]): string =>
  values
    .map((value) => spelled(type, value))
    .toSorted()
    .join(', ');

/** Why a router cannot lead by a record set, or null. Those with a policy are several under one name, and an alias has no value. */
export const policyOf = (set: ResourceRecordSet): string | null => {
  if (set.AliasTarget !== undefined) return 'an alias';
  if (set.SetIdentifier === undefined) return null;
  const { Weight, Region, Failover, MultiValueAnswer } = set;
  if (Weight !== undefined) return 'one of several with weights';
  if (Region !== undefined) return 'one of several by latency';
  if (Failover !== undefined) return 'one of several for failover';
  return MultiValueAnswer === undefined ? 'one of several by place' : 'one of several that are answered together';
};

/** A record set as it is sent. */
export const recordSetOf = ({ name, type, ttl, values }: PlainRecord): ResourceRecordSet => ({
  Name: name,
  Type: type,
  TTL: ttl,
  ResourceRecords: values.map((value) => ({ Value: value })),
});

/** A record set as it was listed. */
export const plainRecord = (set: ResourceRecordSet, type: PlainRecord['type']): PlainRecord => ({
  name: set.Name ?? '',
  type,
  ttl: set.TTL ?? 0,
  values: (set.ResourceRecords ?? []).map(({ Value }) => Value ?? ''),
});
