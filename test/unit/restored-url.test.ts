import { expect, it } from 'vitest';
import { readPostgresUrl } from '../../src/platform/postgres/url.ts';
import { urlAt } from '../../src/snapshots/rds/store.ts';

it.each([
  'postgresql://me:secret@old.example:5432/shop?sslmode=disable',
  'postgresql:///shop?host=old.example&port=5432&user=me&password=secret&sslmode=disable',
  'postgresql://me:secret@other.example/shop?port=5432&host=old.example&sslmode=disable',
])('what RDS has restored is reached by its own host and port, with a source at %s', (source) => {
  const { driver } = readPostgresUrl(urlAt(source, 'new.example', 5433), 'restored place');
  expect(driver).toMatchObject({ host: 'new.example', port: 5433, user: 'me', password: 'secret', database: 'shop' });
});
