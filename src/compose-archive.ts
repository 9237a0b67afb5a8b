import type { Plan } from './plan/load.ts';
import type { ObjectsPlan } from './plan/snapshot-plan.ts';
import { Envelope } from './platform/objects/envelope.ts';
import type { Objects } from './platform/objects/objects.ts';
import { openObjects } from './platform/objects/open.ts';
import { SealKey } from './platform/objects/seal-key.ts';
import { SealedObjects } from './platform/objects/sealed.ts';

/** Where the plan's lanes archive what they carry, or null where it has no archive. Connects to nothing yet. */
export const archiveFor = ({ soak, snapshots }: Plan): Objects | null => {
  if (soak.archive === null) return null;
  const secret = snapshots?.key ?? null;
  const key = secret === null ? null : SealKey.read(Buffer.from(secret).toString('hex'), 'snapshots.key');
  return new SealedObjects(new Envelope(objectsAt(soak.archive), { key, zstd: true }));
};

const objectsAt = (place: ObjectsPlan): Objects =>
  place.kind === 'directory'
    ? openObjects(place.path)
    : openObjects(`s3://${place.bucket}/${place.prefix}`, place.region ?? undefined);
