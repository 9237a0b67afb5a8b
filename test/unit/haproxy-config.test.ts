import { describe, expect, test } from 'vitest';
import { canHold, readServers, readSessions } from '../../src/routers/haproxy/answers.ts';
import {
  ConfigError,
  type Entry,
  readEntry,
  readLimit,
  readSettings,
  readWays,
  type ServerName,
  writeEntry,
} from '../../src/routers/haproxy/config.ts';
import { addressesOf } from '../../src/routers/haproxy/sides.ts';

const SHOP: ServerName = { backend: 'shop', server: 'db' };
const read = (text: string, name = SHOP): Entry => readEntry(Buffer.from(text, 'latin1'), name);
const write = (text: string, entry: Entry): string =>
  writeEntry(Buffer.from(text, 'latin1'), SHOP, entry).toString('latin1');
const toNew: Entry = { address: { host: 'new.internal', port: '5433' }, epoch: 7n };

describe('a configuration of HAProxy', () => {
  test('is changed in an address and a comment, and stays byte for byte otherwise', () => {
    const rest = [
      '# caf\xe9, server db old:1\r\n',
      'global\n',
      '\tmaxconn 100 # of all\n',
      'peers shop\n  server db 10.0.0.9:1\n',
      'backend other\n\tserver db old.internal:5432\n',
      '  listen   shop  \n',
      '\tbind :5432\n',
      '',
      '\tserver  db2 old.internal:5432\n',
      'frontend shop_in\n  server db old.internal:1',
    ];
    const file = (at: string) => rest.with(7, at).join('');
    const before = file('\tserver "db"\t old.internal:5432   check # "old" \r\n');
    const after = file('\t# switchback: epoch 7 of shop/db\r\n\tserver "db"\t new.internal:5433   check # "old" \r\n');
    expect(read(before)).toEqual({ address: { host: 'old.internal', port: '5432' }, epoch: 0n });
    expect(write(before, toNew)).toBe(after);
    expect(read(after)).toEqual(toNew);
    expect(write(after, { ...toNew, epoch: 8n })).toBe(after.replace('epoch 7', 'epoch 8'));
    expect(write(after, toNew)).toBe(after);
  });

  test('has addresses of both families', () => {
    expect(read('backend shop\nserver db [fd00::1]:5432').address).toEqual({ host: 'fd00::1', port: '5432' });
    expect(read('backend shop\nserver db fd00::1:5432').address).toEqual({ host: 'fd00::1', port: '5432' });
    const written = write('backend shop\nserver db a:1', { address: { host: 'fd00::2', port: '5' }, epoch: 1n });
    expect(written).toBe('backend shop\n# switchback: epoch 1 of shop/db\nserver db [fd00::2]:5');
  });

  test.each([
    ['frontend shop\nserver db a:1\n', 'it has no backend shop'],
    ['backend shop\nserver db1 a:1\n', 'it has no server db in backend shop'],
    ['backend shop\n#server db a:1\n', 'it has no server db in backend shop'],
    ['backend shop\nserver-template db 3 a:1\n', 'it has no server db in backend shop, only a server-template'],
    ['backend shop\nserver db a:1\nserver db b:1\n', 'it has server db in backend shop twice'],
    [
      'backend shop\n.if defined(X)\nserver db a:1\n.endif\n',
      'it has server db in backend shop under a condition (.if)',
    ],
    ['backend shop\nserver db "$OLD:5432"\n', 'an address with a variable'],
    ['backend shop\nserver db a\n', "its server's address a is no host:port"],
    ['backend shop\nserver db unix@/run/p:1\n', 'is no host:port'],
    ['backend shop\nserver db\n', 'its server has no address'],
  ])('that only HAProxy can read is neither read nor written: %j', (text, problem) => {
    expect(() => read(text)).toThrow(problem);
    expect(() => write(text, toNew)).toThrow(ConfigError);
  });

  test.each([
    ['server db a:1', 'a', '1'],
    [`server 'd'"b" "a:1" check`, 'a', '1'],
    ['server d\\b a:1', 'a', '1'],
    ['server db a\\:1 #b:2', 'a', '1'],
  ])('is read as HAProxy reads it, with quotes and escapes: %s', (line, host, port) => {
    expect(read(`backend shop\n${line}\n`).address).toEqual({ host, port });
  });

  test('says how many clients a frontend lets in: its own limit, that of its defaults, or that of the process', () => {
    const text = Buffer.from(
      [
        ...['defaults', 'maxconn 10', 'frontend a', 'maxconn 3', 'frontend b', 'defaults tcp', 'frontend c'],
        ...['defaults more from tcp', 'maxconn 20', 'listen d from tcp', 'listen e from more', 'frontend f'],
      ].join('\n'),
    );
    expect(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => readLimit(text, name))).toEqual([3, 10, null, null, 20, 20]);
    expect(() => readLimit(text, 'g')).toThrow('it has no frontend g');
  });

  test('says where a frontend leads, in the order in which that is tried', () => {
    const text = Buffer.from(
      [
        ...['defaults base', 'default_backend shop', 'defaults more from base', 'maxconn 9', 'frontend a from more'],
        ...['frontend b from base', 'default_backend x', 'default_backend y', 'listen c from base'],
        ...[
          'defaults',
          'listen d',
          'frontend e',
          'listen f',
          'use_backend x if FALSE',
          'use_backend y',
          'use_backend z',
        ],
        ...['frontend g', 'use_backend "%[src]"', 'default_backend "$B"', 'frontend h', 'default_backend old'],
        ...['.if defined(X)', 'default_backend new', '.endif', 'backend shop'],
      ].join('\n'),
    );
    const waysOf = (name: string) =>
      readWays(text, name).map(({ backend, isOpen }) => (isOpen ? `open ${backend}` : backend));
    expect(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map(waysOf)).toEqual([
      ...[['shop'], ['y'], ['shop'], ['d'], [null]],
      ...[
        ['x', 'y'],
        ['open %[src]', 'open $B'],
        ['new', 'old'],
      ],
    ]);
    expect(readLimit(text, 'a')).toBe(9);
    expect(() => readWays(text, 'shop')).toThrow('it has no frontend shop');
  });

  test('says what else bears on its server', () => {
    const text = [
      'defaults\n load-server-state-from-file global\nbackend other\n default-server track x/y\n',
      'backend shop\n default-server resolvers dns\n option pgsql-check user probe\n server db a:1 check port 8008 # addr\n',
    ].join('');
    const { words, lines } = readSettings(Buffer.from(text), SHOP);
    expect(words).toEqual(['check', 'port', '8008', 'resolvers', 'dns']);
    expect(lines).toContainEqual(['load-server-state-from-file', 'global']);
    expect(lines).toContainEqual(['option', 'pgsql-check', 'user', 'probe']);
    expect(lines.flat()).not.toContain('track');
  });
});

