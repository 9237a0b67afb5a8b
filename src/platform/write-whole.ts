import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

let writes = 0;

/**
 * Writes a file of any size, or replaces it, so that readers see the old text or the new one and never a part. The folder
 * has to be there. Throws the system's error, after which the old file is as it was.
 */
export const writeWhole = async (path: string, text: string): Promise<void> => {
  const temporary = join(dirname(path), `.${basename(path)}.switchback-${process.pid}-${++writes}`);
  const handle = await open(temporary, 'wx');
  try {
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
};
