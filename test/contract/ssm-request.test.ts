import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { ParameterStore } from '../../src/routers/aws/ssm.ts';
import { useEndpoint } from '../support/moto.ts';

/**
 * What PutParameter is told. For what it is not told AWS takes the account's defaults, such as its own key; moto takes what the
 * parameter had, so that it cannot show what is missing. These answers are made up, after AWS's API reference.
 */
const METADATA = {
  Name: '/shop/db',
  Type: 'SecureString',
  KeyId: 'alias/shop',
  Tier: 'Advanced',
  Description: 'of the shop',
  AllowedPattern: '^[a-z.]+$',
  DataType: 'text',
  Policies: [
    { PolicyType: 'Expiration', PolicyText: '{"Type":"Expiration"}', PolicyStatus: 'Pending' },
    { PolicyType: 'NoChangeNotification', PolicyText: '{"Type":"NoChangeNotification"}', PolicyStatus: 'Pending' },
  ],
};
const shown = (Value: string, Version: number) => ({ Parameter: { Name: '/shop/db', Value, Version } });
/** Each of the SDK's three attempts. */
const LOST = ['lost', 'lost', 'lost'];
type Answers = Readonly<Record<string, readonly unknown[]>>;
const ANSWERS: Answers = {
  // A page may be empty and not the last.
  DescribeParameters: [{ Parameters: [], NextToken: 'more' }, { Parameters: [METADATA] }],
  GetParameter: [shown('old.internal', 4)],
  LabelParameterVersion: [{ InvalidLabels: [], ParameterVersion: 4 }],
  PutParameter: [{ Version: 5, Tier: 'Advanced' }],
};

let answers: Record<string, unknown[]> = {};
const asked: (readonly [string, unknown])[] = [];
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const action = String(request.headers['x-amz-target']).replace('AmazonSSM.', '');
  asked.push([action, JSON.parse(body)]);
  const answer = answers[action]?.shift();
  if (answer === 'lost') return void request.socket.destroy();
  response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(answer));
});

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  useEndpoint(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
afterAll(() => {
  vi.unstubAllEnvs();
  server.closeAllConnections();
  server.close();
});

const replace = async (other: Answers = {}): Promise<unknown> => {
  answers = Object.fromEntries(Object.entries({ ...ANSWERS, ...other }).map(([action, list]) => [action, [...list]]));
  asked.length = 0;
  const was = { text: 'old.internal', version: '4' };
  return await new ParameterStore(undefined).replace({
    id: '/shop/db',
    was,
    text: 'new.internal',
    to: 'target',
    epoch: 1n,
  });
};
const putValues = (): readonly unknown[] =>
  asked.flatMap(([action, body]) => (action === 'PutParameter' ? (body as { readonly Value: unknown }).Value : []));

it('a parameter is written with everything that it had, after its version was labelled and looked at once more', async () => {
  await replace();
  expect(asked.map(([action]) => action)).toEqual([
    'DescribeParameters',
    'DescribeParameters',
    'LabelParameterVersion',
    'GetParameter',
    'PutParameter',
  ]);
  expect(asked[2]?.[1]).toEqual({ Name: '/shop/db', ParameterVersion: 4, Labels: ['switchback-before'] });
  expect(asked[4]?.[1]).toEqual({
    ...METADATA,
    Policies: '[{"Type":"Expiration"},{"Type":"NoChangeNotification"}]',
    Value: 'new.internal',
    Overwrite: true,
  });
});

it.each<readonly [string, Answers]>([
  [
    'the answer to the write was lost',
    {
      PutParameter: [...LOST, { Version: 7 }],
      GetParameter: [
        shown('old.internal', 4),
        shown('new.internal', 6),
        shown('theirs.internal', 5),
        shown('new.internal', 6),
      ],
    },
  ],
  [
    'the versions in between could not be read at first',
    {
      PutParameter: [{ Version: 6 }, { Version: 7 }],
      GetParameter: [
        shown('old.internal', 4),
        ...LOST,
        shown('new.internal', 6),
        shown('theirs.internal', 5),
        shown('new.internal', 6),
      ],
    },
  ],
])('what somebody wrote right before ours is given back although %s', async (_, other) => {
  await expect(replace(other)).rejects.toMatchObject({
    kind: 'refused',
    remedy: expect.stringContaining('version 5, is the current one again after ours, version 6'),
  });
  expect(putValues().at(-1)).toBe('theirs.internal');
});

it('a write whose answer was lost, and that did not happen, is not known to have', async () => {
  const GetParameter = [shown('old.internal', 4), shown('old.internal', 4)];
  await expect(replace({ PutParameter: LOST, GetParameter })).rejects.toMatchObject({ kind: 'unknown' });
  expect(putValues()).toHaveLength(LOST.length);
});