describe('what HAProxy says', () => {
  const COLUMNS =
    '# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port';

  test('of servers', () => {
    const text = `1\n${COLUMNS}\n2 shop 3 slow FD00:0::5 1 0 1 1 0 6 3 4 6 0 0 0 - 5432\n2 shop 1 db ::1 2 0 1 1 0 6 3 4 6 0 0 0 - 7001\n2 shop 2 old 10.0.0.1 0 1 1 1 0 6 3 4 6 0 0 0 - 5432\n\n`;
    expect(readServers(text)).toEqual([
      { name: 'slow', address: { host: 'fd00::5', port: '5432' }, isUp: true, isOff: false },
      { name: 'db', address: { host: '::1', port: '7001' }, isUp: true, isOff: false },
      { name: 'old', address: { host: '10.0.0.1', port: '5432' }, isUp: false, isOff: true },
    ]);
  });

  test('of sessions, those that have a connection with a server', () => {
    const text = `0x5629: [27/Nov/2026:10:57:08.824749] id=3 proto=tcpv4 source=127.0.0.1:44914
  frontend=shop (id=2 mode=tcp), listener=? (id=1) addr=127.0.0.1:7026
  backend=shop (id=2 mode=tcp) addr=127.0.0.1:34540
  server=db (id=1) addr=127.0.0.1:7001
  task=0x5629572a4d30 (state=0x00 nice=0 calls=3 rate=0 exp=59m52s tmask=0x1 age=8s)
0x7f6d: [27/Nov/2026:10:57:16.029737] id=8 proto=unix_stream source=unix:1
  frontend=GLOBAL (id=0 mode=tcp), listener=? (id=1) addr=unix:1
  backend=<NONE> (id=-1 mode=-)
  server=<NONE> (id=-1)
`;
    expect(readSessions(text)).toEqual([{ id: '0x5629', server: SHOP, to: '127.0.0.1:7001' }]);
  });

  test('of its version tells whether it can let in again whom it held', () => {
    const versions = ['2.6.12-1+deb12u4', '2.10.1', '3.0.9', '3.1.0', '3.2.26-1', '10.0.1', ''];
    expect(versions.map(canHold)).toEqual([false, false, false, true, true, true, false]);
  });
});

describe('the sides of a proxy', () => {
  test('are what the plan says, else what the URLs say, and differ', () => {
    const sides = {
      source: { url: 'postgresql://a@old/x' },
      target: { url: 'postgresql://a@old:5433/x', host: 'fd00::2' },
    };
    expect(addressesOf(sides)).toEqual({
      source: { host: 'old', port: '5432' },
      target: { host: 'fd00::2', port: '5433' },
    });
    expect(() => addressesOf({ ...sides, target: sides.source })).toThrow(
      'HAProxy would lead to old:5432 on both sides',
    );
    const socket = { url: 'postgresql://a@%2Frun%2Fpostgresql/x' };
    expect(() => addressesOf({ ...sides, target: socket })).toThrow('Unix socket /run/postgresql');
  });
});
