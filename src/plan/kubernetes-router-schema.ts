import { z } from 'zod';
import { probe } from './probe-schema.ts';
import { duration, MOST_ITEMS, name, text } from './values.ts';

/** RFC 1123, as names of namespaces, Services and workloads. */
const DNS_NAME = '[a-z0-9]([-a-z0-9.]*[a-z0-9])?';
const OBJECT = new RegExp(
  `^((service|endpointslice|endpoints)/${DNS_NAME}|(configmap|secret)/${DNS_NAME}/[-._A-Za-z0-9]+)$`,
);
const WORKLOAD = new RegExp(`^(deployment|statefulset)/${DNS_NAME}$`);

const object = () =>
  z
    .string()
    .regex(
      OBJECT,
      'is no object; write service/NAME, endpointslice/NAME, endpoints/NAME, configmap/NAME/KEY or secret/NAME/KEY',
    );

const hasKey = (value: string): boolean => /^(configmap|secret)\//.test(value);

const side = (which: 'source' | 'target') =>
  text()
    .optional()
    .meta({
      description: `What the object says when it leads to the ${which}: a DNS name (service), an address with or without its port (endpointslice, endpoints), or the value of the key, for which it is required. Without it, host and port of \`${which}.url\`.`,
      examples: [`${which === 'source' ? 'old' : 'new'}.internal`],
    });

/** Objects of a Kubernetes cluster. */
export const kubernetesRouter = z
  .strictObject({
    kind: z.literal('kubernetes').meta({ description: 'Objects of a Kubernetes cluster that lead clients.' }),
    kubeconfig: text()
      .optional()
      .meta({
        description:
          'The kubeconfig. Relative to the folder of the plan. Without it, the service account of our own pod.',
        examples: ['/etc/switchback/kubeconfig'],
      }),
    context: text()
      .optional()
      .meta({
        description: 'A context of the kubeconfig. Without it, the one that is current there.',
        examples: ['production'],
      }),
    namespace: z
      .string()
      .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'is no name of a namespace; use a-z, 0-9 and -')
      .meta({ description: 'The namespace of the objects.', examples: ['shop'] }),
    object: object()
      .optional()
      .meta({
        description: 'What leads clients, when the router leads one phase. It has to be there already.',
        examples: ['configmap/shop-database/DATABASE_HOST'],
      }),
    objects: z
      .record(name(), object())
      .optional()
      .meta({
        description:
          'What leads clients of each phase, when the router leads several: no two share an object, or a key.',
        examples: [{ catalog: 'service/catalog-db', orders: 'service/orders-db' }],
      }),
    held: z
      .boolean('must be true or false; write it without quotes')
      .prefault(false)
      .meta({
        description:
          'With a key of a ConfigMap or a Secret: whether another key, of the same name with `_HELD` behind it, is 1 while clients are to wait and else 0. The application has to watch it, so it cannot be one that is restarted by `restart`.',
        examples: [true],
      }),
    source: side('source'),
    target: side('target'),
    restart: z
      .strictObject({
        workloads: z
          .array(z.string().regex(WORKLOAD, 'is no workload; write deployment/NAME or statefulset/NAME'))
          .min(1, 'is an empty list; give at least one, or leave `restart` out')
          .max(MOST_ITEMS)
          .meta({ description: 'What reads the object only when it starts.', examples: [['deployment/shop-web']] }),
        within: duration({
          atLeastMs: 1_000,
          otherwise: '5m',
          description:
            'How long a repoint waits until all of their pods are new. What is late is shown, and waited for again by `resume`.',
          examples: ['10m'],
        }),
      })
      .optional()
      .meta({ description: 'What is restarted after the object has changed, as `kubectl rollout restart` does.' }),
    probe,
  })
  .refine((value) => (value.object === undefined) !== (value.objects === undefined), {
    error: 'needs exactly one of `object` and `objects`; keep the one that is meant',
  })
  .refine(
    ({ object: one, objects = {}, source, target }) =>
      (source !== undefined && target !== undefined) || ![one ?? '', ...Object.values(objects)].some(hasKey),
    { error: 'leads by a key; write its value for each side as `source` and `target`' },
  )
  .refine(
    ({ held, objects = {} }) => {
      const written = Object.values(objects);
      return !held || !written.some((key) => written.includes(`${key}_HELD`));
    },
    { error: 'leads a phase by the key that would tell clients of another one to wait; rename one of them' },
  )
  .refine(({ held, object: one, objects = {} }) => !held || [one ?? '', ...Object.values(objects)].some(hasKey), {
    error: 'says `held`, and leads by no key; take `held` out, since nothing else tells an application to wait',
  })
  // Pods that are restarted before the release would read that they are to wait, and never that they may go on.
  .refine(({ held, restart }) => !held || restart === undefined, {
    error:
      'says `held` and `restart`: what reads only when it starts would wait for ever; take `held` out, or let the application watch the object and take `restart` out',
  })
  .refine(({ kubeconfig, context }) => context === undefined || kubeconfig !== undefined, {
    error: 'says `context`, and no `kubeconfig` that has it; add `kubeconfig`, or take `context` out',
  });
