import { byPhase } from './instances.ts';
import type { PlanDocument } from './schema.ts';
import { listOf } from './values.ts';

/** What a value says when it leads to a side: the whole of it, or what stands under some keys of a JSON object. */
export type LedPlan = string | Readonly<Record<string, string | number>>;

/** Records of one hosted zone. */
export interface Route53RouterPlan {
  readonly kind: 'route53';
  readonly zone: string;
  readonly region: string | undefined;
  readonly type: 'CNAME' | 'A' | 'AAAA';
  /** The record of each phase that the router leads. */
  readonly records: ReadonlyMap<string, string>;
  /** Where it is not written, the host of the side's URL. */
  readonly source: readonly string[] | undefined;
  readonly target: readonly string[] | undefined;
}

/** Named values of a store, one for each phase that the router leads. */
export interface ValueRouterPlan {
  readonly kind: 'secrets-manager' | 'ssm';
  readonly region: string | undefined;
  readonly ids: ReadonlyMap<string, string>;
  /** Where it is not written, host, port and dbname of the side's URL. */
  readonly source: LedPlan | undefined;
  readonly target: LedPlan | undefined;
}

/** A router that is led by the API of AWS. */
export type AwsRouterPlan = Route53RouterPlan | ValueRouterPlan;

type AwsRouterDocument = Extract<PlanDocument['routers'][string], { kind: AwsRouterPlan['kind'] }>;

/** A router of AWS as the plan sets it up; `phases` are those that it leads. */
export const awsRouterOf = (router: AwsRouterDocument, phases: readonly string[]): AwsRouterPlan => {
  switch (router.kind) {
    case 'route53': {
      const { kind, zone, region, type, record, records, source, target } = router;
      const listed = (value: typeof source) => (value === undefined ? undefined : listOf(value));
      const sides = { source: listed(source), target: listed(target) };
      return { kind, zone, region, type, records: byPhase(record, records, phases), ...sides };
    }
    case 'secrets-manager': {
      const { kind, region, secret, secrets, source, target } = router;
      return { kind, region, ids: byPhase(secret, secrets, phases), source, target };
    }
    case 'ssm': {
      const { kind, region, parameter, parameters, source, target } = router;
      return { kind, region, ids: byPhase(parameter, parameters, phases), source, target };
    }
  }
};
