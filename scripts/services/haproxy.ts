import { existsSync, globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ProxyProgram } from '../../src/demo/proxies.ts';
import { servicesDirectory } from './tree.ts';

/** HAProxy of the tree, run by the tree's own loader with its own libraries, which needs no root; undefined where there is none. */
export const proxyOfTree = (): ProxyProgram | undefined => {
  const tree = servicesDirectory();
  const program = join(tree, 'usr/sbin/haproxy');
  const [loader] = globSync(join(tree, 'usr/lib/*/ld-linux-*.so.*'));
  return loader !== undefined && existsSync(program) ? [loader, '--library-path', dirname(loader), program] : undefined;
};
