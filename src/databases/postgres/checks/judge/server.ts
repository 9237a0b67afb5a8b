import type { Finding } from '../../../../domain/finding.ts';
import { quoteText } from '../../../../platform/postgres/quote.ts';
import type { OpenTransaction, ServerFacts } from '../facts/server.ts';

/** What the run asks of a server. */
export interface ServerNeeds {
  /** Lanes that can read from it at the same time: one a phase. */
  readonly lanes: number;
  /** Relations that one transaction of ours makes there. */
  readonly made: number;
}

/** The oldest major version whose logical decoding and catalogues we know. */
const OLDEST = 130_000;
/** Sessions that we open on a side at the most, apart from the lanes': copy, builds, digests, bookkeeping. */
const OUR_SESSIONS = 18;
/** A lane applies on one side and writes its markers on the other; in a switch so does the lane of its way back. */
const SESSIONS_PER_LANE = 2;
/** Kept for superusers. */
const RESERVED_CONNECTIONS = 3;
/** For what everybody else does at that time. */
const LOCKS_TO_SPARE = 1_000;
/** A reader is told apart from a broken one by messages this often. */
const MIN_SENDER_TIMEOUT_MS = 5000;

const major = (version: number): number => Math.floor(version / 10_000);
const printed = (version: number): string => `${major(version)}.${version % 10_000}`;

const found = (facts: ServerFacts, finding: Omit<Finding, 'subject'>): Finding => ({ ...finding, subject: facts.side });

/** How to change a setting, with or without a managed service. */
const alterSystem = (name: string, value: string, managed = ''): string =>
  `ALTER SYSTEM SET ${name} = ${quoteText(value)}; then restart the server${managed}`;

const judgeVersion = (facts: ServerFacts): readonly Finding[] => {
  if (facts.version < OLDEST) {
    const fact = `PostgreSQL ${printed(facts.version)} is older than 13`;
    return [
      found(facts, { id: 'server/version', severity: 'blocks', fact, remedy: 'upgrade it to 13 or newer first' }),
    ];
  }
  if (facts.version < 170_000 || facts.version > 170_005) return [];
  const fact = `PostgreSQL ${printed(facts.version)} loses changes of writers that were open when a publication changed`;
  return [found(facts, { id: 'server/version', severity: 'blocks', fact, remedy: 'upgrade to 17.6 or newer' })];
};

const judgeConnection = (facts: ServerFacts): readonly Finding[] => {
  const findings: Finding[] = [];
  if (facts.standby) {
    const fact = 'the server is a standby';
    findings.push(found(facts, { id: 'server/standby', severity: 'blocks', fact, remedy: "give the primary's URL" }));
  }
  if (facts.servers > 1) {
    const fact = `the URL leads to ${facts.servers} different servers`;
    const remedy = 'give the URL of the one primary, not of a load balancer';
    findings.push(found(facts, { id: 'server/load-balanced', severity: 'blocks', fact, remedy }));
  }
  if (facts.unpinned.length > 0) {
    const fact = `settings given on connecting are not in effect: ${facts.unpinned.join(', ')}`;
    const remedy = 'give the URL of the server itself; a pooler drops them';
    findings.push(found(facts, { id: 'server/pooler', severity: 'blocks', fact, remedy }));
  }
  return findings;
};

const judgeCapacity = (facts: ServerFacts, needs: ServerNeeds): readonly Finding[] => {
  const findings: Finding[] = [];
  const level = facts.settings.wal_level;
  if (level !== 'logical') {
    const remedy = alterSystem('wal_level', 'logical', ' (RDS: rds.logical_replication = 1 and reboot)');
    findings.push(found(facts, { id: 'server/wal-level', severity: 'blocks', fact: `wal_level is ${level}`, remedy }));
  }
  // One more than there are lanes: a switch makes the new one before the old one goes.
  const slots = Math.max(1, needs.lanes + 1 - facts.slots.ours);
  const freeSlots = facts.slots.max - facts.slots.used;
  if (freeSlots < slots) {
    const fact = `${freeSlots} of ${facts.slots.max} replication slots are free, ${slots} are needed`;
    const remedy = alterSystem('max_replication_slots', String(facts.slots.used + slots));
    findings.push(found(facts, { id: 'server/slots', severity: 'blocks', fact, remedy }));
  }
  const freeSenders = facts.senders.max - facts.senders.used;
  if (freeSenders < slots) {
    const fact = `${freeSenders} of ${facts.senders.max} WAL senders are free, ${slots} are needed`;
    const remedy = alterSystem('max_wal_senders', String(facts.senders.used + slots));
    findings.push(found(facts, { id: 'server/senders', severity: 'blocks', fact, remedy }));
  }
  return [...findings, ...judgeConnections(facts, needs), ...judgeLocks(facts, needs)];
};

