import { describe, expect, it } from 'vitest';
import { Prober } from '../../scripts/chaos/prober.ts';
import { SCHEMA_SQL } from '../../scripts/chaos/workloads.ts';
import { createDatabase, runSql, useServer } from '../support/servers.ts';

/** The oracle of S1: two databases that both take writes must be reported, and one that refuses them must not. */
const server = useServer({ version: 18 });

const REFUSE = `
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'fenced' USING ERRCODE = '25006'; END $$;
CREATE TRIGGER fence BEFORE UPDATE ON list EXECUTE FUNCTION refuse();
CREATE TRIGGER fence BEFORE UPDATE ON account EXECUTE FUNCTION refuse();`;

const makeSide = async (name: string): Promise<string> => {
  const url = await createDatabase(server(), name);
  await runSql(url, SCHEMA_SQL);
  return url;
};

describe('the prober', () => {
  it('reports two writable sides, and only those', async () => {
    const urls = { source: await makeSide('probe_source'), target: await makeSide('probe_target') };
    await runSql(urls.target, REFUSE);
    const reported: string[] = [];
    const prober = new Prober({ urls, onBothWritable: (what) => reported.push(what) });
    prober.start();
    try {
      await expect.poll(() => prober.probes).toBeGreaterThan(10);
      expect(prober.result('lists')).toMatchObject({ source: 'writable', target: 'refused' });
      expect(prober.writableSide('accounts', 0)).toBe('source');
      expect(reported).toEqual([]);
      await runSql(urls.target, 'ALTER TABLE list DISABLE TRIGGER fence');
      await expect.poll(() => prober.bothWritable).toBeGreaterThan(1);
      expect(reported[0]).toBe('phase lists was writable on both sides at once');
      expect(prober.writableSide('lists', 0)).toBeUndefined();
      expect(new Set(reported).size).toBe(1);
    } finally {
      await prober.stop();
    }
  });
});
