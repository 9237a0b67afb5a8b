import type { Finding } from '../../../../domain/finding.ts';
import type { PostgresServer } from '../../../../platform/postgres/server.ts';
import type { SslMode } from '../../../../platform/postgres/url.ts';

const MEANING: Readonly<Record<Exclude<SslMode, 'verify-full'>, string>> = {
  disable: 'passwords and rows cross the network in plain text, and anybody on the way can change them',
  require:
    'nobody checks that the other end is the server that is meant, so whoever is on the way can read and change all',
  'verify-ca': 'any server with a certificate of the same authority passes for the one that is meant',
};

/** Sessions that leave this machine should know whom they talk to. Chosen in the URL, and told all the same. */
export const judgeProtection = ({
  label,
  protection,
}: Pick<PostgresServer, 'label' | 'protection'>): readonly Finding[] => {
  const { mode, local } = protection;
  if (local || mode === 'verify-full') return [];
  return [
    {
      id: 'connection/not-verified',
      severity: 'warns',
      subject: `the connection to the ${label}`,
      fact: `its URL says sslmode=${mode}: ${MEANING[mode]}`,
      remedy: `in the ${label}'s URL: sslmode=verify-full&sslrootcert=FILE, with the authority that signs the server's certificate`,
    },
  ];
};
