import { SwitchbackError } from '../../domain/errors.ts';
import { monotonicMs, sleep } from '../../platform/clock.ts';
import { failpoint } from '../../platform/failpoint.ts';
import type { ShownServer } from './answers.ts';
import { addressText, readLimit, type ServerName, serverText } from './config.ts';
import { configFiles } from './files.ts';
import type { SideAddress } from './sides.ts';
import { RuntimeSocket } from './socket.ts';

/** What leads one phase: clients come in at the frontend, and the server is where they get. */
export interface Lead {
  readonly frontend: string;
  readonly server: ServerName;
}

/** For how long sessions that were ended may still be there, in milliseconds. */
const GONE_WITHIN_MS = 5_000;
const LOOK_AGAIN_MS = 10;

/** Whether a server leads to a side, as far as addresses tell. */
export const leadsTo = ({ address }: ShownServer, { written, addresses }: SideAddress): boolean =>
  address.port === written.port && addresses.includes(address.host);

/** One process of HAProxy: its runtime socket, and the file that it reads when it is reloaded or started anew. */
export class Instance {
  readonly socket: RuntimeSocket;
  readonly config: string;

  /** Connects to nothing yet. */
  constructor({ socket, config }: { readonly socket: string; readonly config: string }) {
    this.socket = new RuntimeSocket(socket);
    this.config = config;
  }

  get name(): string {
    return this.socket.name;
  }

  async isHeld(frontend: string): Promise<boolean> {
    return (await this.socket.limit(frontend)) === 0 && (await this.socket.canHold());
  }

  /**
   * Lets nobody into a frontend any more: whoever connects is answered by the system and waits. Nothing for a version that
   * could not let them in again. From `untilMs` on, of the monotonic clock, none is begun; a process that does not answer a
   * question is sent no hold, which it would find in its socket when it wakes.
   */
  async hold(frontend: string, untilMs: number): Promise<void> {
    const left = (): number => untilMs - monotonicMs();
    if (!(await this.socket.canHold(left())) || (await this.socket.limit(frontend, left())) === 0) return;
    if (left() <= 0) {
      throw new SwitchbackError('unreachable', `${this.name} answered when the time to hold ${frontend} was over`, {
        remedy: 'see what keeps it busy, or raise switch.window',
      });
    }
    await this.socket.setLimit(frontend, 0, left());
  }

  /**
   * Lets clients into a frontend again, as many as the file says. The limit is set also where nobody is seen to be held: a hold
   * whose answer did not come in time may be carried out behind a look. With `untilMs`, of the monotonic clock, it is over by then.
   */
  async release(frontend: string, untilMs?: number): Promise<void> {
    const left = (): number | undefined => (untilMs === undefined ? undefined : untilMs - monotonicMs());
    if (!(await this.socket.canHold(left()))) return;
    await this.socket.setLimit(frontend, await this.usualLimit(frontend, left()), left());
  }

  /** How many clients a frontend lets in after a reload. More than it should are better than clients that wait for ever. */
  async usualLimit(frontend: string, withinMs?: number): Promise<number> {
    const written = await configFiles.look(this.config, (bytes) => readLimit(bytes, frontend)).catch(() => null);
    return written ?? Number((await this.socket.info(withinMs)).get('Maxconn'));
  }

  /** Leads a server to a side, and takes it for up if its check has not found out yet. Throws kind `refused` when it does not follow. */
  async lead(server: ServerName, to: SideAddress): Promise<void> {
    const [address = ''] = to.addresses;
    if (!leadsTo(await this.socket.server(server), to)) {
      await this.socket.setAddress(server, { address, port: to.written.port });
      failpoint('haproxy:led');
    }
    // It was down while the side that it led to was, and its check may take seconds to look at the new one.
    if (!(await this.socket.server(server)).isUp) await this.socket.setUp(server);
    const now = await this.socket.server(server);
    if (leadsTo(now, to) && now.isUp && !now.isOff) return;
    const state = now.isOff ? 'in maintenance or drained' : now.isUp ? 'up' : 'down';
    throw new SwitchbackError(
      'refused',
      `${this.name} leads ${serverText(server)} to ${addressText(now.address)}, ${state}, and was told ${addressText(to.written)}`,
      {
        remedy:
          'see `show servers state` on its socket: take the server out of maintenance, and end what else leads it',
      },
    );
  }

  /** Ends the sessions that a server still has with a side. Throws kind `unreachable` when they stay. */
  async endSessions(server: ServerName, { written, addresses }: SideAddress): Promise<void> {
    const loser = addresses.map((address) => `${address}:${written.port}`);
    const begun = monotonicMs();
    for (;;) {
      const left = (await this.socket.sessions(server)).filter(({ to }) => loser.includes(to));
      if (left.length === 0) return;
      if (monotonicMs() - begun > GONE_WITHIN_MS) {
        const what = `${left.length} sessions of ${serverText(server)} stay on ${addressText(written)}`;
        throw new SwitchbackError('unreachable', `${this.name} was told to end them: ${what}`, {
          remedy: 'see `show sess all` on its socket, and end them there with `shutdown session`',
        });
      }
      await this.socket.endSessions(left);
      await sleep(LOOK_AGAIN_MS);
    }
  }
}
