import type { Finding } from '../../../domain/finding.ts';
import { displayName } from '../../../domain/table.ts';
import { quoteName, quoteTable } from '../../../platform/postgres/quote.ts';
import type { SubscriberFacts, UnequalColumn } from './facts.ts';

/** Both ends of a direction, by their names in the plan. */
export interface Ends {
  readonly from: string;
  readonly to: string;
  /** How many lanes are to run at once. */
  readonly lanes: number;
}

/** With more than this between two starts of workers, phases that switch together would not be there within a window. */
const START_EVERY_MS = 1_000;
const PASSWORD_NEEDED_FROM = 160_000;

const judgeRights = (facts: SubscriberFacts, { to }: Ends): readonly Finding[] => {
  const findings: Finding[] = [];
  if (!facts.mayCreate) {
    const isOld = facts.version < PASSWORD_NEEDED_FROM;
    findings.push({
      id: 'role/no-subscription',
      severity: 'blocks',
      subject: to,
      fact: isOld
        ? 'our role is no superuser, and only one can make a subscription before 16'
        : 'our role may not make a subscription',
      remedy: isOld
        ? 'let a superuser do it, or write engine: stream'
        : 'as a superuser: GRANT pg_create_subscription TO <our role>;',
    });
  }
  if (facts.forbidden.length > 0 && facts.version >= 140_000) {
    findings.push({
      id: 'role/no-origin',
      severity: 'blocks',
      subject: to,
      fact: `our role may not call ${facts.forbidden.join(', ')}`,
      remedy: `as a superuser: ${facts.forbidden.map((name) => `GRANT EXECUTE ON FUNCTION ${name} TO <our role>;`).join(' ')}`,
    });
  }
  return findings;
};

const judgeRoom = (facts: SubscriberFacts, { to, lanes }: Ends): readonly Finding[] => {
  const rooms = [
    { setting: 'max_logical_replication_workers', has: facts.workers, needs: lanes + facts.others },
    // The launcher is one, and parallel queries have theirs from the same number.
    { setting: 'max_worker_processes', has: facts.processes, needs: lanes + facts.others + 1 },
    { setting: facts.originSetting, has: facts.origins, needs: lanes + facts.others },
  ];
  return rooms
    .filter(({ has, needs }) => has < needs)
    .map(({ setting, has, needs }) => ({
      id: 'server/subscription-room',
      severity: 'blocks',
      subject: to,
      fact: `${setting} is ${has}, and ${lanes} lanes beside ${facts.others} other subscriptions need ${needs}`,
      remedy: `ALTER SYSTEM SET ${setting} = ${needs}; then restart the server`,
    }));
};

const judgeStart = (facts: SubscriberFacts, { to }: Ends): readonly Finding[] => {
  if (facts.version >= 160_000 || facts.startEveryMs <= START_EVERY_MS) return [];
  return [
    {
      id: 'server/slow-worker-start',
      severity: 'warns',
      subject: to,
      fact: `wal_retrieve_retry_interval is ${facts.startEveryMs} ms, and before 16 no more than one subscription begins in that time: a switch right after another one may run out of its window`,
      remedy: `ALTER SYSTEM SET wal_retrieve_retry_interval = '500ms'; SELECT pg_reload_conf();`,
    },
  ];
};

/** Judges a side as the one that subscribes. */
export const judgeSubscriber = (facts: SubscriberFacts, ends: Ends): readonly Finding[] => [
  ...judgeRights(facts, ends),
  ...judgeRoom(facts, ends),
  ...judgeStart(facts, ends),
];

/** What a server said that could not subscribe to the other one. */
export const judgeReach = (said: string, { from, to }: Ends): Finding => ({
  id: 'server/not-reached',
  severity: 'blocks',
  subject: to,
  fact: `its server cannot subscribe to the ${from}: ${said}`,
  remedy: `give the URL by which it reaches the ${from} as native.${from}.url, with a password, and let it in there (pg_hba.conf)`,
});

/** Tables without a key are compared as whole rows, which the server can do for types that have an equality only. */
export const judgeUnequal = (column: UnequalColumn): Finding => ({
  id: 'table/no-equality',
  severity: 'blocks',
  subject: displayName(column),
  fact: `has no key, and column ${quoteName(column.column)} of type ${column.type} cannot be compared, so the server finds no row to change`,
  remedy: `give ${quoteTable(column)} a primary key, or write engine: stream`,
});
