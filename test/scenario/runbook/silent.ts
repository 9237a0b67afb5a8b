import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { sleep } from '../../../src/platform/clock.ts';
import { writableSides } from '../../support/crash-points.ts';
import { endOf, type Said } from '../../support/runbook.ts';
import { makeScene, type Scene } from '../../support/scene.ts';
import { runSql } from '../../support/servers.ts';
import { END_OUR_SESSIONS, type EntryTest, ITEM, type Servers, untilReady, WIDE } from './begin.ts';

/** A way to a server that can be cut. */
interface Wire {
  readonly port: number;
  cut(): void;
}

const makeWire = async (url: string): Promise<Wire> => {
  const to = new URL(url);
  const open = new Set<Socket>();
  const wire: Server = createServer((socket) => {
    const other = connect(Number(to.port), to.hostname);
    for (const end of [socket, other]) {
      open.add(end);
      end.on('error', () => undefined);
      end.on('close', () => {
        open.delete(end);
        socket.destroy();
        other.destroy();
      });
    }
    socket.pipe(other).pipe(socket);
  });
  await once(wire.listen(0, '127.0.0.1'), 'listening');
  return {
    port: (wire.address() as AddressInfo).port,
    cut: () => {
      wire.close();
      for (const socket of open) socket.destroy();
    },
  };
};

/**
 * A command that loses its way to the source while a worker elsewhere carries it out gives up after a minute. That minute
 * passes while the entries that `meanwhile` registers are played.
 */
export const silent = (servers: Servers, entry: EntryTest, meanwhile: () => void): void => {
  describe('a minute without the source', () => {
    let scene: Scene;
    let cutover: Promise<Said>;
    let wire: Wire | undefined;

    beforeAll(async () => {
      scene = await makeScene(servers(), { ...ITEM, more: WIDE });
      await untilReady(scene);
      const worker = scene.worker(undefined, { SWITCHBACK_FAILPOINT: 'acted cutover/fence:stop' });
      await worker.until(({ events }) => events.some((event) => event.type === 'verified'));
      wire = await makeWire(scene.source);
      const through = new URL(scene.source);
      through.port = String(wire.port);
      const asker = scene.terminalWith(
        { ...scene.run.self.environment, TEST_SOURCE_URL: through.href },
        ...['cutover', scene.run.plan, 'all', '--confirm', 'all'],
      );
      cutover = endOf(asker);
      // Within a hook there is no `expect.poll`.
      while ((await writableSides(scene, 'item')).length > 0) await sleep(100);
      wire.cut();
      // It may stand still in the middle of a batch, and a transaction that writes keeps every slot of a server from being made.
      for (const url of [scene.source, scene.target]) await runSql(url, END_OUR_SESSIONS);
    });
    afterAll(async () => {
      wire?.cut();
      await scene?.close();
    });

    meanwhile();

    entry('silent-source', async (play) => {
      const end = await cutover;
      expect(end, end.text).toMatchObject({ exitCode: 6 });
      play.sees(end.text);
      expect(await play.does(scene)).toContain('was undone');
      expect(await writableSides(scene, 'item')).toEqual(['source']);
    });
  });
};
