import { describe, expect, it } from 'vitest';
import { isOurs, type Known, ownerFrom } from '../../src/stages/snapshots/ours.ts';

// `was` is the source that the run began on, `is` what a snapshot of it was restored to, `staging` another database whose plan
// has the same name and the same place.
const said = (identity: string, run: string, plan = 'shop') => ({ plan, identity, run });
const BEFORE = { id: 'before', owner: said('was', '') };
const IN_RUN = { id: 'in-run', owner: said('was', 'r1') };
const AFTER = { id: 'after', owner: said('is', 'r1') };
const EARLIER = { id: 'earlier', owner: said('was', 'r0') };
const THEIRS = { id: 'theirs', owner: said('staging', '') };
const THEIR_RUN = { id: 'their-run', owner: said('staging', 'r9') };
const OTHER = { id: 'other', owner: said('was', 'r1', 'my_shop') };
const UNREADABLE = { id: 'unreadable', owner: null };
const ALL = [BEFORE, IN_RUN, AFTER, EARLIER, THEIRS, THEIR_RUN, OTHER, UNREADABLE];

const row = (
  side: 'source' | 'target',
  identity: string,
  peer: string,
  restored?: string,
): NonNullable<Known['run']> => ({
  id: 'r1',
  side,
  identity,
  peer,
  facts:
    restored === undefined
      ? {}
      : { restored: { snapshot: restored, place: 'p', of: 'was', at: '', isReplayed: false, until: null } },
});

describe('which snapshots are ours', () => {
  it.each<[string, Known, readonly { readonly id: string }[], readonly string[]]>([
    ['before a run is begun', { identity: 'was', run: null }, [BEFORE, THEIRS, THEIR_RUN], ['before']],
    ['before a run, in staging', { identity: 'staging', run: null }, ALL, ['theirs', 'their-run']],
    [
      'in a run',
      { identity: 'was', run: row('source', 'was', 't') },
      [BEFORE, IN_RUN, EARLIER, THEIRS, THEIR_RUN, OTHER, UNREADABLE],
      ['before', 'in-run', 'earlier'],
    ],
    [
      'with the source lost, by the target',
      { identity: null, run: row('target', 't', 'was') },
      [BEFORE, IN_RUN, EARLIER, THEIRS, THEIR_RUN],
      ['before', 'in-run', 'earlier'],
    ],
    [
      'after a failback from a snapshot',
      { identity: 'is', run: row('source', 'is', 't', 'in-run') },
      ALL,
      ['before', 'in-run', 'after', 'earlier'],
    ],
    [
      'after a failback from one that was made before the run',
      { identity: 'is', run: row('source', 'is', 't', 'before') },
      [BEFORE, AFTER, EARLIER, THEIRS, OTHER],
      ['before', 'after', 'earlier'],
    ],
    [
      'after a failback, with no snapshot left that names the database from before',
      { identity: 'is', run: row('source', 'is', 't', 'gone') },
      [BEFORE, AFTER, THEIRS],
      ['before', 'after'],
    ],
    [
      'after it, by the target, with what was restored lost again',
      { identity: null, run: row('target', 't', 'is') },
      ALL,
      ['before', 'in-run', 'after', 'earlier'],
    ],
    ['with the source led elsewhere and no run there', { identity: 'new', run: null }, ALL, []],
    ['with nothing that answers, by the name', { identity: null, run: null }, ALL, ALL.slice(0, 6).map(({ id }) => id)],
    ['where the target has not been told of a source', { identity: null, run: row('target', 't', '') }, [THEIRS], []],
  ])('%s', (_when, known, snapshots, expected) => {
    const listed = snapshots as typeof ALL;
    const owner = ownerFrom({ name: 'shop' }, known, listed);
    expect(listed.filter((one) => isOurs(owner, one)).map(({ id }) => id)).toEqual(expected);
    expect(owner.isKnown).toBe(known.identity !== null || known.run !== null);
  });
});
