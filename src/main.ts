import { runCommandLine } from './cli/cli.ts';

process.exitCode = await runCommandLine(process.argv.slice(2));
// Sockets of a server that no longer answers would keep the process for minutes after all is said.
process.exit();
