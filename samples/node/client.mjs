// A small application that is led by the file router, in Node with `pg`. It makes payments, CLIENTS of them at once and a few
// dozen a second each, prints the id of each that was acknowledged, and ends at SIGTERM after those that it has in hand.
//
//   ROUTE_FILE=/etc/shop/primary.json PHASE=orders SOURCE_URL=postgresql://… TARGET_URL=postgresql://… node client.mjs
//
// Before the first switch the file, or the phase in it, may be missing: clients are on the source then.
//
//   CREATE TABLE account (id int PRIMARY KEY, cents bigint NOT NULL);
//   CREATE TABLE payment (id uuid PRIMARY KEY, account int NOT NULL REFERENCES account, cents bigint NOT NULL);
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const setting = (name, otherwise) => {
  const value = process.env[name] ?? otherwise;
  if (value === undefined) throw new Error(`set ${name}; the first lines of this file say to what`);
  return value;
};
const routeFile = setting('ROUTE_FILE');
const phase = setting('PHASE');
const clients = Number(setting('CLIENTS', '4'));
/** A payment that could not be made for so long is given up and told. Longer than a switch may take. */
const patienceMs = 1000 * Number(setting('PATIENCE_SECONDS', '120'));
const PAUSE_MS = 20;

const poolTo = (connectionString) => {
  // A server that has vanished without a word: an answer that does not come in time counts as a lost connection.
  const silence = { connectionTimeoutMillis: 5_000, query_timeout: 30_000, keepAlive: true };
  const pool = new pg.Pool({ connectionString, max: clients, application_name: 'sample-node', ...silence });
  // A connection that is lost is told of twice: to whom waits for an answer, and to listeners; without any the process ends.
  return pool.on('error', () => undefined).on('connect', (client) => client.on('error', () => undefined));
};
const pools = { source: poolTo(setting('SOURCE_URL')), target: poolTo(setting('TARGET_URL')) };
const counts = { acknowledged: 0, readOnly: 0, unknown: 0, lost: 0, other: 0 };
const BEFORE = { primary: 'source', held: false };
let route = BEFORE;
let stopping = false;

/** Where to go now. The file is replaced as a whole, so half of it is never seen; while it cannot be read, what it said holds. */
const readRoute = () => {
  try {
    const told = JSON.parse(readFileSync(routeFile, 'utf8'))[phase];
    route = { ...BEFORE, ...told, primary: told?.primary ?? BEFORE.primary };
  } catch {
    // It may not be there yet.
  }
  return route;
};

/**
 * One payment, as a whole transaction. Its id is the client's own: where a first try had taken effect after all, the insert finds
 * the id and nothing is done twice. It also waits for a first try that is still on its way, which a SELECT would not see.
 */
const pay = async (client, { id, account, cents }) => {
  const text = 'INSERT INTO payment (id, account, cents) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING';
  const { rowCount } = await client.query(text, [id, account, cents]);
  if (rowCount === 0) return;
  await client.query('UPDATE account SET cents = cents + $2 WHERE id = $1', [account, cents]);
};

/** Tries once. Throws what went wrong, with `isUnknown` when the payment may have been made all the same. */
const attempt = async (pool, payment) => {
  const client = await pool.connect();
  let failure;
  try {
    await client.query('BEGIN');
    await pay(client, payment);
    await client.query('COMMIT').catch((error) => {
      // A server that says ERROR has rolled back. Anything else may have come after it had committed.
      throw Object.assign(error, { isUnknown: error.severity !== 'ERROR' });
    });
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    // With an error the connection is closed: one that was told 25006 leads to a side that takes no writes.
    client.release(failure);
  }
};

/** What may pass by itself: read-only, serialization, deadlock, a lock, no resources, a server or a connection that has gone. */
const MAY_PASS = /^(25006|40|55P03|53|57|08|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)/;
const LOST = /terminated|timeout|not queryable|connection error/i;

const kindOf = (error) => {
  if (error.code === '25006') return 'readOnly';
  if (error.isUnknown) return 'unknown';
  return error.severity === 'ERROR' ? 'other' : 'lost';
};

/** Pays once and only once, however often it has to try; a client that is held waits. Throws what does not pass in time. */
const payOnce = async (payment) => {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const { primary, held } = readRoute();
    try {
      if (!held) return await attempt(pools[primary], payment);
      if (performance.now() > deadline) throw new Error(`${routeFile} does not let clients of ${phase} go on`);
    } catch (error) {
      counts[kindOf(error)] += 1;
      const mayPass = MAY_PASS.test(error.code ?? '') || LOST.test(error.message);
      if (!mayPass || performance.now() > deadline) throw error;
    }
    await sleep(PAUSE_MS);
  }
};

const work = async (account) => {
  while (!stopping) {
    const id = randomUUID();
    await payOnce({ id, account, cents: 1 + Math.floor(Math.random() * 100) });
    counts.acknowledged += 1;
    console.log(id);
    await sleep(PAUSE_MS);
  }
};
process.on('SIGTERM', () => {
  stopping = true;
});
await Promise.all(Array.from({ length: clients }, (_, index) => work(index + 1)));
await Promise.all([pools.source.end(), pools.target.end()]);
console.error(JSON.stringify(counts));
