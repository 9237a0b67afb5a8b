import { isAbsolute } from 'node:path';
import { readContent } from '../../platform/replace-file.ts';
import { includesOf } from './ini.ts';

/** The files of a pooler's configuration, as far as they can be read on this machine. */
export interface ConfigFiles {
  /** Real paths. */
  readonly read: ReadonlySet<string>;
  /** As they are named where they are included. */
  readonly unread: readonly string[];
}

/** Follows a pooler's own file and what it includes. */
export const configFiles = async (conffile: string): Promise<ConfigFiles> => {
  const read = new Set<string>();
  const unread: string[] = [];
  const follow = async (path: string): Promise<void> => {
    // In which folder a relative path begins only the pooler knows.
    const content = isAbsolute(path) ? await readContent(path).catch(() => null) : null;
    if (content === null || content.bytes === null) {
      unread.push(path);
      return;
    }
    if (read.has(content.path)) return;
    read.add(content.path);
    for (const included of includesOf(content.bytes)) await follow(included);
  };
  await follow(conffile);
  return { read, unread };
};
