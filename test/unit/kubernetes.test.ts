import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/routers/kubernetes/failures.ts';
import { addressText, leadPatch, leadsTo, splitAddress } from '../../src/routers/kubernetes/places.ts';
import { deploymentProgress, statefulSetProgress } from '../../src/routers/kubernetes/rollout.ts';
import { destinationsOf } from '../../src/routers/kubernetes/sides.ts';
import { schemaProblems } from '../support/kubernetes/schema.ts';
import { Refusal, Store } from '../support/kubernetes/store.ts';

describe('the fake of an API server refuses', () => {
  const problems = (model: string, value: object) => schemaProblems(value, { type: model, format: '' });

  test.each([
    ['an unknown field', 'V1Service', { spec: { externalname: 'a' } }, 'unknown field ".spec.externalname"'],
    ['a wrong type', 'V1ConfigMap', { data: { port: 5432 } }, '.data.port: 5432 is no string '],
    ['a Secret that is not base64', 'V1Secret', { data: { a: 'ä' } }, '.data.a: "ä" is no string byte'],
    ['a port with a fraction', 'V1EndpointSlice', { ports: [{ port: 1.5 }] }, '.ports[0].port: 1.5 is no number int32'],
    ['a list that is none', 'V1EndpointSlice', { endpoints: {} }, '.endpoints is no list'],
    ['an object that is none', 'V1Deployment', { spec: 'x' }, '.spec is no object'],
  ])('%s', (_, model, value, problem) => {
    expect(problems(model, value)).toEqual([problem]);
  });

  const stored = (): Store => {
    const store = new Store('shop');
    store.put('configmaps', 'a', { data: { key: 'x' } });
    return store;
  };
  const patchOf = (store: Store, patch: object) => () =>
    store.patch('configmaps', 'a', { patch: { ...patch }, isTried: false });

  test('a version that has moved on, and counts only what changes', () => {
    const store = stored();
    const version = () => (store.get('configmaps', 'a').metadata as { resourceVersion: string }).resourceVersion;
    const first = version();
    patchOf(store, { metadata: { resourceVersion: first }, data: { key: 'x' } })();
    expect(version()).toBe(first);
    patchOf(store, { metadata: { resourceVersion: first }, data: { key: 'y' } })();
    expect(version()).not.toBe(first);
    expect(patchOf(store, { metadata: { resourceVersion: first }, data: { key: 'z' } })).toThrow(Refusal);
  });

  test('an annotation whose name is none, and another uid', () => {
    expect(patchOf(stored(), { metadata: { annotations: { 'switchback/a/b': 'x' } } })).toThrow(
      /annotations: Invalid value/,
    );
    expect(patchOf(stored(), { metadata: { annotations: { [`switchback/${'a'.repeat(64)}`]: 'x' } } })).toThrow(
      Refusal,
    );
    expect(patchOf(stored(), { metadata: { uid: 'other' } })).toThrow(/metadata.uid: field is immutable/);
  });
});

describe('a rollout', () => {
  const spec = { replicas: 3, selector: {}, template: {} };
  const metadata = { generation: 2 };

  test.each([
    [{ observedGeneration: 1, updatedReplicas: 3, replicas: 3, availableReplicas: 3 }, 'its change is not seen yet'],
    [{ observedGeneration: 2, updatedReplicas: 1, replicas: 4, availableReplicas: 3 }, '1 of 3 pods are new'],
    [{ observedGeneration: 2, updatedReplicas: 3, replicas: 4, availableReplicas: 3 }, '1 old pods are left'],
    [{ observedGeneration: 2, updatedReplicas: 3, replicas: 3, availableReplicas: 2 }, '2 of 3 new pods are available'],
    [{ observedGeneration: 2, updatedReplicas: 3, replicas: 3, availableReplicas: 3 }, 'all of it is restarted'],
    [{ observedGeneration: 2 }, '0 of 3 pods are new'],
  ])('of a Deployment: %o', (status, fact) => {
    expect(deploymentProgress({ metadata, spec, status }).fact).toBe(fact);
  });

  test('of a Deployment without replicas is done', () => {
    expect(
      deploymentProgress({ metadata, spec: { ...spec, replicas: 0 }, status: { observedGeneration: 2 } }).state,
    ).toBe('done');
  });

  const sets = { ...spec, serviceName: 'a' };
  test.each([
    [{ observedGeneration: 1, currentRevision: 'b', updateRevision: 'b', availableReplicas: 3 }, 'under way'],
    [{ observedGeneration: 2, currentRevision: 'a', updateRevision: 'b', availableReplicas: 3 }, 'under way'],
    [{ observedGeneration: 2, currentRevision: 'b', updateRevision: 'b', availableReplicas: 2 }, 'under way'],
    [{ observedGeneration: 2, currentRevision: 'b', updateRevision: 'b', availableReplicas: 3 }, 'done'],
  ])('of a StatefulSet: %o', (status, state) => {
    expect(statefulSetProgress({ metadata, spec: sets, status: { replicas: 3, ...status } }).state).toBe(state);
  });
});

