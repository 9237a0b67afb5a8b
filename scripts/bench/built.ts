import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COMPILER = 'node_modules/typescript-7/bin/tsc';

let built: string | undefined;

/**
 * The program as the published package has it: `dist/main.js`, built from the sources that are there, once per process. A
 * checkout strips the types of its sources instead, which no user of the package waits for. Throws what the compiler said.
 */
export const builtProgram = (): string => {
  if (built !== undefined) return built;
  const argv = [COMPILER, '-p', 'tsconfig.build.json'];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`the program cannot be built: ${stdout}${stderr}`);
  built = `${ROOT}dist/main.js`;
  return built;
};
