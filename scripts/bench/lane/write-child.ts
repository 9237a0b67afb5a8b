import pg from 'pg';
import { messageOf } from '../../../src/domain/errors.ts';
import { monotonicMs, sleep } from '../../../src/platform/clock.ts';
import { WRITE_FUNCTION, type WriteOrder, type WriteTold } from './write-process.ts';

/** The same numbers from the same seed (mulberry32). */
const randomOf = (seed: number): (() => number) => {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
};

let isStopping = false;
let transactions = 0;

/** One client: a TPC-B transaction at a time, in one statement and so in one round trip. */
const work = async (order: WriteOrder, number: number): Promise<void> => {
  const client = new pg.Client({ connectionString: order.url, application_name: 'bench:write' });
  client.on('error', () => undefined);
  await client.connect();
  const random = randomOf(order.seed * 1_009 + number);
  const pick = (count: number): number => 1 + Math.floor(random() * count);
  const intervalMs = order.perSecond === null ? 0 : (1000 * order.clients) / order.perSecond;
  let dueMs = monotonicMs() + (intervalMs * number) / order.clients;
  try {
    while (!isStopping) {
      const pauseMs = dueMs - monotonicMs();
      // Timers are a millisecond coarse: what is late for less is made up for by the next ones.
      if (pauseMs >= 1) await sleep(pauseMs);
      const values = [pick(order.accounts), pick(order.branches), pick(order.branches * 10), pick(10_000) - 5_000];
      await client.query({ name: 'write', text: `SELECT ${WRITE_FUNCTION}($1, $2, $3, $4)`, values });
      transactions += 1;
      dueMs += intervalMs;
    }
  } finally {
    await client.end().catch(() => undefined);
  }
};

const tell = (told: WriteTold): void => void process.send?.(told);

process.on('message', (word: WriteOrder | 'stop') => {
  if (word === 'stop') {
    isStopping = true;
    return;
  }
  const begun = monotonicMs();
  Promise.all(Array.from({ length: word.clients }, (_, number) => work(word, number)))
    .then(() => tell({ type: 'wrote', transactions, seconds: (monotonicMs() - begun) / 1000 }))
    .catch((error: unknown) => tell({ type: 'failed', message: messageOf(error) }))
    .finally(() => process.disconnect());
});
