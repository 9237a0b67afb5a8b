import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Address, IniError, readEntry, writeEntry } from '../../src/routers/pgbouncer/ini.ts';

const TARGET: Address = { host: 'new.example', port: '5433', dbname: 'shop_new' };
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const moved = (text: string, address = TARGET, epoch = 7n): string =>
  writeEntry(bytes(text), 'shop', { address, epoch }).toString('latin1');

describe('an entry', () => {
  test('is changed where it leads, and every other byte of the file stays', () => {
    const before = [
      ';; who uses what: ask Ada\r\n',
      '[databases]\r\n',
      '# the old one: shop = host=older.example\r\n',
      'shop_test = host=old.example dbname=shop\r\n',
      "  shop  =  host = 'old.example'  pool_size=20 port=5432\tuser=web connect_query='select ''é'''  dbname=shop  \r\n",
      '* = host=other.example\r\n',
      '[users]\r\n',
      'shop = pool_mode=session\r\n',
      '[pgbouncer]\r\n',
      'listen_port = 6432',
    ].join('');
    expect(moved(before)).toBe(
      before
        .replace("host = 'old.example'", 'host = new.example')
        .replace('port=5432\t', 'port=5433\t')
        .replace('dbname=shop  ', 'dbname=shop_new  ')
        .replace('  shop  =', '; switchback: epoch 7 of shop\r\n  shop  ='),
    );
  });

  test('gets the keys that it lacks, and none that say what it means already', () => {
    expect(moved('shop = pool_size=3\n')).toBe(
      '; switchback: epoch 7 of shop\nshop = pool_size=3 host=new.example port=5433 dbname=shop_new\n',
    );
    const same: Address = { host: 'new.example', port: '5432', dbname: 'shop' };
    expect(moved('shop = host=old.example', same)).toBe('; switchback: epoch 7 of shop\nshop = host=new.example');
    expect(moved('shop =\n', same)).toBe('; switchback: epoch 7 of shop\nshop = host=new.example\n');
  });

  test('keeps its epoch where the comment stands, and reads it from there', () => {
    const before = '; switchback: epoch 3 of shop\n[databases]\n; switchback: epoch 9 of shop2\nshop = host=a\n';
    expect(readEntry(bytes(before), 'shop')).toEqual({
      address: { host: 'a', port: '5432', dbname: 'shop' },
      epoch: 3n,
    });
    expect(moved(before)).toBe(
      '; switchback: epoch 7 of shop\n[databases]\n; switchback: epoch 9 of shop2\n' +
        'shop = host=new.example port=5433 dbname=shop_new\n',
    );
  });

  test('is read as PgBouncer reads it: quotes, blanks around the sign, the last of a key', () => {
    const text = "shop = port=1 host='two words' dbname = 'it''s' port = 2";
    expect(readEntry(bytes(text), 'shop').address).toEqual({ host: 'two words', port: '2', dbname: "it's" });
    const changed = moved(text, { host: 'h', port: '3', dbname: 'a b' });
    expect(changed).toContain("shop = port=1 host=h dbname = 'a b' port = 3");
  });

  test.each([
    ['', 'it has no entry for shop'],
    ['shop2 = host=a\n%include /etc/more.ini\n', 'it has no entry for shop; it includes /etc/more.ini'],
    ['[pgbouncer]\nshop = host=a\n', 'it has no entry for shop'],
    ['* = host=a\n', 'by its entry * only'],
    ['shop = host=a\nshop = host=b\n', 'two entries for shop'],
    ['shop = host=a nonsense\n', 'is no key=value'],
    ["shop = host='a\n", 'is no key=value'],
  ])('that is not there by itself, or not understood, is refused: %j', (text, message) => {
    expect(() => readEntry(bytes(text), 'shop')).toThrow(IniError);
    expect(() => readEntry(bytes(text), 'shop')).toThrow(message);
  });

  test.each([
    ["shop = host=a password='hush hush' nonsense\n", 35],
    ['shop = host=a password=hush hush\n', 28],
    ["shop = host=a password='hush\n", 14],
  ])('that is not understood is shown to nobody: %j', (text, column) => {
    const read = () => readEntry(bytes(text), 'shop');
    expect(read).toThrow(new IniError(`its entry is no key=value from column ${column} on`));
  });

  test('leads where it was led last, whatever stands around it', () => {
    const word = fc.stringMatching(/^[a-z0-9.]{1,8}$/);
    const address = fc.record({
      host: word,
      port: fc.nat(65_535).map(String),
      dbname: fc.stringMatching(/^[a-zé ]{1,6}$/),
    });
    const other = fc.constantFrom('pool_size=3', "connect_query='select ''x'''", 'user=web', 'client_encoding = UTF8');
    const noise = fc.constantFrom('; nothing\n', '\n', 'other = host=x\r\n', '# switchback: epoch 1 of other\n');
    fc.assert(
      fc.property(fc.array(other), fc.array(noise), fc.array(address, { minLength: 1 }), (others, lines, addresses) => {
        const text = `${lines.join('')}shop = ${others.join('  ')}\n${lines.join('')}`;
        let file: Buffer = bytes(text);
        for (const [index, one] of addresses.entries()) {
          file = writeEntry(file, 'shop', { address: one, epoch: BigInt(index + 1) });
          expect(readEntry(file, 'shop')).toEqual({ address: one, epoch: BigInt(index + 1) });
        }
        // Our comment and the entry apart, nothing has changed.
        const rest = file
          .toString('latin1')
          .split('\n')
          .filter((line) => !/of shop$|^shop =/.test(line));
        expect(rest).toEqual(text.split('\n').filter((line) => !line.startsWith('shop =')));
        for (const kept of others) expect(file.toString('latin1')).toContain(kept);
      }),
    );
  });
});
