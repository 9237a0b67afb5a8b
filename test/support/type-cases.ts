/** A column type and values of it that somebody's software has got wrong, as SQL expressions. */
export interface TypeCase {
  readonly type: string;
  readonly values: readonly string[];
}

/** Extensions and types that the cases use, the same on both sides. */
export const TYPES_SQL = `
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree;
CREATE TYPE odd_enum AS ENUM ('plain', 'with, comma', 'with "quotes"', 'it''s', ' spaced ', '{brace}', 'back\\slash', 'ünï');
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nest AS (p pair, list text[], t timestamptz, e odd_enum);
CREATE DOMAIN positive AS numeric(12, 4) CHECK (value > 0);
CREATE DOMAIN short_text AS varchar(20) COLLATE "C" CHECK (value <> 'bad');
CREATE DOMAIN int_list AS int[];
CREATE TYPE text_range AS RANGE (subtype = text, collation = "C");
CREATE TYPE float_range AS RANGE (subtype = float8);
`;

/** A literal as SQL writes it. */
const text = (value: string): string => `E'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
const texts = (...values: readonly string[]): readonly string[] => values.map(text);

/** Every character that has a code from 1 to 31, and 127: NUL is the only one that no text can hold. */
const CONTROLS = `(SELECT string_agg(chr(c), '' ORDER BY c) FROM generate_series(1, 31) c) || chr(127)`;
const ALL_BYTES = `(SELECT decode(string_agg(lpad(to_hex(b), 2, '0'), '' ORDER BY b), 'hex') FROM generate_series(0, 255) b)`;
/** Cannot be compressed. */
const NOISE = `(SELECT string_agg(md5(i::text), '' ORDER BY i) FROM generate_series(1, 32768) i)`;

/** The matrix: faults 69 to 76, and what else prints in more than one way. */
export const TYPE_CASES: readonly TypeCase[] = [
  { type: 'int8', values: texts('9223372036854775807', '-9223372036854775808', '9007199254740993') },
  { type: 'int4', values: texts('2147483647', '-2147483648') },
  { type: 'int2', values: texts('32767', '-32768') },
  { type: 'bool', values: texts('t', 'f') },
  { type: 'oid', values: texts('4294967295', '0') },
  {
    type: 'numeric',
    values: [
      ...texts(
        '1.0',
        '1.00',
        '1',
        'NaN',
        '0.000',
        '-0.0000000000000000000000000000000000001',
        '12345678901234567890.123456789',
      ),
      `(repeat('9', 131072) || '.' || repeat('7', 16383))`,
      `('0.' || repeat('0', 16382) || '1')`,
    ],
  },
  { type: 'numeric(20, 5)', values: texts('1', '123456789012345.00001', '-0.00001') },
  { type: 'money', values: texts('92233720368547758.07', '-92233720368547758.08', '0.01') },
  {
    type: 'float8',
    values: texts(
      '-0',
      'NaN',
      'Infinity',
      '-Infinity',
      '4.9e-324',
      '2.2250738585072014e-308',
      '1.7976931348623157e308',
      '0.1',
      '0.30000000000000004',
      '1e15',
      '123456789012345680',
      '1e-7',
    ),
  },
  { type: 'float4', values: texts('-0', 'NaN', 'Infinity', '-Infinity', '1e-45', '3.4028235e38', '0.1', '16777217') },
  {
    type: 'timestamptz',
    values: texts(
      '2024-02-29 23:59:59.999999+00',
      '2000-01-01 00:00:00.000001+00',
      '4714-11-24 00:00:00+00 BC',
      'infinity',
      '-infinity',
      '294276-12-31 23:59:59.999999+00',
      '0001-12-31 23:59:59.999999+00 BC',
      '1883-11-18 12:03:57+00',
      '1970-01-01 05:45+05:45',
    ),
  },
  {
    type: 'timestamp',
    values: texts(
      '4714-11-24 00:00:00 BC',
      '294276-12-31 23:59:59.999999',
      'infinity',
      '-infinity',
      '2024-03-31 02:30:00.1',
    ),
  },
  { type: 'timestamp(3)', values: texts('2024-02-29 23:59:59.9994', '1999-12-31 23:59:59.9996') },
  {
    type: 'date',
    values: texts('4714-11-24 BC', '5874897-12-31', 'infinity', '-infinity', '0001-01-01', '2000-02-29'),
  },
  { type: 'time', values: texts('24:00:00', '00:00:00', '23:59:59.999999', '00:00:00.000001') },
  { type: 'timetz', values: texts('24:00:00-15:59:59', '00:00:00.000001+15:59:59', '12:00:00+05:30', '12:00:00+00') },
  {
    type: 'interval',
    values: texts(
      '1 year 2 months 3 days 04:05:06.789',
      '1 mon -1 day +00:00:00.000001',
      '-1 year -2 mons +3 days -04:05:06',
      '0',
      '178000000 years',
      '-178000000 years',
      '1000000 days 23:59:59.999999',
      '2000000000:00:54.775807',
      '1 mon',
      '30 days',
      '720:00:00',
    ),
  },
  { type: 'interval day to second(2)', values: texts('3 days 04:05:06.78', '-00:00:00.01') },
  {
    type: 'json',
    values: texts(
      '{"a":1,"a":2}',
      '  { "x" : 1.0e400 ,\n\t"y":[ ] }  ',
      '12345678901234567890.1234567890',
      '"\\u0000\\ud83d\\ude00"',
      'null',
      '-0.0',
      '1E5',
      '"\\/"',
    ),
  },
  {
    type: 'jsonb',
    values: texts(
      '{"b":1,"aa":2,"a":{"z":[1,null,true]}}',
      '12345678901234567890.1234567890',
      '1e-100',
      '1.10',
      '-0.0',
      '"\\u00e9\\n\\\\"',
      '[]',
      '{"":""}',
      '9007199254740993',
      'null',
      '{"a":1,"a":2}',
    ),
  },
  {
    type: 'jsonpath',
    values: texts('$.a[*] ? (@.b > 1.50 && @.c like_regex "^a\\\\d" flag "i")', 'strict $."x y"[last]'),
  },
  {
    type: 'text',
    values: [
      ...texts(
        '',
        ' ',
        '\\N',
        '\\.',
        '\\',
        '\\\\N',
        'a\tb\nc\rd\r\n',
        'it\'s "quoted"',
        '👩‍👩‍👧‍👦 ünïcödé ﷽ 𝔘',
        '\u{10ffff}\u{feff}\u200b',
        'NULL',
        '{a,b}',
        '(1,2)',
        '$1',
        '%s',
        "'; DROP TABLE x; --",
        'e\u0301 é',
      ),
      CONTROLS,
      'NULL',
      `repeat('x', 1048576)`,
      NOISE,
      `repeat(${text('👩\\\t\n"')}, 100000)`,
    ],
  },
  { type: 'varchar(10)', values: texts('trailing  ', '', 'üüüüüüüüüü') },
  { type: 'char(10)', values: texts('  a ', '', 'ü', 'exactly 10') },
  { type: 'char(1)', values: texts('', ' ', 'é') },
  { type: '"char"', values: texts('a', ' ', '', '\\') },
  { type: 'name', values: [...texts('', 'with "quotes"'), `repeat('n', 63)`] },
  { type: 'text COLLATE "C"', values: texts('Z', 'a', 'é', '') },
  {
    type: 'bytea',
    values: [
      ALL_BYTES,
      `''`,
      `decode('00', 'hex')`,
      `decode('5c', 'hex')`,
      `decode('5c78', 'hex')`,
      `decode(repeat('00', 1048576), 'hex')`,
      `decode(${NOISE}, 'hex')`,
    ],
  },
  { type: 'uuid', values: texts('00000000-0000-0000-0000-000000000000', 'FFFFFFFF-ffff-FFFF-ffff-ffffffffffff') },
  { type: 'bit', values: texts('1', '0') },
  { type: 'bit(5)', values: texts('10101', '00000') },
  { type: 'varbit', values: [...texts('', '0', '000000001'), `repeat('10', 5000)`] },
  { type: 'inet', values: texts('10.0.0.1/8', '10.0.0.1', '::ffff:1.2.3.4/96', '::/0', 'fe80::1/128') },
  { type: 'cidr', values: texts('10.0.0.0/8', '10.0.0.1/32', '::/0', '2001:db8::/32') },
  { type: 'macaddr', values: texts('08:00:2B:01:02:03') },
  { type: 'macaddr8', values: texts('08:00:2b:01:02:03:04:05') },
  { type: 'point', values: texts('(0.1,-0)', '(NaN,Infinity)', '(1e300,-1e-300)') },
  { type: 'line', values: texts('{1,-2,3.3}', '{0,-1,0}') },
  { type: 'lseg', values: texts('[(0,0),(1,0.1)]') },
  { type: 'box', values: texts('(2,2),(0.1,-1)') },
  { type: 'path', values: texts('[(0,0),(1,1),(2,0.3)]', '((0,0),(1,1),(2,0))') },
  { type: 'polygon', values: texts('((0,0),(1,1),(2,-0))', '((1,2))') },
  { type: 'circle', values: texts('<(1,2.5),3>', '<(0,0),0>') },
  { type: 'box[]', values: texts('{(2,2),(0,0);(3,3),(1,1)}') },
  {
    type: 'int[]',
    values: texts('{}', '{NULL,1}', '[-2:0]={1,2,3}', '[0:1][2:3]={{1,2},{3,4}}', '{{{1},{2}},{{3},{4}}}'),
  },
  {
    type: 'text[]',
    values: [
      ...texts('{}', '{NULL,"NULL","",null}', '{"a,b","c\\"d","e\\\\f","{}"," "}', '[5:6]={a,b}'),
      `ARRAY[E'line\\nbreak', E'tab\\t', ${CONTROLS}, '\\.']`,
    ],
  },
  { type: 'float8[]', values: texts('{-0,NaN,Infinity,0.1,4.9e-324}') },
  { type: 'timestamptz[]', values: texts('{infinity,"4714-11-24 00:00:00+00 BC",NULL}') },
  { type: 'bytea[]', values: [`ARRAY[${ALL_BYTES}, ''::bytea, NULL]`] },
  { type: 'json[]', values: [`ARRAY['{"a":1,"a":2}'::json, ' [1.0] '::json]`] },
  { type: 'char(4)[]', values: texts('{a,"  b",""}') },
  { type: 'int4range', values: texts('empty', '(,)', '[1,5)', '(,5]', '[2147483646,2147483647)') },
  { type: 'int8range', values: texts('[9007199254740993,)', '[-9223372036854775808,9223372036854775807)') },
  { type: 'numrange', values: texts('[1.50,2.00]', '(0,0.0000001)', 'empty', '[NaN,NaN]') },
  { type: 'tsrange', values: texts('[-infinity,infinity]', '["2024-01-01 00:00:00.000001",)') },
  { type: 'tstzrange', values: texts('["0044-03-15 00:00:00+00 BC",infinity)', '(,)') },
  { type: 'daterange', values: texts('[2024-01-01,2024-02-29]', '[-infinity,infinity)', 'empty') },
  { type: 'text_range', values: texts('["a,b","c)d]")', '["",)', '["\\"q\\"","x y"]') },
  { type: 'float_range', values: texts('[-Infinity,0.1]', '(4.9e-324,1e300)') },
  { type: 'int4range[]', values: texts('{"[1,2)",empty,"(,)"}') },
  {
    type: 'pair',
    values: [`ROW(1, E'a "q" \\\\ , () \\n')`, `ROW(NULL, NULL)`, `ROW(NULL, '')`, `ROW(-2147483648, ' ')`, 'NULL'],
  },
  {
    type: 'nest',
    values: [
      `ROW(ROW(1, 'x,"y"')::pair, ARRAY['a,b', NULL, '"', '\\'], 'infinity', 'with, comma')`,
      `ROW(ROW(NULL, NULL)::pair, '{}', NULL, NULL)`,
      `ROW(NULL, NULL, NULL, NULL)`,
    ],
  },
  { type: 'pair[]', values: [`ARRAY[ROW(1, 'a"b')::pair, NULL, ROW(NULL, '{,}')::pair]`] },
  { type: 'positive', values: texts('0.0001', '12345678.9') },
  { type: 'short_text', values: texts('', ' \\N ', 'twenty characters ..') },
  { type: 'int_list', values: texts('[3:4]={1,2}', '{}') },
  {
    type: 'odd_enum',
    values: texts('plain', 'with, comma', 'with "quotes"', "it's", ' spaced ', '{brace}', 'back\\slash', 'ünï'),
  },
  { type: 'odd_enum[]', values: texts('{"with, comma","with \\"quotes\\"","{brace}","back\\\\slash",NULL}') },
  { type: 'citext', values: texts('ÀbC', '', 'straße') },
  { type: 'hstore', values: [`hstore(ARRAY['a', NULL, 'b,c=>"', '=>', '', E'\\n'])`, `''`] },
  { type: 'ltree', values: texts('', 'Top.Science.Astronomy_1') },
  { type: 'lquery', values: texts('Top.*{0,2}.sport*@.!football|tennis.Russ*|Spain') },
  {
    type: 'tsvector',
    values: [
      ...texts(`'a':1A,2B 'b''c':3 'd e':16383C 'back\\\\slash':4`, ''),
      `to_tsvector('simple', 'The fat  cat 👍')`,
    ],
  },
  { type: 'tsquery', values: texts(`'a':AB* & !('b' | 'c d') <-> 'e'`, `'x' <3> 'y'`, '') },
  {
    type: 'xml',
    values: texts('<?xml version="1.0"?><a b="1">x &amp; y</a>', 'text <b/> <!-- c -->', '<a>\r\n\t</a>'),
  },
  { type: 'regclass', values: texts('pg_catalog.pg_class', '4294967294', '-') },
  { type: 'regtype', values: texts('pg_catalog.int8', 'public.pair', 'public.odd_enum[]') },
  { type: 'pg_lsn', values: texts('16/B374D848', 'FFFFFFFF/FFFFFFFF', '0/0') },
  { type: 'txid_snapshot', values: texts('10:20:10,14,15', '1:1:') },
  { type: 'pg_snapshot', values: texts('10:20:10,14,15') },
  { type: 'xid8', values: texts('18446744073709551615') },
  { type: 'tid', values: texts('(4294967294,65535)') },
  { type: 'int2vector', values: texts('1 -2 3', '') },
  { type: 'oidvector', values: texts('4294967295 0') },
];
