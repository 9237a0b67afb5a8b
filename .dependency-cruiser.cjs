// The import rules of docs/design.md, "Layout". Adapters are databases, engines, routers, snapshots and observers.
const ADAPTERS = '^src/(databases|engines|routers|snapshots|observers)/';
const PORTS =
  '^src/(databases/(client-path|clients|database|digests|schema|sessions|traces)|engines/(archive|engine|traces)|routers/router|snapshots/store)\\.ts$';
const DRIVERS =
  '(^|/)node_modules/(pg|pg-copy-streams|pg-logical-replication|mysql2|@vlasky/zongji|@aws-sdk|@kubernetes)(/|$)';

module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    { name: 'domain-is-pure', severity: 'error', from: { path: '^src/domain/' }, to: { path: '^src/(?!domain/)' } },
    {
      name: 'stages-see-ports-only',
      severity: 'error',
      from: { path: '^src/stages/' },
      to: { path: [ADAPTERS, '^src/(cli|compose|main|platform/postgres)'], pathNot: PORTS },
    },
    {
      name: 'stages-see-no-driver',
      severity: 'error',
      from: { path: '^src/(stages|domain|rows|sidecar|plan)/' },
      to: { path: DRIVERS },
    },
    {
      name: 'adapters-see-no-stages',
      severity: 'error',
      from: { path: ADAPTERS },
      to: { path: '^src/(stages|sidecar|cli|plan|compose|main)' },
    },
    {
      name: 'adapters-see-no-other-adapter',
      severity: 'error',
      from: { path: '^src/(databases|engines|routers|snapshots|observers)/' },
      to: { path: ADAPTERS, pathNot: ['^src/$1/', PORTS] },
    },
    {
      name: 'engines-see-no-other-engine',
      severity: 'error',
      from: { path: '^src/engines/([^/]+)/' },
      to: { path: '^src/engines/', pathNot: ['^src/engines/$1/', PORTS] },
    },
    {
      name: 'only-compose-imports-adapters',
      severity: 'error',
      from: { path: '^src/(cli|plan|sidecar|rows|platform)/' },
      to: { path: ADAPTERS, pathNot: PORTS },
    },
    {
      name: 'sidecar-is-low',
      severity: 'error',
      from: { path: '^src/(sidecar|rows|platform|plan)/' },
      to: { path: '^src/(stages|cli|compose|main)' },
    },
  ],
  options: {
    // TypeScript 7 has no JavaScript API, so the last version that has one is installed for this alone.
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
};
