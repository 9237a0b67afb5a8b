import { FENCE_SETTINGS, makeFixture } from '../support/postgres-database.ts';
import { useServer } from '../support/servers.ts';
import { databaseContract } from './database.ts';

for (const version of [13, 18] as const) {
  const running = useServer({ version, settings: FENCE_SETTINGS });
  databaseContract(`PostgreSQL ${version}`, () => makeFixture(running()));
}
