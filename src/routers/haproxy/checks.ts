import { readFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { isKind, messageOf, type SwitchbackError } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Side } from '../../domain/position.ts';
import type { SqlSide } from '../../domain/sql.ts';
import { quoteName } from '../../platform/postgres/quote.ts';
import { readContent, tryReplacing } from '../../platform/replace-file.ts';
import { canHold } from './answers.ts';
import {
  addressText,
  readLimit,
  readSettings,
  readWays,
  type Settings,
  sameAddress,
  serverText,
  type Way,
} from './config.ts';
import { configFiles } from './files.ts';
import { type Instance, type Lead, leadsTo } from './instance.ts';
import type { SideAddress } from './sides.ts';

/** One process with what it leads and where that may lead. */
export interface Inspected {
  readonly instance: Instance;
  readonly leads: readonly Lead[];
  readonly sides: Readonly<Record<Side, SideAddress>>;
  /** The sides' own sessions. */
  readonly servers: Readonly<Record<Side, SqlSide>>;
}

const SIDES = ['source', 'target'] as const;

/** Everything that would keep the router from leading clients, as far as it can be seen. Throws kind `unreachable`. */
export const inspect = async (it: Inspected): Promise<readonly Finding[]> => {
  try {
    const level = await it.instance.socket.level();
    if (level !== 'admin') return [rightFinding(it, level)];
    const info = await it.instance.socket.info();
    const found: Finding[] = [...processFindings(it, info), ...holdFindings(it, info.get('Version') ?? '')];
    for (const lead of it.leads) found.push(...(await leadFindings(it, lead, info)));
    return [...found, ...(await readingFindings(it, info.get('Pid') ?? '')), ...(await writingFindings(it))];
  } catch (error) {
    if (!isKind(error, 'refused')) throw error;
    return [blocking(it, 'router/refused', error.message, (error as SwitchbackError).remedy ?? 'mend that')];
  }
};

const blocking = (it: Inspected, id: string, fact: string, remedy: string): Finding => ({
  id,
  severity: 'blocks',
  subject: it.instance.name,
  fact,
  remedy,
});

const warning = (it: Inspected, id: string, fact: string, remedy: string): Finding => ({
  ...blocking(it, id, fact, remedy),
  severity: 'warns',
});

const rightFinding = (it: Inspected, level: string): Finding =>
  blocking(
    it,
    'router/no-right',
    `its socket lets us look and not lead: its level is ${level}`,
    'give its `stats socket` line `level admin`, and reload it',
  );

/** Of several processes behind one socket each connection reaches another one. */
const processFindings = (it: Inspected, info: ReadonlyMap<string, string>): readonly Finding[] => {
  const count = Number(info.get('Nbproc') ?? 1);
  if (count <= 1) return [];
  const fact = `${count} processes share its configuration (nbproc), so that nobody knows which of them is asked`;
  return [blocking(it, 'router/many-processes', fact, 'run one process with threads (nbthread), and reload it')];
};

const holdFindings = (it: Inspected, version: string): readonly Finding[] => {
  if (canHold(version)) return [];
  const fact = `HAProxy ${version} cannot hold: its process would die when who waited is let in (haproxy/haproxy#2726)`;
  const remedy = 'in a switch new connections reach the side that is fenced, and get 25006; use HAProxy 3.1 or newer';
  return [warning(it, 'router/cannot-hold', fact, remedy)];
};

const leadFindings = async (
  it: Inspected,
  lead: Lead,
  info: ReadonlyMap<string, string>,
): Promise<readonly Finding[]> => {
  const settings = await configFiles.look(it.instance.config, (bytes) => readSettings(bytes, lead.server));
  return [
    ...(await placeFindings(it, lead)),
    ...(await wayFindings(it, lead)),
    ...(await limitFindings(it, lead, info)),
    ...settingsFindings(it, lead, settings),
    ...(await roleFindings(it, lead, settings)),
  ];
};

