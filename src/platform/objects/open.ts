import { SwitchbackError } from '../../domain/errors.ts';
import { DirectoryObjects } from './directory.ts';
import type { Objects } from './objects.ts';
import { S3Objects } from './s3.ts';

const S3 = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/;

/**
 * Objects at a place as the plan names it: an absolute path, or `s3://bucket/prefix`. Connects to nothing yet. Throws kind
 * `usage` for anything else.
 */
export const openObjects = (to: string, region?: string): Objects => {
  const [, bucket, prefix = ''] = S3.exec(to) ?? [];
  if (bucket !== undefined) return new S3Objects({ bucket, prefix: prefix.replace(/^\/+|\/+$/g, ''), region });
  if (to.startsWith('/')) return new DirectoryObjects(to);
  throw new SwitchbackError('usage', `${to} is no place for objects`, {
    remedy: 'write the path of a directory, or s3://bucket/prefix',
  });
};