const judgeConnections = (facts: ServerFacts, { lanes }: ServerNeeds): readonly Finding[] => {
  const sessions = OUR_SESSIONS + lanes * SESSIONS_PER_LANE;
  const free = facts.connections.max - facts.connections.used;
  if (free >= sessions) return [];
  const fact = `${free} of ${facts.connections.max} connections are free, up to ${sessions} are used`;
  const remedy = alterSystem('max_connections', String(facts.connections.used + sessions + RESERVED_CONNECTIONS));
  // Without a session for each lane they could not even stand still together.
  const severity = free < lanes ? 'blocks' : 'warns';
  return [found(facts, { id: 'server/connections', severity, fact, remedy })];
};

/** Making a schema is one transaction, and it keeps the lock of everything that it has made. */
const judgeLocks = (facts: ServerFacts, { made }: ServerNeeds): readonly Finding[] => {
  const locks = made + LOCKS_TO_SPARE;
  if (made === 0 || facts.locks >= locks) return [];
  const each = Number(facts.settings.max_locks_per_transaction);
  const fact = `there is room for ${facts.locks} locks (max_locks_per_transaction is ${each}); making ${made} tables, indexes and sequences in one transaction takes as many`;
  const remedy = alterSystem('max_locks_per_transaction', String(Math.ceil((each * locks) / facts.locks)));
  return [found(facts, { id: 'server/locks', severity: 'blocks', fact, remedy })];
};

/** Settings that end what a lane needs: slots, and sessions that wait. The unit is pg_settings' own. */
const judgeTimeouts = (facts: ServerFacts): readonly Finding[] => {
  const findings: Finding[] = [];
  const warn = (id: string, fact: string, remedy: string) =>
    findings.push(found(facts, { id, severity: 'warns', fact, remedy }));
  const number = (name: string): number => Number(facts.settings[name] ?? '0');
  const keepMb = Number(facts.settings.max_slot_wal_keep_size ?? '-1');
  if (keepMb >= 0 && keepMb * 1_048_576 < facts.bytes) {
    const fact = `max_slot_wal_keep_size is ${keepMb} MB, less than the database: a lane that falls so far behind is lost`;
    warn(
      'server/slot-keep-size',
      fact,
      `ALTER SYSTEM SET max_slot_wal_keep_size = '${Math.ceil(facts.bytes / 1_048_576)}MB'; SELECT pg_reload_conf();`,
    );
  }
  if (number('idle_replication_slot_timeout') > 0) {
    const fact = `idle_replication_slot_timeout is ${number('idle_replication_slot_timeout')} s: a worker away for so long loses its slot`;
    warn('server/idle-slots', fact, 'ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();');
  }
  const sender = number('wal_sender_timeout');
  if (sender > 0 && sender < MIN_SENDER_TIMEOUT_MS) {
    const fact = `wal_sender_timeout is ${sender} ms: a short stall of the network ends a lane`;
    warn('server/sender-timeout', fact, "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();");
  }
  for (const name of ['transaction_timeout', 'idle_session_timeout']) {
    if (number(name) === 0) continue;
    const fact = `${name} is ${number(name)} ms and also ends our sessions`;
    findings.push(
      found(facts, { id: 'server/timeout', severity: 'blocks', fact, remedy: `ALTER ROLE <our role> SET ${name} = 0` }),
    );
  }
  return findings;
};

const judgeSafety = (facts: ServerFacts): readonly Finding[] => {
  const findings: Finding[] = [];
  if (facts.settings.fsync === 'off') {
    const fact = 'fsync is off: what was acknowledged can be lost in a crash, here and on the other side';
    findings.push(found(facts, { id: 'server/fsync', severity: 'warns', fact, remedy: alterSystem('fsync', 'on') }));
  }
  if (facts.settings.default_transaction_read_only === 'on') {
    const fact = 'default_transaction_read_only is on';
    const remedy = `ALTER ROLE <our role> SET default_transaction_read_only = off`;
    findings.push(found(facts, { id: 'server/read-only', severity: 'blocks', fact, remedy }));
  }
  if (facts.standbys > 0 && facts.settings.sync_replication_slots !== 'on') {
    const fact = `${facts.standbys} standbys do not get our slots: after a failover the lanes from here are lost`;
    const remedy = 'plan no failover while the run lasts; after one, abort and run again';
    findings.push(found(facts, { id: 'server/failover', severity: 'warns', fact, remedy }));
  }
  return findings;
};

