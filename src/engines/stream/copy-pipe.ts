import type pg from 'pg';
import { SwitchbackError } from '../../domain/errors.ts';
import { DivertibleSocket } from '../../platform/postgres/divertible-socket.ts';
import { CopyFrames } from './copy-frames.ts';

/** The driver's connection, with what its type does not tell. */
interface CopyConnection extends pg.Connection {
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

/** The two sessions, and the statement that each runs. */
export interface CopyPipe {
  readonly reader: pg.Client;
  /** COPY … TO STDOUT. */
  readonly read: string;
  readonly writer: pg.Client;
  /** COPY … FROM STDIN in the same format. */
  readonly write: string;
  readonly signal: AbortSignal;
  /** Told of bytes that have been passed on; the rows after them wait until what it returns is settled. */
  readonly onBytes?: ((bytes: number) => Promise<void> | undefined) | undefined;
}

/** What has been carried over. */
export interface Piped {
  readonly rows: number;
  /** Of the rows in their format. */
  readonly bytes: number;
}

/** A statement whose answer is waited for. The driver calls `submit` and `handle…`. */
abstract class Statement {
  readonly ended: Promise<void>;
  readonly #text: string;
  readonly #answer = Promise.withResolvers<void>();
  #isOver = false;

  constructor(text: string) {
    this.#text = text;
    this.ended = this.#answer.promise;
    // Whoever waits for both sides hears of the first failure; the other one's has nobody who listens.
    this.ended.catch(() => undefined);
  }

  /** Whether the server has answered, well or not. */
  get isOver(): boolean {
    return this.#isOver;
  }

  submit(connection: pg.Connection): void {
    connection.query(this.#text);
  }

  handleError(error: unknown): void {
    this.#isOver = true;
    this.#answer.reject(error);
  }

  handleCommandComplete(_: { readonly text: string }): void {}

  handleReadyForQuery(): void {
    this.#isOver = true;
    this.#answer.resolve();
  }
}

/** Receives rows. */
class Sink extends Statement {
  rows = 0;
  readonly #onReady: () => void;

  constructor(text: string, onReady: () => void) {
    super(text);
    this.#onReady = onReady;
  }

  handleCopyInResponse(): void {
    this.#onReady();
  }

  override handleCommandComplete({ text }: { readonly text: string }): void {
    this.rows = Number(/^COPY (\d+)$/.exec(text)?.[1] ?? 0);
  }
}

type OnData = (bytes: Buffer) => void;

/**
 * Gives rows. While they come, the driver does not see what its socket receives: it would make an object of each row. The
 * socket is read only while nothing holds it, so that nothing is gathered here.
 */
class Source extends Statement {
  readonly frames = new CopyFrames();
  readonly #pass: (rows: Buffer) => void;
  #connection: pg.Connection | undefined;
  #driver: OnData | undefined;
  /** Reasons not to read: the sink is not ready, it is full, a limit is reached. */
  #holds = 0;

  /** What is passed may be overwritten as soon as nothing holds the source. */
  constructor(text: string, pass: (rows: Buffer) => void) {
    super(text);
    this.#pass = pass;
  }

  override submit(connection: pg.Connection): void {
    const { stream } = connection;
    const [driver, ...others] = stream.listeners('data');
    if (driver === undefined || others.length > 0) {
      throw new SwitchbackError('internal', 'the driver reads its socket in another way than this was made for');
    }
    this.#connection = connection;
    this.#driver = driver as OnData;
    if (stream instanceof DivertibleSocket) stream.divert(this.#take);
    else stream.off('data', this.#driver).on('data', this.#take);
    if (this.#holds > 0) stream.pause();
    super.submit(connection);
  }

  hold(): void {
    this.#holds += 1;
    if (this.#driver !== undefined) this.#connection?.stream.pause();
  }

  release(): void {
    this.#holds -= 1;
    if (this.#holds === 0 && this.#driver !== undefined) this.#connection?.stream.resume();
  }

  readonly #take = (bytes: Buffer): void => {
    const rest = this.frames.take(bytes, this.#pass);
    const connection = this.#connection;
    const driver = this.#driver;
    if (rest === null || connection === undefined || driver === undefined) return;
    // The socket is the driver's again, and whatever still holds the rows must not keep it from the answer.
    this.#driver = undefined;
    const { stream } = connection;
    if (stream instanceof DivertibleSocket) {
      stream.divert(null);
      if (this.#holds > 0) stream.spare();
    } else stream.off('data', this.#take).on('data', driver);
    stream.resume();
    // A copy, since the driver keeps a part of a message until the other part comes.
    driver(Buffer.from(rest));
  };
}

/**
 * Pipes rows from one server's COPY into the other's: the bytes of its messages, untouched. Memory is the sockets' buffers.
 * Rejects with what a server says, with the loss of either session, or with the signal's reason. Sessions whose COPY did not
 * end are cut off then, since no statement can follow: `reader` in the middle of its rows; `writer` when it has got a part of
 * a row, of which whatever came next would be taken for the rest. Its server rolls back by itself. Otherwise `writer` can
 * be told to.
 */
export const pipeRows = async (pipe: CopyPipe): Promise<Piped> => {
  const { reader, writer, signal, onBytes } = pipe;
  signal.throwIfAborted();
  const { stream } = writer.connection;
  let isFull = false;
  const source = new Source(pipe.read, (rows) => {
    stream.write(rows, onWritten);
    // Whatever the system has not taken at once is still in the source's buffer.
    if (stream.writableLength > 0 && !isFull) {
      isFull = true;
      source.hold();
    }
    const pause = onBytes?.(rows.length);
    if (pause !== undefined) holdWhile(source, pause);
  });
  const onWritten = (): void => {
    if (!isFull || stream.writableLength > 0) return;
    isFull = false;
    source.release();
  };
  const sink = new Sink(pipe.write, () => source.release());
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    source.hold();
    writer.query(sink);
    reader.query(source);
    const over = source.ended.then(() => (writer.connection as CopyConnection).endCopyFrom());
    await Promise.race([aborted.promise, Promise.all([over, sink.ended])]);
    return { rows: sink.rows, bytes: source.frames.bytes };
  } catch (error) {
    await giveUp(pipe, source, sink);
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
};

const holdWhile = (source: Source, pause: Promise<void>): void => {
  source.hold();
  const release = (): void => source.release();
  pause.then(release, release);
};

/** Ends both statements, and resolves once the writer's is ended. */
const giveUp = async ({ reader, writer }: CopyPipe, source: Source, sink: Sink): Promise<void> => {
  const connection = writer.connection as CopyConnection;
  const isCut = source.frames.isWithinRow;
  if (!source.isOver) reader.connection.stream.destroy();
  if (isCut) connection.stream.destroy();
  else if (!sink.isOver && connection.stream.writable) connection.sendCopyFail('the copy was given up');
  await sink.ended.catch(() => undefined);
};
