/**
 * Settings pinned on every session of ours, at both ends, so that a value has one text form wherever it is printed
 * (notes: type-opaque rule), no timeout of the server's ends our long reads, and a commit that we were told of is on disk
 * whatever the server's default is (S6).
 */
export const PINNED_SETTINGS: Readonly<Record<string, string>> = {
  DateStyle: 'ISO,MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  extra_float_digits: '3',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmloption: 'content',
  search_path: 'pg_catalog',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  synchronous_commit: 'on',
  // A policy that would hide rows from us is an error rather than a smaller digest.
  row_security: 'off',
};

/** Settings of pooled sessions: bookkeeping and looks do not wait for ever for a table that somebody keeps locked. */
export const POOL_SETTINGS: Readonly<Record<string, string>> = { ...PINNED_SETTINGS, lock_timeout: '15000' };

/** Settings in the form in which a session's startup message carries them. */
export const startupOptions = (settings: Readonly<Record<string, string>>): string =>
  Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');
