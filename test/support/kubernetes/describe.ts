import { afterAll, describe, test } from 'vitest';
import { FakeKubernetes } from './server.ts';

/**
 * Tests on a fake of an API server, started for the file. Where there is no openssl they are skipped, with a line that says
 * so; under CI=true that is a failure.
 */
export const describeOnFake = async (name: string, tests: (fake: FakeKubernetes) => void): Promise<void> => {
  const fake = await FakeKubernetes.start('shop');
  if (fake === null) {
    describe.skip(name, () => test('needs openssl', () => undefined));
    return;
  }
  describe(`${name}, on a fake of the API server`, () => {
    afterAll(() => fake.stop());
    tests(fake);
  });
};
