import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import type { Pooler } from '../../src/demo/poolers.ts';
import { inspect } from '../../src/routers/pgbouncer/checks.ts';
import { Console } from '../../src/routers/pgbouncer/console.ts';
import type { ForeignSettings } from '../../src/routers/pgbouncer/foreign.ts';
import { describeWithNewPoolers, describeWithPoolers, type MakePooler } from '../support/pgbouncer.ts';

/** What is seen before a switch of that which would stop it behind its commit record. No server is needed for that. */
const ENTRIES = 'shop = host=old.example port=5432 dbname=shop\n';
const at = (host: string) => ({ host, port: '5432', dbname: 'shop' });
const ADDRESSES = { source: at('old.example'), target: at('new.example') };

const testsOf = (makePooler: MakePooler): void => {
  let pooler: Pooler;

  beforeAll(async () => {
    pooler = await makePooler({ mode: 'transaction', entries: ENTRIES });
  });

  const findingsOf = async (
    { admin, config }: { admin: string; config: string },
    foreign: ForeignSettings | null = null,
  ): Promise<readonly string[]> => {
    const console = new Console(admin);
    const found = await inspect({
      console,
      config,
      databases: ['shop'],
      addresses: ADDRESSES,
      windowMs: 1_000,
      foreign,
    });
    return found.map(({ id, severity }) => `${id} ${severity}`);
  };
  const copyTo = (name: string): { admin: string; config: string } => {
    const config = join(dirname(pooler.config), name);
    writeFileSync(config, ENTRIES);
    return { admin: pooler.admin, config };
  };

  it('nothing is in the way of a file that the pooler reads, its own one or one that it includes', async () => {
    expect(await findingsOf(pooler)).toEqual([]);
    const before = readFileSync(pooler.mainConfig, 'utf8');
    writeFileSync(pooler.mainConfig, before.replace(/%include .*\n/, ENTRIES));
    expect(await findingsOf({ admin: pooler.admin, config: pooler.mainConfig })).toEqual([]);
    writeFileSync(pooler.mainConfig, before);
  });

  it('a file that it does not read is found, also where both say the same today', async () => {
    const other = copyTo('same.ini');
    expect(await findingsOf(other)).toEqual(['router/file-not-read blocks']);
    const before = readFileSync(pooler.mainConfig, 'utf8');
    writeFileSync(pooler.mainConfig, `${before}%include elsewhere.ini\n`);
    expect(await findingsOf(other)).toEqual(['router/file-unseen warns']);
    expect(await findingsOf(pooler)).toEqual([]);
    writeFileSync(pooler.mainConfig, before);
  });

  it('a file whose place no other can take is found', async () => {
    // Also root cannot make one beside it with a longer name.
    expect(await findingsOf(copyTo('a'.repeat(250)))).toContain('router/not-replaceable blocks');
  });

  it('a port that several processes may share is found, and a Unix socket belongs to one', async () => {
    const folder = dirname(pooler.config);
    const more = `so_reuseport = 1\nunix_socket_dir = ${folder}`;
    const shared = await makePooler({ mode: 'transaction', entries: ENTRIES, more });
    expect(await findingsOf(shared)).toEqual(['router/many-processes blocks']);
    expect(await findingsOf({ config: shared.config, admin: `${shared.admin}?host=${folder}` })).toEqual([]);
  });

  it('a setting that one server does not know blocks a cutover, and no failback', async () => {
    const isNew = Number((await new Console(pooler.admin).version()).split('.')[1]) >= 26;
    const foreign = { names: ['scram_iterations'], unknownOn: 'source', action: 'refuse' } as const;
    expect(await findingsOf(pooler, foreign)).toEqual(isNew ? ['router/unshared-setting blocks'] : []);
    expect(await findingsOf(pooler, { ...foreign, action: 'end' })).toEqual(isNew ? ['router/ends-clients warns'] : []);
    await pooler.setEntries(ENTRIES.replace('old', 'new'));
    expect(await findingsOf(pooler, foreign)).toEqual(isNew ? ['router/unshared-setting warns'] : []);
    await pooler.setEntries(ENTRIES);
  });
};

describeWithPoolers('before a switch', testsOf);
describeWithNewPoolers('before a switch', testsOf);
