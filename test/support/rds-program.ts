import { rdsStore, specOf, waiting } from './rds-world.ts';

// One command on snapshots by RDS, as a process of its own that can be ended as by kill -9.
// node rds-program.ts KIND SOURCE create|restore|remove ID NAME COPY_REGION COPY_KEY

const [kind = '', source = '', command = '', id = '', name = '', region = '', kmsKey = ''] = process.argv.slice(2);

const store = rdsStore(
  { kind: kind === 'cluster' ? 'cluster' : 'instance', id: source },
  { copyTo: [{ region, kmsKey: kmsKey === '' ? null : kmsKey }], shareWith: ['123456789012'] },
);

switch (command) {
  case 'create':
    await store.create(specOf(id), waiting());
    break;
  case 'restore':
    await store.restore(id, { name, purpose: 'restore', at: null }, waiting());
    break;
  case 'remove':
    await store.remove(id, waiting());
    break;
  default:
    throw new Error(`no command ${command}`);
}
