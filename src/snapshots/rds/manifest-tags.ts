import { createHash } from 'node:crypto';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import type { Tag } from '@aws-sdk/client-rds';
import { SwitchbackError } from '../../domain/errors.ts';
import type { Position } from '../../domain/position.ts';
import type { Manifest } from '../../domain/snapshot.ts';

/** What is known when a creation begins: it is in the tags that the snapshot is made with, or the snapshot is not. */
export type Begun = Omit<Manifest, 'position' | 'createdAt' | 'bytes'> & { readonly atLeast: Position };

/** What is known when it stands. */
export interface Ended {
  readonly atMost: Position;
  readonly createdAt: string;
  readonly bytes: number | null;
}

/** What the tags of a snapshot say. */
export type Reading =
  /** Nothing of ours: made by hand, by RDS itself, or by another program. */
  | { readonly kind: 'foreign' }
  | { readonly kind: 'newer'; readonly format: string }
  | { readonly kind: 'damaged'; readonly why: string }
  | { readonly kind: 'begun'; readonly begun: Begun }
  | { readonly kind: 'whole'; readonly manifest: Manifest };

/** All our tags begin with it. */
export const PREFIX = 'switchback:';
const FORMAT = 1;
const [PLAN, IDENTITY, ID, VERSION, SUM, END] = ['plan', 'identity', 'id', 'format', 'sum', 'end'].map(
  (name) => `${PREFIX}${name}`,
) as [string, string, string, string, string, string];
const PART = `${PREFIX}m`;

/** What RDS takes: 50 tags with values of 256 characters, of which Base64 uses none that are forbidden. */
const MOST_TAGS = 50;
const MOST_CHARACTERS = 256;
const OTHERS = 6;
const MOST_PARTS = MOST_TAGS - OTHERS;

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** The tags of a resource by key. */
export const tagsByKey = (tags: readonly Tag[] | undefined): ReadonlyMap<string, string> =>
  new Map((tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value]));

/** Tags as RDS takes them. */
export const tagList = (tags: Readonly<Record<string, string>>): Tag[] =>
  Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

/** As small as can be: a plan of many tables is what the room may not do for. */
const compressed = (text: string): Buffer =>
  brotliCompressSync(text, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
      [constants.BROTLI_PARAM_SIZE_HINT]: Buffer.byteLength(text),
    },
  });

const partsOf = (text: string): readonly string[] => {
  const parts: string[] = [];
  for (let from = 0; from < text.length; from += MOST_CHARACTERS) parts.push(text.slice(from, from + MOST_CHARACTERS));
  return parts;
};

const sumOf = (id: string, parts: readonly string[]): string => sha256(`${id} ${parts.join('')}`);

/** Throws kind `refused` when they are more than RDS keeps. */
const assertRoom = (parts: number): void => {
  if (parts <= MOST_PARTS) return;
  throw new SwitchbackError(
    'refused',
    `the manifest of this snapshot takes ${parts} tags of ${MOST_CHARACTERS} characters, and RDS keeps ${MOST_PARTS} beside ours`,
    { remedy: 'split the plan into plans of fewer tables, or take `store: pg_dump`, whose manifest is a file' },
  );
};

/**
 * The tags that a snapshot is made with: whose it is, and all of its manifest that is known by then, compressed, in Base64 and cut
 * into values. So there is never a snapshot of ours without them, whatever dies in between, and `list` needs nothing but AWS.
 * Throws kind `refused` when they are more than RDS keeps.
 */
export const tagsToBegin = (begun: Begun): Readonly<Record<string, string>> => {
  const parts = partsOf(compressed(JSON.stringify(begun)).toString('base64'));
  assertRoom(parts.length);
  return {
    [PLAN]: begun.plan.name,
    [IDENTITY]: begun.identity,
    [ID]: begun.id,
    [VERSION]: String(FORMAT),
    [SUM]: `${parts.length}.${sumOf(begun.id, parts)}`,
    ...Object.fromEntries(parts.map((part, index) => [`${PART}${index}`, part])),
  };
};

/** The one tag that makes a manifest whole; the others stay as they are, so that no half of a change is ever read. */
export const tagToEnd = (begun: Begun, { atMost, createdAt, bytes }: Ended): Readonly<Record<string, string>> => {
  const text = JSON.stringify([atMost, createdAt, bytes]);
  return { [END]: Buffer.from(`${sha256(`${begun.id} ${text}`).slice(0, 16)}${text}`).toString('base64') };
};

const endOf = (id: string, tag: string): Ended | null => {
  const whole = Buffer.from(tag, 'base64').toString();
  const text = whole.slice(16);
  if (sha256(`${id} ${text}`).slice(0, 16) !== whole.slice(0, 16)) return null;
  const [atMost, createdAt, bytes] = JSON.parse(text) as [Position, string, number | null];
  return { atMost, createdAt, bytes };
};

const begunOf = (tags: ReadonlyMap<string, string>, id: string): Begun | string => {
  const [count = '', sum] = (tags.get(SUM) ?? '').split('.');
  const parts = Array.from({ length: Number(count) || 0 }, (_, index) => tags.get(`${PART}${index}`));
  const missing = parts.indexOf(undefined);
  if (missing !== -1) return `its tag ${PART}${missing} is gone`;
  const whole = parts.map(String);
  if (sumOf(id, whole) !== sum) return `its tags do not give the checksum in ${SUM}`;
  const begun = JSON.parse(brotliDecompressSync(Buffer.from(whole.join(''), 'base64')).toString()) as Begun;
  const named = [tags.get(PLAN), tags.get(IDENTITY)];
  if (begun.id === id && begun.plan.name === named[0] && begun.identity === named[1]) return begun;
  return `its tags ${PLAN} and ${IDENTITY} are not what its manifest says`;
};

/**
 * Reads the tags of the snapshot of that name. Tags that belong to a snapshot of another name, as when RDS copied them from an
 * instance that was restored, are nobody's.
 */
export const readTags = (tags: ReadonlyMap<string, string>, id: string): Reading => {
  if (tags.get(ID) !== id) return { kind: 'foreign' };
  const format = tags.get(VERSION) ?? '';
  if (format !== String(FORMAT)) return { kind: 'newer', format };
  const begun = begunOf(tags, id);
  if (typeof begun === 'string') return { kind: 'damaged', why: begun };
  const end = tags.get(END);
  if (end === undefined) return { kind: 'begun', begun };
  const ended = endOf(id, end);
  if (ended === null) return { kind: 'damaged', why: `its tag ${END} is not as it was written` };
  const { atLeast, ...known } = begun;
  const { atMost, createdAt, bytes } = ended;
  return { kind: 'whole', manifest: { ...known, position: { atLeast, atMost }, createdAt, bytes } };
};

/** Whose a snapshot is by its tags, for messages and before anything else of them is believed. */
export const ownerIn = (
  tags: ReadonlyMap<string, string>,
): { readonly plan: string; readonly identity: string } | null => {
  const plan = tags.get(PLAN);
  return plan === undefined ? null : { plan, identity: tags.get(IDENTITY) ?? '' };
};
