import { makeTree, servicesDirectory } from './tree.ts';

// npm run services: what tests and benchmarks use and npm has not.
try {
  makeTree(servicesDirectory(), (line) => process.stdout.write(`${line}\n`));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
