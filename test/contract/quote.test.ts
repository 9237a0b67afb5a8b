import fc from 'fast-check';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { quoteName, quoteText } from '../../src/platform/postgres/quote.ts';
import { HOSTILE_NAMES } from '../support/hostile-names.ts';
import { useServerPair } from '../support/servers.ts';

/** What the one module that quotes makes of any text is that text to a server, whatever its settings. */
const servers = useServerPair();

describe.each(['source', 'target'] as const)('on the %s', (side) => {
  it.each(['on', 'off'])('names and texts are what they were, standard_conforming_strings %s', async (setting) => {
    const client = new pg.Client({
      connectionString: servers()[side].url,
      options: `-c standard_conforming_strings=${setting} -c escape_string_warning=off`,
    });
    await client.connect();
    const expectSame = async (text: string): Promise<void> => {
      const { rows, fields } = await client.query({
        text: `SELECT ${quoteText(text)} AS ${quoteName(text)}`,
        rowMode: 'array',
      });
      expect([rows.length, rows[0]?.[0], fields[0]?.name]).toEqual([1, text, text]);
    };
    try {
      for (const name of HOSTILE_NAMES) await expectSame(name);
      const unit = fc.constantFrom('"', "'", '\\', '$', ';', '-', '\n', 'a', 'E', ' ', '%', 'é', '/', '*');
      await fc.assert(fc.asyncProperty(fc.string({ unit, minLength: 1, maxLength: 30 }), expectSame), { numRuns: 200 });
    } finally {
      await client.end();
    }
  });
});

it('NUL is refused, since no server could hold it', () => {
  for (const quote of [quoteName, quoteText]) expect(() => quote('a\0b')).toThrow(RangeError);
});
