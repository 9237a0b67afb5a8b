import type { Finding } from '../../../../domain/finding.ts';
import { displayName } from '../../../../domain/table.ts';
import { quoteName } from '../../../../platform/postgres/quote.ts';
import type { Membership, ReplicationFacts } from '../facts/replication.ts';

const LISTED = 5;

const tablesOf = ({ tables }: Membership): string => {
  const names = tables.slice(0, LISTED).map(displayName).join(', ');
  return tables.length > LISTED ? `${names} and ${tables.length - LISTED} more` : names;
};

/**
 * Judges replication that is not ours. A subscription writes past the fence, as our own appliers do, so there would be a
 * second writer (S1); a publication only has readers, who have to follow the application.
 */
export const judgeReplication = (facts: ReplicationFacts): readonly Finding[] => [
  ...facts.subscriptions.map(
    (subscription): Finding => ({
      id: 'replication/subscription',
      severity: 'blocks',
      subject: `subscription ${subscription.name} on the ${facts.side}`,
      fact: `writes to ${tablesOf(subscription)} and passes the fence`,
      remedy: `ALTER SUBSCRIPTION ${quoteName(subscription.name)} DISABLE;`,
    }),
  ),
  ...facts.publications.map(
    (publication): Finding => ({
      id: 'replication/publication',
      severity: 'warns',
      subject: `publication ${publication.name} on the ${facts.side}`,
      fact: `others read ${tablesOf(publication)} from here, and will also get what our lanes apply`,
      remedy: 'see to it that its readers read from the other side after the cutover, and do not write back',
    }),
  ),
];