const placeFindings = async (it: Inspected, { server }: Lead): Promise<readonly Finding[]> => {
  const { address } = await configFiles.read(it.instance.config, server);
  const all = await it.instance.socket.servers(server.backend);
  const shown = await it.instance.socket.server(server);
  const name = serverText(server);
  const side = SIDES.find((one) => sameAddress(address, it.sides[one].written));
  const found: Finding[] = [];
  if (side === undefined) {
    const sides = SIDES.map((one) => addressText(it.sides[one].written)).join(' and ');
    const fact = `${name} leads to ${addressText(address)} in ${it.instance.config}, and the sides are ${sides}`;
    const remedy = "write what its line says of each side under the router's `source` and `target`";
    found.push(blocking(it, 'router/leads-elsewhere', fact, remedy));
  } else if (!leadsTo(shown, it.sides[side])) {
    const fact = `it leads ${name} to ${addressText(shown.address)}, and ${it.instance.config} says ${addressText(address)}`;
    found.push(blocking(it, 'router/other-file', fact, 'reload it; or name the file that it reads'));
  }
  if (shown.isOff) {
    const fact = `${name} is in maintenance, or drained`;
    found.push(blocking(it, 'router/server-off', fact, `take it out: set server ${name} state ready`));
  }
  const others = all.filter((one) => one.name !== server.server && !one.isOff);
  if (others.length === 0) return found;
  const fact = `backend ${server.backend} leads clients also to ${others.map((one) => one.name).join(', ')}`;
  const remedy = 'leave one server there, or put the others in maintenance; a backup server counts too';
  return [...found, blocking(it, 'router/other-servers', fact, remedy)];
};

/** No command of the socket says where a frontend leads, so this is what the file says, if it has the frontend. */
const wayFindings = async (it: Inspected, { frontend, server }: Lead): Promise<readonly Finding[]> => {
  const { config } = it.instance;
  const ways = await configFiles.look(config, (bytes) => readWays(bytes, frontend)).catch(unlessRefused);
  const mend = `write \`default_backend ${server.backend}\` there and reload, or name the frontend that leads there in the plan`;
  if (ways === null) {
    const fact = `whether frontend ${frontend} leads to backend ${server.backend} cannot be told: it is not in ${config}`;
    return [warning(it, 'router/frontend-unseen', fact, `see that it does; if not, ${mend}`)];
  }
  const leads = (way: Way): boolean => !way.isOpen && way.backend === server.backend;
  if (ways.every(leads)) return [];
  const where = ways.map(wayText).join(', ');
  if (ways.some((way) => way.isOpen || leads(way))) {
    const fact = `frontend ${frontend} leads clients to backend ${server.backend} by a condition or a name that only HAProxy knows: ${where}`;
    return [warning(it, 'router/leads-partly', fact, `see that the application's clients get there; if not, ${mend}`)];
  }
  const fact = `frontend ${frontend} never leads clients to backend ${server.backend} in ${config}, but to: ${where}`;
  return [blocking(it, 'router/leads-past', fact, mend)];
};

const unlessRefused = (error: unknown): null => {
  if (isKind(error, 'refused')) return null;
  throw error;
};

const wayText = ({ backend }: Way): string => backend ?? 'nowhere';

/** A release lets in as many as the file says, since whoever comes after a worker that died knows no other number. */
const limitFindings = async (
  it: Inspected,
  { frontend }: Lead,
  info: ReadonlyMap<string, string>,
): Promise<readonly Finding[]> => {
  const shown = await it.instance.socket.limit(frontend);
  if (!canHold(info.get('Version') ?? '') || shown === 0) return [];
  const written = await configFiles.look(it.instance.config, (bytes) => readLimit(bytes, frontend));
  const usual = written ?? Number(info.get('Maxconn'));
  if (shown === usual) return [];
  const fact = `frontend ${frontend} lets ${shown} clients in, and after a release it would be ${usual}`;
  const remedy = `write maxconn ${shown} into its section of ${it.instance.config}, or reload it`;
  return [blocking(it, 'router/limit-differs', fact, remedy)];
};