const judgeTransaction = (facts: ServerFacts, open: OpenTransaction): Finding =>
  open.pid === 0
    ? found(facts, {
        id: 'server/prepared-transaction',
        severity: 'blocks',
        fact: `transaction ${quoteText(open.query)} of "${open.user}" has been prepared for ${open.seconds} s: no slot can be made`,
        remedy: `COMMIT PREPARED ${quoteText(open.query)}; or ROLLBACK PREPARED ${quoteText(open.query)};`,
      })
    : found(facts, {
        id: 'server/long-transaction',
        severity: 'warns',
        fact: `pid ${open.pid} of "${open.user}" has been writing for ${open.seconds} s, and a new slot waits for it: ${open.query}`,
        remedy: `wait for it, or SELECT pg_terminate_backend(${open.pid});`,
      });

/** Judges one side's server. */
export const judgeServer = (facts: ServerFacts, needs: ServerNeeds): readonly Finding[] => [
  ...judgeVersion(facts),
  ...judgeConnection(facts),
  ...judgeCapacity(facts, needs),
  ...judgeTimeouts(facts),
  ...judgeSafety(facts),
  ...facts.openTransactions.map((open) => judgeTransaction(facts, open)),
];

const judgeText = (source: ServerFacts, target: ServerFacts): readonly Finding[] => {
  const findings: Finding[] = [];
  const [a, b] = [source.text, target.text];
  if (a.encoding !== b.encoding) {
    const fact = `the encoding is ${b.encoding}, on the source ${a.encoding}`;
    const remedy = `CREATE DATABASE … ENCODING ${quoteText(a.encoding)} TEMPLATE template0`;
    findings.push(found(target, { id: 'database/encoding', severity: 'blocks', fact, remedy }));
  }
  if (a.collate !== b.collate || a.ctype !== b.ctype) {
    const fact = `text is sorted by ${b.collate} and classed by ${b.ctype}, on the source by ${a.collate} and ${a.ctype}`;
    const remedy = `CREATE DATABASE … LC_COLLATE ${quoteText(a.collate)} LC_CTYPE ${quoteText(a.ctype)} TEMPLATE template0`;
    findings.push(found(target, { id: 'database/collation', severity: 'warns', fact, remedy }));
  } else if (a.collationVersion !== null && b.collationVersion !== null && a.collationVersion !== b.collationVersion) {
    const fact = `${b.collate} is version ${b.collationVersion}, on the source ${a.collationVersion}: text may sort differently`;
    const remedy =
      'nothing, unless the application depends on the order of text; verification of text keys takes longer';
    findings.push(found(target, { id: 'database/collation-version', severity: 'warns', fact, remedy }));
  }
  for (const { text, ...side } of [source, target]) {
    if (text.recordedVersion === null || text.collationVersion === null) continue;
    if (text.recordedVersion === text.collationVersion) continue;
    findings.push({
      id: 'database/collation-changed',
      severity: 'blocks',
      subject: side.side,
      fact: `indexes of text were built with ${text.collate} version ${text.recordedVersion}, the system has ${text.collationVersion}`,
      remedy: `REINDEX DATABASE; then ALTER DATABASE … REFRESH COLLATION VERSION`,
    });
  }
  return findings;
};

/** Judges the two servers together. */
export const judgePair = (source: ServerFacts, target: ServerFacts): readonly Finding[] => {
  const findings: Finding[] = [];
  if (source.instance === target.instance) {
    const fact = `source and target are the same database, ${source.database}`;
    const remedy = 'correct the URLs in the plan or in its environment';
    findings.push(found(target, { id: 'server/same-database', severity: 'blocks', fact, remedy }));
  }
  if (major(target.version) < major(source.version)) {
    const fact = `PostgreSQL ${printed(target.version)} is older than the source's ${printed(source.version)}`;
    const remedy = 'expect types and syntax that the target does not know';
    findings.push(found(target, { id: 'server/downgrade', severity: 'warns', fact, remedy }));
  }
  return [...findings, ...judgeText(source, target)];
};
