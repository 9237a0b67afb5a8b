import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { propertiesText } from '../../src/routers/route-properties.ts';
import { type RouteText, RouteTextError, type StoredRoute } from '../../src/routers/route-text.ts';
import { yamlText } from '../../src/routers/route-yaml.ts';

const TARGET: StoredRoute = { primary: 'target', held: false, epoch: 7n };

const written = (form: RouteText, text: string, routes: Readonly<Record<string, StoredRoute>> = { orders: TARGET }) =>
  form.write(Buffer.from(text), new Map(Object.entries(routes))).toString();

const readFrom = (form: RouteText, text: string, phase = 'orders'): StoredRoute => form.read(Buffer.from(text), phase);

const OURS = 'orders:\n  primary: target\n  held: false\n  epoch: "7"\n';
const OURS_CRLF = OURS.replaceAll('\n', '\r\n');

describe('yaml', () => {
  test.each([
    ['an empty file', '', OURS],
    ['comments alone', '# a\n', `# a\n${OURS}`],
    ['a mark of the document', '---\n', `---\n${OURS}`],
    ['no last line end', 'a: 1 # one', `a: 1 # one\n${OURS}`],
    ['CRLF', 'a: 1\r\n', `a: 1\r\n${OURS_CRLF}`],
    ['a byte-order mark', '\uFEFFa: 1\n', `\uFEFFa: 1\n${OURS}`],
    ['an indent', '  a: 1\n', `  a: 1\n${OURS.replaceAll(/^(?=.)/gm, '  ')}`],
    ['our key in comments and texts', '# orders: {}\na: |\n  orders: x\n', `# orders: {}\na: |\n  orders: x\n${OURS}`],
    ['an end of the document', 'a: 1\n...\n# after\n', `a: 1\n${OURS}...\n# after\n`],
    ['anchors of others', 'a: &x [1]\nb: *x\n', `a: &x [1]\nb: *x\n${OURS}`],
    ['JSON', '{"a": 1}', '{"orders": {"primary": "target", "held": false, "epoch": "7"}, "a": 1}'],
    ['empty braces', '{}\n', '{"orders": {"primary": "target", "held": false, "epoch": "7"}}\n'],
    [
      'a comma at the end',
      '{\n  a: 1,\n}\n',
      '{ "orders": {"primary": "target", "held": false, "epoch": "7"},\n  a: 1,\n}\n',
    ],
    [
      'ours, spelt otherwise',
      "# é\nx:   [1,\n  2]\n'orders':   # ask Ada\n    held:   true  # so\n    primary: \"source\"\n    team: a\nz: 'é'",
      '# é\nx:   [1,\n  2]\n\'orders\':   # ask Ada\n    held:   false  # so\n    primary: "target"\n    epoch: "7"\n    team: a\nz: \'é\'',
    ],
    [
      'ours without values',
      'orders:\r\n  team: a',
      'orders:\r\n  primary: target\r\n  held: false\r\n  epoch: "7"\r\n  team: a',
    ],
    [
      'ours with an empty value',
      'orders:\n  primary:  # ?\n  epoch: 7\n  held: ~\n',
      'orders:\n  primary: target  # ?\n  epoch: "7"\n  held: false\n',
    ],
    ['ours in braces', 'orders: {primary: source}\n', 'orders: {held: false, epoch: "7", primary: target}\n'],
  ])('keeps every other byte: %s', (_, before, after) => {
    expect(written(yamlText, before)).toBe(after);
    expect(readFrom(yamlText, after)).toEqual(TARGET);
    expect(written(yamlText, after)).toBe(after);
  });

  test.each([
    ['line 2: "orders" has an anchor', 'a: 1\norders: &o {primary: source}\nb: *o\n'],
    ['line 2: "orders" is an alias', 'a: &a {primary: source}\norders: *a\n'],
    ['line 1: "orders" has a tag', 'orders: !!map {primary: source}\n'],
    ['line 2: "orders".primary has a tag', 'orders:\n  primary: !side source\n'],
    ['line 2: "orders".primary has an anchor', 'orders:\n  primary: &p source\n'],
    ['line 2: "orders".held is an alias', 'a: &t true\norders: {held: *t}\n'],
    ['line 3: "orders" merges another one', 'a: &a {primary: source}\norders:\n  <<: *a\n'],
    ['line 2: it holds several documents', 'a: 1\n---\norders: {}\n'],
    ['must be unique', 'orders: {}\norders: {}\n'],
    ['it is not YAML', 'a: [1\n'],
    ['line 1: it is not a mapping of phases', '- a\n'],
    ['line 1: "orders" is not a mapping', 'orders: source\n'],
    ['line 2: "orders".primary is neither source nor target', 'orders:\n  primary: left\n'],
    ['line 1: "orders".held is neither true nor false', 'orders: {held: yes}\n'],
    ['line 1: "orders".epoch is not a whole number', 'orders: {epoch: -1}\n'],
    ['line 2: "orders".primary is a block', 'orders:\n  primary: |-\n    source\n'],
    ['belongs to a block of text, has no line end', 'a:\n  - |\n    text'],
    // What looks like the end of the key stands in a comment.
    ['cannot be put into it without changing the rest', 'orders:\n  ? primary # a: b\n  :\n  held: true\n'],
  ])('refuses what it would break or does not understand: %s', (message, text) => {
    expect(() => written(yamlText, text)).toThrow(RouteTextError);
    expect(() => written(yamlText, text)).toThrow(message);
  });

  test('takes an epoch to the last digit, and phases with names that YAML takes for something else', () => {
    expect(readFrom(yamlText, 'orders: {epoch: 9007199254740993}').epoch).toBe(9_007_199_254_740_993n);
    const text = written(yamlText, 'a: 1\n', { null: TARGET, on: TARGET, true: TARGET });
    expect(Object.keys(parse(text, { version: '1.1' }))).toEqual(['a', 'null', 'on', 'true']);
    for (const phase of ['null', 'on', 'true']) expect(readFrom(yamlText, text, phase)).toEqual(TARGET);
  });
});

