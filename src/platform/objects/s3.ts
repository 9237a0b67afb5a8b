import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { type AwsService, awsError, isAnswer, type Meaning, type Request } from '../aws/errors.ts';
import { ask, budgetOf, clientConfig } from '../aws/request.ts';
import { isKey, partsOfKey, partsOfPrefix } from './key.ts';
import type { ObjectEntry, Objects } from './objects.ts';
import { PART_BYTES, type Parts, partsFor, tooLarge } from './parts.ts';

/** One part over a slow line. */
const REQUEST_MS = 120_000;
const IDLE_MS = 20_000;
/** How often an object's bytes are asked for again from where they broke off, without one more of them. */
const TRIES = 3;

const ABSENT: Meaning = {
  kind: 'refused',
  remedy: 'correct bucket and prefix in the plan, the region, or the account whose credentials are used',
};
const FULL: Meaning = { kind: 'unreachable', remedy: 'make room in the store, or name another place' };
const BUSY: Meaning = {
  kind: 'unreachable',
  remedy: 'it is asked again; when it stays so, see what else uses this bucket',
};

/** The errors of S3, and of those who speak as it does. */
const SERVICE: AwsService = {
  rights: 'docs/snapshots.md lists for a bucket',
  region: 'its `region` in the plan',
  meanings: new Map([
    ['NoSuchBucket', ABSENT],
    ['NoSuchKey', ABSENT],
    ['NotFound', ABSENT],
    ['PermanentRedirect', ABSENT],
    ['QuotaExceeded', FULL],
    ['XMinioStorageFull', FULL],
    ['SlowDown', BUSY],
    ['RequestTimeout', BUSY],
    ['OperationAborted', BUSY],
  ]),
};

/** Where objects are in S3. */
export interface S3Place {
  readonly bucket: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
  /** Without one the SDK finds it in the environment. */
  readonly region: string | undefined;
}

type Library = typeof import('@aws-sdk/client-s3');
type Sending = { readonly abortSignal: AbortSignal };

/** Any other endpoint than AWS's own has no names for buckets of its own, as a rule. */
const hasOwnEndpoint = (): boolean => (process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL ?? '') !== '';

/**
 * Objects in S3, or in what speaks as S3 does. One that fits into a part is sent in one request, a larger one in parts: nobody
 * sees it before the last request, and parts that were left by a process that died are discarded when it is sent again.
 */
export class S3Objects implements Objects {
  readonly label: string;
  readonly #place: S3Place;
  #opened: Promise<{ readonly library: Library; readonly client: S3Client }> | undefined;

  constructor(place: S3Place) {
    this.#place = place;
    this.label = `s3://${place.bucket}${place.prefix === '' ? '' : `/${place.prefix}`}`;
  }

