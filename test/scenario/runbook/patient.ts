import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { RunningServer } from '../../../src/demo/servers.ts';
import { endOf, type Said } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { type EntryTest, ITEM, type Servers, untilReady, WIDE } from './begin.ts';

/** The servers, and another target: a transaction that writes keeps every slot of its server from being made. */
export interface MoreServers {
  readonly pair: Servers;
  readonly other: () => RunningServer;
}

/** A command as a process of its own, while somebody holds something; the holder is let go when it has ended. */
const during = async (
  scene: Scene,
  holder: { readonly url: string; readonly sql: string },
  command: readonly string[],
): Promise<Said> => {
  const session = await scene.session(holder.url);
  await session.query(`BEGIN; ${holder.sql}`);
  try {
    return await endOf(scene.terminal(...command));
  } finally {
    await session.end();
  }
};

/**
 * Locks and slots are waited for up to a minute before a command gives up. These minutes pass while the entries that
 * `meanwhile` registers are played.
 */
export const patient = (servers: MoreServers, entry: EntryTest, meanwhile: () => void): void => {
  describe('a minute of waiting', () => {
    let cutting: Scene;
    let ending: Scene;
    let locked: Promise<readonly Said[]>;
    let slotless: Promise<Said>;
    let aborted: Promise<Said>;

    /** What is held needs no transaction id, but for the table lock, which is on the server that nobody else uses. */
    const waitForLocks = async (): Promise<readonly Said[]> => [
      await during(cutting, { url: cutting.target, sql: 'LOCK TABLE item IN ACCESS EXCLUSIVE MODE' }, [
        'resume',
        cutting.run.plan,
      ]),
      await during(cutting, { url: cutting.source, sql: 'LOCK TABLE switchback.lease IN SHARE MODE' }, [
        'verify',
        cutting.run.plan,
        'all',
      ]),
    ];
    const waitForSlot = async (): Promise<Said> =>
      await during(cutting, { url: cutting.target, sql: 'SELECT pg_current_xact_id()' }, [
        ...['cutover', cutting.run.plan, 'all', '--confirm', 'all'],
      ]);
    const waitForEnd = async (): Promise<Said> =>
      await during(ending, { url: ending.target, sql: 'SELECT FROM item' }, [
        ...['abort', ending.run.plan, 'all', '--confirm', 'all'],
      ]);

    beforeAll(async () => {
      const { source, target } = servers.pair();
      cutting = await makeScene({ source, target: servers.other() }, { ...ITEM, more: WIDE });
      ending = await makeScene({ source, target }, { ...ITEM, more: WIDE });
      for (const scene of [cutting, ending]) await untilReady(scene);
      locked = waitForLocks();
      slotless = locked.then(waitForSlot);
      aborted = waitForEnd();
      for (const waiting of [locked, slotless, aborted]) waiting.catch(() => undefined);
    });
    afterAll(async () => {
      await cutting?.close();
      await ending?.close();
    });

    meanwhile();

    entry('slot-waits', async (play) => {
      const end = await slotless;
      expect(end, end.text).toMatchObject({ exitCode: 1 });
      play.sees(end.text);
      await play.does(cutting);
    });

    entry('locked', async (play) => {
      for (const end of [...(await locked), await aborted]) {
        expect(end, end.text).toMatchObject({ exitCode: 1 });
        play.sees(end.text);
      }
      expect(await play.does(ending)).toContain('aborted');
    });
  });
};