const LINES = 'SWITCHBACK_ORDERS=target\nSWITCHBACK_ORDERS_HELD=0\nSWITCHBACK_ORDERS_EPOCH=7\n';
const LINES_CRLF = LINES.replaceAll('\n', '\r\n');

describe('properties', () => {
  test.each([
    ['an empty file', '', LINES],
    ['no last line end', 'a=1', `a=1\n${LINES}`],
    ['CRLF', 'a=1\r\n', `a=1\r\n${LINES_CRLF}`],
    ['CR', 'a=1\r', `a=1\r${LINES.replaceAll('\n', '\r')}`],
    [
      'our key in comments',
      '# SWITCHBACK_ORDERS=x \\\n!SWITCHBACK_ORDERS=y\n',
      `# SWITCHBACK_ORDERS=x \\\n!SWITCHBACK_ORDERS=y\n${LINES}`,
    ],
    ['our key in a line that goes on', 'a=1,\\\n  SWITCHBACK_ORDERS=x\n', `a=1,\\\n  SWITCHBACK_ORDERS=x\n${LINES}`],
    [
      'our key as a part of others',
      'X_SWITCHBACK_ORDERS=x\nSWITCHBACK_ORDERS.y=1\n',
      `X_SWITCHBACK_ORDERS=x\nSWITCHBACK_ORDERS.y=1\n${LINES}`,
    ],
    // For Java the mark is a part of the first name.
    ['a byte-order mark', '\uFEFFSWITCHBACK_ORDERS=source\n', `\uFEFFSWITCHBACK_ORDERS=source\n${LINES}`],
    ['a last line that goes on', 'a=b\\\n', `a=b\\\n\n${LINES}`],
    ['the same without a line end', 'a=b\\', `a=b\\\n\n${LINES}`],
    ['backslashes that are text', 'a=b\\\\\n', `a=b\\\\\n${LINES}`],
    [
      'ours, spelt otherwise',
      '  SWITCHBACK_\\u004fRDERS : sou\\\r\n   rce\r\na=1\r\nSWITCHBACK_ORDERS_HELD 1\r\n',
      'SWITCHBACK_ORDERS=target\r\na=1\r\nSWITCHBACK_ORDERS_HELD=0\r\nSWITCHBACK_ORDERS_EPOCH=7\r\n',
    ],
    [
      'ours again and again',
      'SWITCHBACK_ORDERS=source\na=1\nSWITCHBACK_ORDERS\tsource',
      `SWITCHBACK_ORDERS=target\na=1\n${LINES.split('\n').slice(1).join('\n')}`,
    ],
  ])('keeps every other byte: %s', (_, before, after) => {
    expect(written(propertiesText, before)).toBe(after);
    expect(readFrom(propertiesText, after)).toEqual(TARGET);
    expect(written(propertiesText, after)).toBe(after);
  });

  test.each([
    ['SWITCHBACK_ORDERS = target', 'target'],
    ['SWITCHBACK_ORDERS:target', 'target'],
    ['SWITCHBACK_ORDERS\f target', 'target'],
    ['\t SWITCHBACK_ORDERS=\\u0074arget', 'target'],
    ['SWITCHBACK_ORDERS=source\nSWITCHBACK_ORDERS=target', 'target'],
    ['SWITCHBACK_ORDERS=tar\\\n\t get', 'target'],
    ['SWITCHBACK_ORDERS=', null],
    ['SWITCHBACK_ORDERS', null],
    ['SWITCHBACK\\_ORDERS=source', 'source'],
    ['SWITCHBACK_ORDERS=target\\\n\nx=1', 'target'],
  ])('reads as Java does: %j', (text, primary) => {
    expect(readFrom(propertiesText, text).primary).toBe(primary);
  });

  test.each([
    ['SWITCHBACK_ORDERS is neither', 'SWITCHBACK_ORDERS=target \n'],
    ['SWITCHBACK_ORDERS is neither', 'SWITCHBACK_ORDERS==target\n'],
    ['SWITCHBACK_ORDERS has a \\u without four digits', 'SWITCHBACK_ORDERS=\\u74arget\n'],
    ['SWITCHBACK_ORDERS_HELD is neither 0 nor 1', 'SWITCHBACK_ORDERS_HELD=true\n'],
    ['SWITCHBACK_ORDERS_EPOCH is not a whole number', 'SWITCHBACK_ORDERS_EPOCH=1.5\n'],
  ])('refuses what it does not understand: %s', (message, text) => {
    expect(() => readFrom(propertiesText, text)).toThrow(RouteTextError);
    expect(() => readFrom(propertiesText, text)).toThrow(message);
  });

  test('keeps any bytes of other people', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const before = Buffer.from(bytes);
        const after = propertiesText.write(before, new Map([['orders', TARGET]]));
        expect(after.subarray(0, before.length).equals(before)).toBe(true);
        expect(propertiesText.read(after, 'orders')).toEqual(TARGET);
      }),
    );
  });
});

