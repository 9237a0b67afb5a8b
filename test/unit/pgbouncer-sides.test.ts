import { expect, test } from 'vitest';
import { addressesOf } from '../../src/routers/pgbouncer/sides.ts';

const source = { url: 'postgresql://us:secret@old.example/shop' };

test.each([
  ['dbname', "postgresql://us:secret@new.example/it's"],
  ['dbname', 'postgresql://us:secret@new.example/a%0Ab'],
  ['host', "postgresql://us:secret@ada's.example/shop"],
])('a %s that would make an entry unreadable is refused before anything is written: %s', (key, url) => {
  const refusal = { kind: 'usage', remedy: expect.stringContaining(`as \`${key}\` under the router's \`target\``) };
  expect(() => addressesOf({ source, target: { url } })).toThrow(expect.objectContaining(refusal));
  const said = { host: 'new.internal', dbname: 'shop' };
  expect(addressesOf({ source, target: { url, ...said } }).target).toMatchObject(said);
});
