/** How a route file is written. */
export const ROUTE_FORMATS = ['json', 'yaml', 'env', 'properties'] as const;

/** One of {@link ROUTE_FORMATS}. */
export type RouteFormat = (typeof ROUTE_FORMATS)[number];

const ENDINGS: Readonly<Record<string, RouteFormat>> = {
  json: 'json',
  yaml: 'yaml',
  yml: 'yaml',
  env: 'env',
  properties: 'properties',
};

/** The format that the end of a path tells, or null when it tells none. */
export const formatOfPath = (path: string): RouteFormat | null => {
  const [, ending = ''] = /\.([a-z]+)$/.exec(path) ?? [];
  return Object.hasOwn(ENDINGS, ending) ? (ENDINGS[ending] ?? null) : null;
};

/** Whether a format has a name for each value, as an environment has, and no mapping for each phase. */
export const hasVariables = (format: RouteFormat | null): boolean => format === 'env' || format === 'properties';
