import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BUILDER = 'node_modules/vite/bin/vite.js';

let built: string | undefined;

/**
 * The program as the published package has it: `dist/main.js`, built from the sources that are there, once per process. A
 * checkout loads every source by itself and strips its types, which no user of the package waits for. Throws what the build said.
 */
export const builtProgram = (): string => {
  if (built !== undefined) return built;
  const argv = [BUILDER, 'build', '--logLevel', 'warn'];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`the program cannot be built: ${stdout}${stderr}`);
  built = `${ROOT}dist/main.js`;
  return built;
};
