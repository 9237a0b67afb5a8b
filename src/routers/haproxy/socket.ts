import { createConnection, type Socket } from 'node:net';
import { messageOf, SwitchbackError } from '../../domain/errors.ts';
import { after } from '../../platform/clock.ts';
import {
  canHold,
  readInfo,
  readServers,
  readSessions,
  readShownLimit,
  type ShownServer,
  type ShownSession,
} from './answers.ts';
import { type ServerName, serverText } from './config.ts';

/** How long an answer may take, connecting included, in milliseconds. */
const ANSWER_MS = 5_000;
/** What a session with a thousand clients has to say in detail, many times over. */
const MOST_BYTES = 256 * 1024 * 1024;
const REFUSED =
  /^(?:Permission denied|Unknown command|No such|Can't find|Invalid|This command|Value out of range|Integer value expected)/i;
const NO_SESSION = /^\s*No such session/;

/** The runtime socket of one HAProxy. Each command has a connection of its own, which the process closes behind its answer. */
export class RuntimeSocket {
  /** For messages. */
  readonly name: string;
  /** Whether it is on this machine, as far as its address tells. */
  readonly isLocal: boolean;
  readonly #target: { readonly path: string } | { readonly host: string; readonly port: number };

  /** Connects to nothing yet. A path, or `host:port`. */
  constructor(address: string) {
    const at = address.lastIndexOf(':');
    this.isLocal = address.startsWith('/');
    this.#target = this.isLocal
      ? { path: address }
      : { host: address.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(at + 1)) };
    this.name = `HAProxy at ${address}`;
  }

  /** Its settings and counters by name. */
  async info(withinMs = ANSWER_MS): Promise<ReadonlyMap<string, string>> {
    return readInfo(await this.#ask('show info', withinMs));
  }

  /** What this connection may do: `admin`, `operator` or `user`. */
  async level(): Promise<string> {
    return (await this.#ask('show cli level')).trim();
  }

  /** The servers of a backend. Throws kind `refused` when there is no such backend. */
  async servers(backend: string): Promise<readonly ShownServer[]> {
    return readServers(await this.#ask(`show servers state ${backend}`));
  }

  /** Throws kind `refused` when there is no such server. */
  async server(name: ServerName): Promise<ShownServer> {
    const server = (await this.servers(name.backend)).find((one) => one.name === name.server);
    if (server !== undefined) return server;
    throw new SwitchbackError('refused', `${this.name} has no server ${serverText(name)}`, {
      remedy: 'reload it, or write in the plan how its backend and server are called',
    });
  }

  /** How many clients a frontend lets in. Throws kind `refused` when there is no such frontend. */
  async limit(frontend: string, withinMs = ANSWER_MS): Promise<number> {
    const limit = readShownLimit(await this.#ask(`show stat ${frontend} 1 -1`, withinMs));
    if (limit !== null) return limit;
    throw new SwitchbackError('refused', `${this.name} has no frontend ${frontend}`, {
      remedy: "reload it, or write in the plan how the frontend is called that leads to the server's backend",
    });
  }

  /** Whether it can keep clients waiting. */
  async canHold(withinMs = ANSWER_MS): Promise<boolean> {
    return canHold((await this.info(withinMs)).get('Version') ?? '');
  }

  /** Lets so many clients into a frontend; whoever comes beyond waits to be let in. 0 lets nobody in. */
  async setLimit(frontend: string, limit: number, withinMs = ANSWER_MS): Promise<void> {
    await this.#ask(`set maxconn frontend ${frontend} ${limit}`, withinMs);
  }

  /** Leads a server elsewhere for connections that are made from now on; `address` is no name. */
  async setAddress(
    server: ServerName,
    { address, port }: { readonly address: string; readonly port: string },
  ): Promise<void> {
    await this.#ask(`set server ${serverText(server)} addr ${address} port ${port}`);
  }

  /** Takes a server for up, until its check says otherwise. */
  async setUp(server: ServerName): Promise<void> {
    await this.#ask(`set server ${serverText(server)} health up`);
  }

  /** The sessions that have a connection with a server. */
  async sessions(server: ServerName): Promise<readonly ShownSession[]> {
    const all = readSessions(await this.#ask('show sess all'));
    return all.filter((one) => serverText(one.server) === serverText(server));
  }

  /**
   * Ends sessions; nothing for those that have ended. An id is a place in the process's memory: one that is used again within
   * a moment ends somebody who has just come, and comes again.
   */
  async endSessions(sessions: readonly ShownSession[]): Promise<void> {
    for (const { id } of sessions) {
      const command = `shutdown session ${id}`;
      const answer = await this.#exchange(command, ANSWER_MS);
      if (!NO_SESSION.test(answer)) this.#understood(command, answer);
    }
  }

  async #ask(command: string, withinMs = ANSWER_MS): Promise<string> {
    return this.#understood(command, await this.#exchange(command, withinMs));
  }

  #understood(command: string, answer: string): string {
    if (REFUSED.test(answer.trimStart())) throw this.#refusal(command, answer.trim().split('\n')[0] ?? '');
    return answer;
  }

  #refusal(command: string, said: string): SwitchbackError {
    const remedy = said.startsWith('Permission')
      ? 'give its `stats socket` line `level admin`, and reload it'
      : 'see with `show servers state` and `show stat` on its socket what it has, and mend the plan or its configuration';
    const what = `${said} (${command})`;
    return new SwitchbackError('refused', `${this.name} refuses a command: ${what}`, { remedy });
  }

  async #exchange(command: string, withinMs: number): Promise<string> {
    const socket = createConnection(this.#target);
    const cancel = after(Math.max(0, withinMs), () => {
      socket.destroy(new Error(`no answer within ${Math.round(withinMs)} ms`));
    });
    try {
      socket.write(`${command}\n`);
      const answer = await answerOf(socket);
      // Whatever it does it says a line, an empty one at least.
      if (answer === '') throw new Error('it ended without an answer');
      return answer;
    } catch (error) {
      throw new SwitchbackError('unreachable', `${this.name} cannot be asked: ${messageOf(error)}`, {
        remedy: 'see that it runs, and that this user may write to its socket',
        cause: error,
      });
    } finally {
      cancel();
      socket.destroy();
    }
  }
}

const answerOf = async (socket: Socket): Promise<string> => {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of socket) {
    parts.push(part as Buffer);
    bytes += (part as Buffer).length;
    if (bytes > MOST_BYTES) throw new Error(`its answer is longer than ${MOST_BYTES} bytes`);
  }
  return Buffer.concat(parts).toString('utf8');
};
