import pg from 'pg';

/** A session of an application. An error outside of a query does not end the test. */
export const openClient = async (url: string, application: string): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url, application_name: application });
  client.on('error', () => undefined);
  await client.connect();
  return client;
};
