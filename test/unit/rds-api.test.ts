import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RdsApi } from '../../src/snapshots/rds/api.ts';
import { failureOf } from '../contract/objects.ts';
import { QUICK } from '../support/rds-world.ts';

/** Counts how often it waits before it asks again, and does not wait. */
class Counting extends RdsApi {
  pauses = 0;

  constructor() {
    super({ region: 'eu-central-1', pace: { ...QUICK, attempts: 8 } });
  }

  override async pause(): Promise<void> {
    this.pauses += 1;
  }
}

describe('a question to AWS', () => {
  const answers: (readonly [status: number, body: string])[] = [];
  let asked = 0;
  const server = createServer((request, response) => {
    request.resume();
    asked += 1;
    const [status, body] = answers.shift() ?? [500, '{}'];
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(body);
  });

  beforeEach(async () => {
    asked = 0;
    answers.length = 0;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    vi.stubEnv('AWS_ENDPOINT_URL', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, '/nowhere/at-all');
  });

  afterEach(async () => {
    vi.unstubAllEnvs();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('is not asked again where there are no credentials', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
    const api = new Counting();
    expect(await failureOf(api.call('DescribeDBSnapshots', 'shop', {}))).toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining('CredentialsProviderError'),
      remedy: expect.stringContaining('AWS_PROFILE'),
    });
    expect([asked, api.pauses]).toEqual([0, 0]);
  });

  it('about a key is asked again where it was one too many', async () => {
    answers.push([400, '{"__type":"ThrottlingException","message":"Rate exceeded"}']);
    answers.push([200, '{"KeyMetadata":{"KeyManager":"CUSTOMER"}}']);
    const api = new Counting();
    expect(await api.managerOf('key')).toBe('CUSTOMER');
    expect([asked, api.pauses]).toEqual([2, 1]);
  });
});