describe('addresses', () => {
  test.each([
    ['10.0.0.5', '10.0.0.5', null],
    ['10.0.0.5:5432', '10.0.0.5', 5432],
    ['fd00::5', 'fd00::5', null],
    ['[fd00::5]:5432', 'fd00::5', 5432],
    ['old.internal', 'old.internal', null],
    ['10.0.0.5:x', '10.0.0.5:x', null],
  ])('%s', (text, ip, port) => {
    expect(splitAddress(text)).toEqual({ ip, port });
  });

  test('have one spelling', () => {
    expect([addressText('10.0.0.5', 1), addressText('fd00::5', 1)]).toEqual(['10.0.0.5:1', '[fd00::5]:1']);
  });
});

test('a slice whose lists are null leads nowhere, and can be led', () => {
  // As Go writes a slice of its own that is empty; the library's types do not know of it.
  const slice = JSON.parse('{ "addressType": "IPv4", "endpoints": null, "ports": null }');
  const place = { ref: { of: 'endpointslice', name: 'db' }, key: '', held: null } as const;
  expect(leadsTo(place, slice)).toBeNull();
  expect(leadsTo(place, { ...slice, endpoints: [{ addresses: null }], ports: [{ port: 1 }] })).toBeNull();
  expect(leadPatch(place, slice, '10.0.0.5:5432')).toMatchObject({
    endpoints: [{ addresses: ['10.0.0.5'] }],
    ports: [{ port: 5432 }],
  });
});

describe('a connection that fails', () => {
  const kindOf = (code: string, verb: 'get' | 'patch', isTried = false): string => {
    const cause = Object.assign(new Error(code), { code });
    const asked = { verb, of: 'configmap', name: 'db', namespace: 'shop', isTried } as const;
    return failureOf('https://k', asked, new TypeError('fetch failed', { cause })).kind;
  };

  test.each([
    ['CERT_HAS_EXPIRED', ['refused', 'refused', 'refused']],
    ['ERR_TLS_CERT_ALTNAME_INVALID', ['refused', 'refused', 'refused']],
    ['ECONNREFUSED', ['unreachable', 'unreachable', 'unreachable']],
    // In the middle of an answer, it may be.
    ['ECONNRESET', ['unreachable', 'unreachable', 'unknown']],
    ['ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', ['unreachable', 'unreachable', 'unknown']],
  ])('%s: to a look, to a dry run, to a change', (code, kinds) => {
    expect([kindOf(code, 'get'), kindOf(code, 'patch', true), kindOf(code, 'patch')]).toEqual(kinds);
  });
});

describe('where an object leads for each side', () => {
  const [old, now] = ['postgresql://me@old.internal:5432/shop', 'postgresql://me@new.internal:5432/shop'];
  const place = (of: 'service' | 'endpointslice' | 'configmap') =>
    ({ ref: { of, name: 'db' }, key: of === 'configmap' ? 'host' : '', held: null }) as const;
  const led = (url: string, said: string | null = null) => ({ url, said });

  test('is taken from the URLs where the plan does not say it', () => {
    expect(destinationsOf(place('service'), { source: led(old), target: led(now) })).toEqual({
      source: 'old.internal',
      target: 'new.internal',
    });
    const byAddress = { source: led('postgresql://me@10.0.0.5/shop'), target: led(now, '10.0.0.6:6000') };
    expect(destinationsOf(place('endpointslice'), byAddress)).toEqual({
      source: '10.0.0.5:5432',
      target: '10.0.0.6:6000',
    });
  });

  test.each([
    [
      'an address for a name',
      'service',
      led(old),
      led(now, '10.0.0.6'),
      /the target, 10.0.0.6: an ExternalName is a DNS name/,
    ],
    [
      'a name for an address',
      'endpointslice',
      led(old, '10.0.0.5'),
      led(now),
      /the target, new.internal: endpoints are IP addresses/,
    ],
    ['nothing for a key', 'configmap', led(old, 'a'), led(now), /the plan does not say with what value/],
    ['twice the same', 'configmap', led(old, 'a'), led(now, 'a'), /it would say the same/],
    [
      'two ports for a name',
      'service',
      led(old),
      led('postgresql://me@new.internal:5433/shop'),
      /port 5432 and port 5433: an ExternalName has none/,
    ],
  ] as const)('cannot be %s', (_, of, source, target, message) => {
    expect(() => destinationsOf(place(of), { source, target })).toThrow(message);
  });
});
