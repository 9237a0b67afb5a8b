import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseDocument } from 'yaml';
import { CommandRouter } from '../../src/routers/command.ts';
import { FileRouter } from '../../src/routers/file.ts';
import { type RouterUnderTest, routerContract } from './router.ts';

const folderOf = (): Promise<string> => mkdtemp(join(tmpdir(), 'switchback-router-'));

const removeFolder = (folder: string) => (): Promise<void> => rm(folder, { recursive: true });

/** What somebody with an editor does to a file that may not be there yet. */
const rewrite = async (path: string, change: (text: string) => string): Promise<void> => {
  const text = await readFile(path, 'utf8').catch(() => '');
  await writeFile(path, change(text));
};

routerContract('file, json', async (): Promise<RouterUnderTest> => {
  const folder = await folderOf();
  const path = join(folder, 'primary.json');
  return {
    open: () => new FileRouter({ path, format: 'json' }),
    edit: (phase, primary) =>
      rewrite(path, (text) => {
        const routes = JSON.parse(text || '{}') as Record<string, object>;
        return JSON.stringify({ ...routes, [phase]: { ...routes[phase], primary } });
      }),
    remove: removeFolder(folder),
  };
});

routerContract('file, env', async (): Promise<RouterUnderTest> => {
  const folder = await folderOf();
  const path = join(folder, 'primary.env');
  return {
    open: () => new FileRouter({ path, format: 'env' }),
    // The last line counts, as in a shell.
    edit: (phase, primary) => rewrite(path, (text) => `${text}SWITCHBACK_${phase.toUpperCase()}="${primary}"\n`),
    remove: removeFolder(folder),
  };
});

routerContract('file, yaml', async (): Promise<RouterUnderTest> => {
  const folder = await folderOf();
  const path = join(folder, 'primary.yaml');
  await writeFile(path, '# of the application\r\npool: {max: 10}\r\n');
  return {
    open: () => new FileRouter({ path, format: 'yaml' }),
    edit: (phase, primary) =>
      rewrite(path, (text) => {
        const document = parseDocument(text);
        document.setIn([phase, 'primary'], primary);
        return String(document);
      }),
    remove: removeFolder(folder),
  };
});

routerContract('file, properties', async (): Promise<RouterUnderTest> => {
  const folder = await folderOf();
  const path = join(folder, 'primary.properties');
  await writeFile(path, '! of the application\r\nhosts = a, \\\r\n    b\r\n');
  return {
    open: () => new FileRouter({ path, format: 'properties' }),
    // The last one counts, however it is written.
    edit: (phase, primary) => rewrite(path, (text) => `${text}SWITCHBACK_${phase.toUpperCase()} : \\\n  ${primary}\n`),
    remove: removeFolder(folder),
  };
});

const PROGRAM = fileURLToPath(new URL('../support/route-program.ts', import.meta.url));

routerContract('command', async (): Promise<RouterUnderTest> => {
  const folder = await folderOf();
  const program = [process.execPath, PROGRAM, folder];
  return {
    open: () =>
      new CommandRouter({
        observe: [...program, 'observe', '{phase}'],
        hold: [...program, 'hold', '{phases}'],
        repoint: [...program, 'repoint', '{phases}', '{side}', '{epoch}', '{previous}'],
        release: [...program, 'release', '{phases}'],
        timeoutMs: 20_000,
        directory: folder,
        environment: process.env,
      }),
    edit: (phase, primary) =>
      rewrite(join(folder, `${phase}.json`), (text) => {
        const route = JSON.parse(text || '{"held":false,"epoch":"0","edits":0}') as { edits: number };
        return JSON.stringify({ ...route, primary, edits: route.edits + 1 });
      }),
    remove: removeFolder(folder),
  };
});
