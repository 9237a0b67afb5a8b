#!/usr/bin/env -S MALLOC_MMAP_THRESHOLD_=524288 node --max-semi-space-size=4
// The package's binary. In a checkout the sources run as they are (Node strips the types), so there is nothing to build
// and nothing stale; in the published package there are no sources and `dist` runs. Flag and variable keep the worker's
// memory flat; why, says src/platform/heap.ts.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = new URL('../src/main.ts', import.meta.url);
const built = new URL('../dist/main.js', import.meta.url);
const ownNode = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));
const main = existsSync(source) ? source : built;

if (Number(process.versions.node.split('.')[0]) >= 24) {
  await import(main.href);
} else if (existsSync(ownNode)) {
  const { status, signal } = spawnSync(
    ownNode,
    ['--max-semi-space-size=4', fileURLToPath(main), ...process.argv.slice(2)],
    { stdio: 'inherit', env: { ...process.env, MALLOC_MMAP_THRESHOLD_: '524288' } },
  );
  process.exitCode = signal ? 1 : (status ?? 1);
} else {
  process.stderr.write(`switchback needs Node 24 or newer; this is ${process.version}.\n`);
  process.exitCode = 2;
}