  async put(key: string, bytes: AsyncIterable<Uint8Array>, size = 0): Promise<ObjectEntry> {
    const parts = partsFor(`writing ${this.label}/${key}`, size);
    const Key = this.#nameOf(key);
    const counted = new Counted(bytes);
    try {
      const first = await counted.upTo(PART_BYTES);
      if (counted.ended) {
        const { library, client } = await this.#open();
        const command = new library.PutObjectCommand({ Bucket: this.#place.bucket, Key, Body: first });
        // As much as a part may be in it.
        const send = (options: Sending) => client.send(command, options);
        await this.#ask(`writing ${this.label}/${key}`, send, budgetOf(REQUEST_MS));
      } else await this.#putInParts(key, counted, parts);
    } finally {
      await counted.close();
    }
    return { key, bytes: counted.bytes };
  }

  async *get(key: string, from = 0): AsyncGenerator<Uint8Array> {
    let at = from;
    let version: string | undefined;
    for (let fruitless = 0; ; ) {
      const before = at;
      try {
        for await (const { piece, etag } of this.#getOnce(key, at, version)) {
          version = etag;
          at += piece.length;
          yield piece;
        }
        return;
      } catch (error) {
        // A caller who stops reading does not come here: that ends a generator in its own way.
        fruitless = at === before ? fruitless + 1 : 1;
        if (!(error instanceof SwitchbackError) || error.kind !== 'unreachable' || fruitless >= TRIES) throw error;
      }
    }
  }

  async *list(prefix: string): AsyncGenerator<ObjectEntry> {
    partsOfPrefix(prefix);
    const { library, client } = await this.#open();
    const own = this.#place.prefix === '' ? '' : `${this.#place.prefix}/`;
    let token: string | undefined;
    do {
      const command = new library.ListObjectsV2Command({
        Bucket: this.#place.bucket,
        Prefix: own + prefix,
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      const page = await this.#ask(`listing ${this.label}/${prefix}`, (options) => client.send(command, options));
      for (const { Key = '', Size = 0 } of page.Contents ?? []) {
        const key = Key.slice(own.length);
        // Others may have put there what a directory could not hold.
        if (isKey(key)) yield { key, bytes: Size };
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async remove(key: string): Promise<void> {
    const { library, client } = await this.#open();
    const Key = this.#nameOf(key);
    await this.#discardParts(Key);
    const command = new library.DeleteObjectCommand({ Bucket: this.#place.bucket, Key });
    await this.#ask(`removing ${this.label}/${key}`, (options) => client.send(command, options));
  }

  #nameOf(key: string): string {
    partsOfKey(key);
    return this.#place.prefix === '' ? key : `${this.#place.prefix}/${key}`;
  }

  /** The last request is the one that makes the object. When its answer is lost, the object's own mark tells what became of it. */
  async #putInParts(key: string, body: Counted, parts: Parts): Promise<void> {
    const { client } = await this.#open();
    const { Upload } = await import('@aws-sdk/lib-storage');
    const [Bucket, Key] = [this.#place.bucket, this.#nameOf(key)];
    await this.#discardParts(Key);
    const mark = randomUUID();
    const request: Request = { what: `writing ${this.label}/${key}`, writes: true, service: SERVICE };
    try {
      await new Upload({
        client,
        params: { Bucket, Key, Body: Readable.from(body, { objectMode: false }), Metadata: { switchback: mark } },
        partSize: parts.bytes,
        queueSize: parts.atOnce,
      }).done();
    } catch (error) {
      if (body.failure !== undefined) throw body.failure;
      if (messageOf(error).startsWith('Exceeded ')) throw tooLarge(request.what, messageOf(error));
      const failure = awsError(request, error);
      if (body.ended && (await this.#markOf(Key).catch(() => undefined)) === mark) return;
      // Nothing is seen of it, and it may be sent again.
      throw failure.kind === 'unknown' ? awsError({ ...request, writes: false }, error) : failure;
    }
  }

  async #markOf(Key: string): Promise<string | undefined> {
    const { library, client } = await this.#open();
    const command = new library.HeadObjectCommand({ Bucket: this.#place.bucket, Key });
    const head = await this.#ask(`looking at ${this.label}`, (options) => client.send(command, options));
    return head.Metadata?.switchback;
  }

  /** Parts that were never put together, and are paid for. Whoever may not see them leaves them to a rule of the bucket. */
  async #discardParts(Key: string): Promise<void> {
    const { library, client } = await this.#open();
    const Bucket = this.#place.bucket;
    const list = new library.ListMultipartUploadsCommand({ Bucket, Prefix: Key });
    const found = await this.#ask(`looking for parts in ${this.label}`, (options) => client.send(list, options)).catch(
      (error: unknown) => {
        if (error instanceof SwitchbackError && error.kind === 'refused') return { Uploads: [] };
        throw error;
      },
    );
    for (const { Key: of, UploadId } of found.Uploads ?? []) {
      if (of !== Key) continue;
      const abort = new library.AbortMultipartUploadCommand({ Bucket, Key, UploadId });
      await this.#ask(`discarding parts in ${this.label}`, (options) => client.send(abort, options)).catch(
        (error: unknown) => {
          if (!isAnswer(error, 'NoSuchUpload')) throw error;
        },
      );
    }
  }

  async *#getOnce(key: string, from: number, version: string | undefined) {
    const { library, client } = await this.#open();
    const what = `reading ${this.label}/${key}`;
    const command = new library.GetObjectCommand({
      Bucket: this.#place.bucket,
      Key: this.#nameOf(key),
      ...(from === 0 ? {} : { Range: `bytes=${from}-` }),
      ...(version === undefined ? {} : { IfMatch: version }),
    });
    const answer = await this.#ask(what, (options) => client.send(command, options)).catch((error: unknown) => {
      // From its end on there is nothing.
      if (isAnswer(error, 'InvalidRange')) return null;
      throw error;
    });
    if (answer === null) return;
    try {
      for await (const piece of answer.Body as Readable) yield { piece: piece as Uint8Array, etag: answer.ETag };
    } catch (error) {
      throw awsError({ what, service: SERVICE }, error);
    }
  }

  /** What is asked here may be asked again, so that a lost answer means no more than that there was none. */
  #ask<T>(what: string, send: (options: Sending) => Promise<T>, budgetMs?: number): Promise<T> {
    return ask({ what, service: SERVICE }, send, budgetMs);
  }

  #open() {
    this.#opened ??= import('@aws-sdk/client-s3').then((library) => ({
      library,
      client: new library.S3Client({
        ...clientConfig(this.#place.region),
        requestHandler: {
          connectionTimeout: 3_000,
          requestTimeout: REQUEST_MS,
          socketTimeout: IDLE_MS,
          throwOnRequestTimeout: true,
        },
        forcePathStyle: hasOwnEndpoint(),
      }),
    }));
    return this.#opened;
  }
}

/** Bytes that are read once, whose beginning can be looked at, and of which one knows how many there were. */
class Counted implements AsyncIterable<Uint8Array> {
  bytes = 0;
  ended = false;
  /** What the source itself threw. */
  failure: unknown;
  readonly #source: AsyncIterator<Uint8Array>;
  #first: Buffer | undefined;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Its beginning: at least so many bytes, or all. They are given again when it is iterated. */
  async upTo(size: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    while (this.bytes < size) {
      const piece = await this.#next();
      if (piece === undefined) break;
      pieces.push(piece);
    }
    this.#first = Buffer.concat(pieces);
    return this.#first;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    if (this.#first !== undefined) yield this.#first;
    this.#first = undefined;
    for (let piece = await this.#next(); piece !== undefined; piece = await this.#next()) yield piece;
  }

  /** Lets the source go, also where it was not read to its end. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  async #next(): Promise<Uint8Array | undefined> {
    try {
      const { done, value } = await this.#source.next();
      this.ended = done === true;
      if (this.ended) return undefined;
      this.bytes += value.length;
      return value;
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }
}
