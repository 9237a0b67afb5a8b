import { afterEach, expect, it } from 'vitest';
import { placeOf } from '../../src/cli/snapshot-place.ts';

afterEach(() => {
  delete process.env.PLACE_PASSWORD;
});

it('a place on the command line refers to the environment as a plan does', () => {
  process.env.PLACE_PASSWORD = 'secret';
  // biome-ignore lint/suspicious/noTemplateCurlyInString: as a person writes it
  const into = 'postgresql://me:${PLACE_PASSWORD}@host/shop';
  expect(placeOf({ into }, 'into')).toBe('postgresql://me:secret@host/shop');
  delete process.env.PLACE_PASSWORD;
  expect(() => placeOf({ into }, 'into')).toThrow('--into refers to PLACE_PASSWORD, which is not set');
  expect(placeOf({}, 'at')).toBeNull();
  expect(placeOf({ at: '/places/one' }, 'at')).toBe('/places/one');
});

it.each(['postgresql://me:secret@host/shop', 'postgresql://host/shop?user=me&password=secret'])(
  'a password on the command line is refused and not told: %#',
  (at) => {
    const refused = (() => {
      try {
        return placeOf({ at }, 'at');
      } catch (error) {
        return String(error);
      }
    })();
    expect(refused).toContain('--at has a password in it');
    expect(refused).not.toContain('secret');
  },
);
