import type pg from 'pg';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { monotonicMs, sleep } from '../../src/platform/clock.ts';
import { quoteName, quoteText } from '../../src/platform/postgres/quote.ts';
import { type Backlog, END_TABLE, type Slot } from './backlog.ts';
import { decodeOnly } from './lane/decode-process.ts';
import { LaneProcess } from './lane/lane-process.ts';
import type { Check, Pair } from './part.ts';
import { cpuSecondsOf } from './processor.ts';
import type { Contender } from './rounds.ts';
import { dropDatabase, runSql, withClient } from './servers.ts';
import { checkRows } from './sides.ts';

/** Where the contenders of one load find what they need, and leave what they found. */
export interface Course {
  readonly pair: Pair;
  /** Names the load in checks. */
  readonly what: string;
  readonly backlog: Backlog;
  /** The next slot that nobody has read. */
  readonly nextSlot: () => Slot;
  readonly found: (check: Check) => void;
  /** Processor time of one round, in seconds, by who spent it. */
  readonly spent: (contender: string, seconds: Readonly<Record<string, number>>) => void;
}

const POLL_MS = 5;
/** A contender that has stopped getting anywhere; well above what the slowest takes. */
const WITHIN_MS = 170_000;

const roundDatabase = (backlog: Backlog): string => `${backlog.template}_round`;

/** A copy of the target as it was before the load. Dirty pages of the copy are written before anything is timed. */
const copyTarget = async ({ pair, backlog }: Course): Promise<string> => {
  const name = roundDatabase(backlog);
  await dropDatabase(pair.target, name);
  await runSql(
    pair.target.url,
    `CREATE DATABASE ${quoteName(name)} TEMPLATE ${quoteName(backlog.template)} STRATEGY file_copy`,
  );
  await Promise.all([runSql(pair.target.url, 'CHECKPOINT'), runSql(pair.source.url, 'CHECKPOINT')]);
  return pair.target.urlFor(name);
};

/** Resolves when the backlog's last transaction is visible on the target. */
const untilEnd = async (url: string, failed: Promise<never>): Promise<void> => {
  const stop = new AbortController();
  failed.catch(() => stop.abort());
  const poll = async (client: pg.Client): Promise<void> => {
    const deadlineMs = monotonicMs() + WITHIN_MS;
    while (!stop.signal.aborted && monotonicMs() < deadlineMs) {
      if ((await client.query(`SELECT FROM ${END_TABLE}`)).rowCount === 1) return;
      await sleep(POLL_MS);
    }
    throw new SwitchbackError('internal', `the backlog's end has not come within ${WITHIN_MS / 1000} s`);
  };
  await Promise.race([withClient(url, poll), failed]);
};

/** Process ids of sessions by a condition on pg_stat_activity. */
const processorOf = async (url: string, where: string): Promise<number> => {
  const rows = await runSql(url, `SELECT pid FROM pg_stat_activity WHERE ${where}`);
  return rows.reduce((sum, row) => sum + cpuSecondsOf(Number(row.pid)), 0);
};

const finish = async (course: Course, contender: string, url: string): Promise<void> => {
  const urls = { source: course.backlog.sourceUrl, target: url };
  course.found(await checkRows({ case: course.what, by: contender }, urls));
  await dropDatabase(course.pair.target, roundDatabase(course.backlog));
};

const dropSlot = async (course: Course, slot: Slot): Promise<void> => {
  const { sourceUrl } = course.backlog;
  for (let tries = 0; tries < 100; tries++) {
    const [row] = await runSql(sourceUrl, `SELECT active FROM pg_replication_slots WHERE slot_name = '${slot.name}'`);
    if (row === undefined) return;
    if (row.active === false) return void (await runSql(sourceUrl, `SELECT pg_drop_replication_slot('${slot.name}')`));
    await sleep(50);
  }
};

/** The stream engine's lane in a process of its own: from `follow` to the last row on the target. */
export const oursOn = (course: Course): Contender => {
  const { backlog } = course;
  let slot: Slot;
  let lane: LaneProcess;
  let url: string;
  return {
    name: 'Switchback',
    prepare: async () => {
      slot = course.nextSlot();
      url = await copyTarget(course);
      const urls = { source: backlog.sourceUrl, target: url };
      const { publication } = backlog;
      lane = await LaneProcess.open({ urls, slot: slot.name, publication, position: slot.position });
    },
    run: async () => {
      lane.follow();
      await untilEnd(url, lane.failed());
      return undefined;
    },
    after: async () => {
      try {
        const { sourceUrl } = backlog;
        const walsender = await processorOf(sourceUrl, "application_name = 'switchback:reader'");
        const applier = await processorOf(url, "application_name = 'switchback:apply'");
        const { cpuSeconds } = await lane.stop();
        course.spent('Switchback', { walsender, worker: cpuSeconds, 'backend that applies': applier });
        await finish(course, 'Switchback', url);
      } finally {
        lane.kill();
        await dropSlot(course, slot);
      }
    },
  };
};

/** A subscription on the same backlog: from ENABLE to the last row on the target. */
export const nativeOn = (course: Course): Contender => {
  const { backlog } = course;
  let slot: Slot;
  let url: string;
  const name = `${backlog.template}_native`;
  return {
    name: 'native',
    prepare: async () => {
      slot = course.nextSlot();
      url = await copyTarget(course);
      const from = new URL(backlog.sourceUrl);
      const conninfo = `host=${from.hostname} port=${from.port} dbname=${from.pathname.slice(1)} user=postgres`;
      await runSql(
        url,
        `CREATE SUBSCRIPTION ${quoteName(name)} CONNECTION ${quoteText(conninfo)} PUBLICATION ${quoteName(backlog.publication)}
           WITH (create_slot = false, slot_name = ${quoteText(slot.name)}, copy_data = false, enabled = false)`,
      );
    },
    run: async () => {
      await runSql(url, `ALTER SUBSCRIPTION ${quoteName(name)} ENABLE`);
      await untilEnd(url, new Promise(() => undefined));
      return undefined;
    },
    after: async () => {
      const walsender = await processorOf(backlog.sourceUrl, `application_name = ${quoteText(name)}`);
      const applier = await processorOf(url, "backend_type LIKE 'logical replication%worker'");
      course.spent('native', { walsender, 'worker that applies': applier });
      await runSql(url, `ALTER SUBSCRIPTION ${quoteName(name)} DISABLE`);
      await runSql(url, `ALTER SUBSCRIPTION ${quoteName(name)} SET (slot_name = NONE)`);
      await runSql(url, `DROP SUBSCRIPTION ${quoteName(name)}`);
      await finish(course, 'native', url);
      await dropSlot(course, slot);
    },
  };
};

/** The same backlog read and thrown away. */
export const decodeOn = (course: Course): Contender => {
  const { backlog } = course;
  let slot: Slot;
  return {
    name: 'decode only',
    prepare: async () => {
      slot = course.nextSlot();
      await runSql(course.pair.source.url, 'CHECKPOINT');
    },
    run: async () => {
      const { sourceUrl, publication, end } = backlog;
      const { ms } = await decodeOnly({ url: sourceUrl, slot: slot.name, publication, until: end });
      return ms / 1000;
    },
    after: async () => await dropSlot(course, slot),
  };
};