describe('both', () => {
  const route = fc.record({
    primary: fc.constantFrom('source' as const, 'target' as const),
    held: fc.boolean(),
    epoch: fc.bigInt({ min: 0n, max: 2n ** 62n }),
  });
  const phases = fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/), route, { minKeys: 1, maxKeys: 4 });
  const noise = {
    yaml: [
      '# orders: {}',
      '',
      'K: 1  # one',
      'K: "é: # x"',
      'K:\n    - {a: [1, 2]}\n    - ~',
      'K: >+\n  text\n\n',
      'K:',
      "? K\n: 'x'",
    ],
    properties: ['# SWITCHBACK_A=x', '', 'K = 1', 'K: é \\u00e9 \\\\', 'K=a,\\\n   SWITCHBACK_A=b', '!\\', 'K\tx '],
  };

  test.each([
    ['yaml', yamlText],
    ['properties', propertiesText],
  ] as const)('%s: what is written is read again, and all around it is as it was', (name, form) => {
    const lines = fc.array(fc.constantFrom(...noise[name]), { maxLength: 6 });
    fc.assert(
      fc.property(phases, phases, lines, fc.constantFrom('\n', '\r\n'), (first, second, around, lineEnd) => {
        // Keys of other people: each once, and none that a phase has.
        const text = around.map((line, index) => `${line.replaceAll('K', `K${index}`)}\n`).join('');
        const before = Buffer.from(text.replaceAll('\n', lineEnd));
        const one = form.write(before, new Map(Object.entries(first)));
        expect(one.subarray(0, before.length).equals(before)).toBe(true);
        const more = Buffer.concat([one, Buffer.from(`Z${lineEnd === '\n' ? ': 1' : ':   "é"'}`)]);
        const two = form.write(more, new Map(Object.entries(second)));
        for (const [phase, expected] of Object.entries({ ...first, ...second })) {
          expect(form.read(two, phase)).toEqual(expected);
        }
        expect(two.subarray(0, before.length).equals(before)).toBe(true);
        expect(two.toString()).toContain(more.toString().slice(one.toString().length));
        expect(form.write(two, new Map(Object.entries(second)))).toEqual(two);
      }),
    );
  });
});
