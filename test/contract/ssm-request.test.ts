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
const ANSWERS: Readonly<Record<string, unknown[]>> = {
  // A page may be empty and not the last.
  DescribeParameters: [{ Parameters: [], NextToken: 'more' }, { Parameters: [METADATA] }],
  GetParameter: [{ Parameter: { Name: '/shop/db', Value: 'old.internal', Version: 4 } }],
  LabelParameterVersion: [{ InvalidLabels: [], ParameterVersion: 4 }],
  PutParameter: [{ Version: 5, Tier: 'Advanced' }],
};

const asked: (readonly [string, unknown])[] = [];
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const action = String(request.headers['x-amz-target']).replace('AmazonSSM.', '');
  asked.push([action, JSON.parse(body)]);
  response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(ANSWERS[action]?.shift()));
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

it('a parameter is written with everything that it had, after its version was labelled and looked at once more', async () => {
  const was = { text: 'old.internal', version: '4' };
  await new ParameterStore(undefined).replace({ id: '/shop/db', was, text: 'new.internal', to: 'target', epoch: 1n });
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
