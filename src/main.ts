import { keepCompiledCode } from './platform/code-cache.ts';
import { boundGarbage } from './platform/heap.ts';

// Before the modules are loaded: in a checkout every start would otherwise strip the types of some two hundred files again.
keepCompiledCode();
boundGarbage();
const { runCommandLine } = await import('./cli/cli.ts');

process.exitCode = await runCommandLine(process.argv.slice(2));
// What was printed into a pipe has to leave before the process does.
await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
// Sockets of a server that no longer answers would keep the process for minutes after all is said.
process.exit();
