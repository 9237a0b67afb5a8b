import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import type { Pooler } from '../../src/demo/poolers.ts';
import { inspect } from '../../src/routers/pgbouncer/checks.ts';
import { Console } from '../../src/routers/pgbouncer/console.ts';
import { describeWithNewPoolers, describeWithPoolers, type MakePooler } from '../support/pgbouncer.ts';

/** What is seen before a switch of that which would stop it behind its commit record. No server is needed for that. */
const ENTRIES = 'shop = host=old.example port=5432 dbname=shop\n';
const ADDRESSES = ['old.example', 'new.example'].map((host) => ({ host, port: '5432', dbname: 'shop' }));

const testsOf = (makePooler: MakePooler): void => {
  let pooler: Pooler;

  beforeAll(async () => {
    pooler = await makePooler({ mode: 'transaction', entries: ENTRIES });
  });

  const findingsOf = async (
    { admin, config }: { admin: string; config: string },
    unshared: readonly string[] = [],
  ): Promise<readonly string[]> => {
    const console = new Console(admin);
    const found = await inspect({
      console,
      config,
      databases: ['shop'],
      addresses: ADDRESSES,
      windowMs: 1_000,
      unshared,
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

  it('a setting that one server does not know is found where the pooler would set it there', async () => {
    const isNew = Number((await new Console(pooler.admin).version()).split('.')[1]) >= 26;
    const found = isNew ? ['router/unshared-setting warns'] : [];
    expect(await findingsOf(pooler, ['scram_iterations'])).toEqual(found);
  });
};

describeWithPoolers('before a switch', testsOf);
describeWithNewPoolers('before a switch', testsOf);
