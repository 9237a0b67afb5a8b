/** The environment variables that tell an application of one phase's route. */
export interface RouteVariables {
  readonly primary: string;
  readonly held: string;
  readonly epoch: string;
}

/** `SWITCHBACK_ORDERS`, `SWITCHBACK_ORDERS_HELD`, `SWITCHBACK_ORDERS_EPOCH` for phase `orders`; a hyphen becomes `_`. */
export const routeVariables = (phase: string): RouteVariables => {
  const primary = `SWITCHBACK_${phase.toUpperCase().replaceAll('-', '_')}`;
  return { primary, held: `${primary}_HELD`, epoch: `${primary}_EPOCH` };
};