/** What would lead the server away again, or judge it by another machine than the one that it leads to. */
const settingsFindings = (it: Inspected, { server }: Lead, { words, lines }: Settings): readonly Finding[] => {
  const name = serverText(server);
  const found: Finding[] = [];
  if (words.includes('resolvers')) {
    const fact = `${name} has \`resolvers\`: what the name service says replaces any address that it is given`;
    found.push(blocking(it, 'router/resolved', fact, 'take `resolvers` out of its line, and reload'));
  }
  if (words.includes('track')) {
    const fact = `${name} tracks another server, and is down when that one is`;
    found.push(blocking(it, 'router/tracks', fact, 'give it a check of its own instead of `track`'));
  }
  const elsewhere = ['addr', 'port', 'agent-check', 'agent-addr', 'agent-port'].filter((word) => words.includes(word));
  if (elsewhere.length > 0) {
    const fact = `the check of ${name} does not simply follow its address: ${elsewhere.join(', ')}`;
    const remedy =
      'see that it says up on both sides; one that asks the old machine ends clients when that is switched off';
    found.push(warning(it, 'router/check-elsewhere', fact, remedy));
  }
  const state = lines.findLast(([first]) => first === 'load-server-state-from-file');
  if (state === undefined || state[1] === 'none') return found;
  const fact = `${server.backend} takes states from a file when it is reloaded (load-server-state-from-file ${state[1]})`;
  const remedy = 'see that the file is saved by the reload itself: from one of before a switch it takes the old port';
  return [...found, warning(it, 'router/state-file', fact, remedy)];
};

/** A server that answers the check of an unknown role with an error is taken for down, a few seconds after the switch. */
const roleFindings = async (it: Inspected, { server }: Lead, settings: Settings): Promise<readonly Finding[]> => {
  const option = settings.lines.findLast(([first, second]) => first === 'option' && second === 'pgsql-check');
  const role = option?.[3];
  if (role === undefined || !settings.words.includes('check')) return [];
  const found: Finding[] = [];
  for (const side of SIDES) {
    const { rows } = await it.servers[side].query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
    if (rows.length > 0) continue;
    const fact = `the check of ${serverText(server)} logs in as ${role} (option pgsql-check), and the ${side} has no such role`;
    found.push(warning(it, 'router/check-role', fact, `CREATE ROLE ${quoteName(role)} LOGIN on the ${side}`));
  }
  return found;
};

/** Addresses that happen to be the same hide that a process reads another file, until it is reloaded after a switch. */
const readingFindings = async (it: Inspected, pid: string): Promise<readonly Finding[]> => {
  const files = it.instance.socket.isLocal ? await namedFiles(pid) : [];
  const real = await Promise.all(files.map(async (path) => (await readContent(path).catch(() => null))?.path));
  if (real.includes((await readContent(it.instance.config)).path)) return [];
  const fact = `whether it reads ${it.instance.config} cannot be told: ${files.length === 0 ? 'its command line is not seen here' : `it was started with ${files.join(', ')}`}`;
  const remedy = 'see there that it does; after its next reload a switch would be undone if not';
  if (files.length === 0 || files.some((path) => !isAbsolute(path)) || real.includes(undefined)) {
    return [warning(it, 'router/file-unseen', fact, remedy)];
  }
  const blockedFact = `it reads ${files.join(', ')}, and not ${it.instance.config}`;
  return [blocking(it, 'router/file-not-read', blockedFact, 'name the one of them that has the server as `config`')];
};

/** The files that a process of this machine was started with (`-f`); none where that cannot be seen. */
const namedFiles = async (pid: string): Promise<readonly string[]> => {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const words = text.split('\0');
  // In another container the number may be that of anybody.
  if (!words.some((word) => /haproxy$/.test(word))) return [];
  return words.flatMap((word, at) => (word === '-f' ? (words[at + 1] ?? []) : []));
};

/** Nothing is written before the commit record, behind which it has to succeed. */
const writingFindings = async (it: Inspected): Promise<readonly Finding[]> => {
  try {
    await tryReplacing(it.instance.config);
    return [];
  } catch (error) {
    const fact = `${it.instance.config} cannot be replaced: ${messageOf(error)}`;
    const remedy =
      'give this user the right to write in its folder and to keep its owner; where it is mounted, mount its folder';
    return [blocking(it, 'router/not-replaceable', fact, remedy)];
  }
};
