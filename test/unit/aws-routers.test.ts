import { afterEach, describe, expect, it, vi } from 'vitest';
import { SwitchbackError } from '../../src/domain/errors.ts';
import { awsError } from '../../src/platform/aws/errors.ts';
import { ask } from '../../src/platform/aws/request.ts';
import { ledValues, recordValues } from '../../src/routers/aws/sides.ts';
import { ParameterStore } from '../../src/routers/aws/ssm.ts';
import { ValueRouter } from '../../src/routers/aws/value-router.ts';
import type { ValueStore } from '../../src/routers/aws/value-store.ts';

const OLD = 'postgresql://us:secret@old.example:5433/shop';
const NEW = 'postgresql://us:secret@new.example/';

describe('what leads to a side', () => {
  it("is taken from the side's URL where the plan says nothing", () => {
    const sides = { source: { url: OLD, said: undefined }, target: { url: NEW, said: undefined } };
    expect(recordValues('CNAME', sides)).toEqual({ source: ['old.example'], target: ['new.example'] });
    expect(ledValues(sides)).toEqual({
      source: { host: 'old.example', port: 5433, dbname: 'shop' },
      target: { host: 'new.example', port: 5432, dbname: 'us' },
    });
  });

  it.each([
    ['CNAME', '10.0.0.1', '10.0.0.1 is no value of a CNAME'],
    ['A', 'new.example', 'new.example is no value of an A record'],
    ['A', '2001:db8::1', '2001:db8::1 is no value of an A record'],
    ['AAAA', '10.0.0.1', '10.0.0.1 is no value of an AAAA record'],
  ] as const)('cannot be of another type than the record: %s %s', (type, value, message) => {
    const fit = { CNAME: 'old.example', A: '10.0.0.9', AAAA: '2001:db8::9' }[type];
    const sides = { source: { url: OLD, said: [fit] }, target: { url: NEW, said: [value] } };
    expect(() => recordValues(type, sides)).toThrow(
      expect.objectContaining({ kind: 'usage', message, remedy: expect.stringContaining("the router's `target`") }),
    );
  });

  it('has to tell the sides apart', () => {
    const led = { source: { host: 'same', port: 1 }, target: { host: 'same', port: '1' } };
    const make = () => new ValueRouter(new ParameterStore(undefined), { ids: new Map([['all', '/shop']]), led });
    expect(make).toThrow(
      expect.objectContaining({ kind: 'usage', message: 'parameter /shop would say the same of both sides' }),
    );
  });
});

describe('values of several phases', () => {
  it('are all taken back that can be when a later one is refused, and the others are named behind the refusal', async () => {
    const texts = new Map(['a', 'b', 'c', 'd'].map((id) => [id, 'old']));
    const refuse = (kind: 'refused' | 'unreachable', said: string) => {
      throw new SwitchbackError(kind, said, { remedy: 'do this' });
    };
    const store: ValueStore = {
      nameOf: (id) => `value ${id}`,
      read: async (id) => ({ text: texts.get(id) ?? '', version: '1' }),
      replace: async ({ id, text }) => {
        if (id === 'd') refuse('refused', 'd is not ours');
        texts.set(id, text);
        return async () => {
          if (id === 'b') refuse('unreachable', 'no answer');
          texts.set(id, 'old');
        };
      },
      findings: async () => [],
    };
    const phases = [...texts.keys()];
    const ids = new Map(phases.map((id) => [id, id]));
    const router = new ValueRouter(store, { ids, led: { source: 'old', target: 'new' } });
    const seen = Object.fromEntries(phases.map((id) => [id, '1']));
    await expect(router.repoint({ phases, to: 'target', epoch: 1n, expect: seen })).rejects.toMatchObject({
      kind: 'refused',
      message: 'd is not ours',
      remedy: 'not taken back: value b (no answer); see where these lead; do this',
    });
    expect([...texts.values()]).toEqual(['old', 'new', 'old', 'old']);
  });
});

describe('an answer of AWS', () => {
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllEnvs();
  });

  const answer = (parts: object): Error => Object.assign(new Error('said'), parts);
  const status = (httpStatusCode: number, name = 'Strange') => answer({ name, $metadata: { httpStatusCode } });

  it.each([
    ['TooManyUpdates, which is a 400', status(400, 'TooManyUpdates'), 'unreachable', 'unreachable'],
    ['a token that has expired', status(400, 'ExpiredTokenException'), 'refused', 'refused'],
    ['any other 400', status(400), 'refused', 'refused'],
    ['429', status(429), 'unreachable', 'unreachable'],
    ['500, after which a change may have been made', status(500), 'unreachable', 'unknown'],
    ['a connection that was lost', answer({ code: 'ECONNRESET' }), 'unreachable', 'unknown'],
    ['our own time limit', answer({ name: 'AbortError' }), 'unreachable', 'unknown'],
    ['nobody who listens', answer({ code: 'ECONNREFUSED' }), 'unreachable', 'unreachable'],
    [
      'nobody who listens any more, after an attempt whose answer was lost',
      answer({ code: 'ECONNREFUSED', $metadata: { attempts: 2 } }),
      'unreachable',
      'unknown',
    ],
    ['no credentials', answer({ name: 'CredentialsProviderError' }), 'unreachable', 'unreachable'],
  ])('is of the kind that says what to do: %s', (_, error, reading, writing) => {
    expect([false, true].map((writes) => awsError({ what: 'it', writes }, error).kind)).toEqual([reading, writing]);
  });

  it('is not waited for longer than it may take, also when the credentials hang', async () => {
    vi.useFakeTimers();
    const hanging = ask({ what: 'it' }, () => new Promise(() => undefined));
    const failed = expect(hanging).rejects.toMatchObject({ kind: 'unreachable' });
    await vi.runAllTimersAsync();
    await failed;
  });

  it('names what is missing before anything is asked', async () => {
    for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_PROFILE']) vi.stubEnv(name, undefined);
    for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, '/dev/null');
    vi.stubEnv('AWS_ENDPOINT_URL', 'http://127.0.0.1:1');
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    await expect(new ParameterStore(undefined).read('/shop')).rejects.toMatchObject({
      kind: 'refused',
      remedy: "write the router's `region`, or set AWS_REGION",
    });
    await expect(new ParameterStore('eu-central-1').read('/shop')).rejects.toMatchObject({ kind: 'unreachable' });
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    await expect(new ParameterStore('eu-central-1').read('/shop')).rejects.toMatchObject({
      kind: 'unreachable',
      remedy: expect.stringContaining('AWS_PROFILE'),
    });
  });
});
