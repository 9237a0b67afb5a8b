import { readFileSync, renameSync, writeFileSync } from 'node:fs';

// What the author of a plan would write for a `command` router: keeps each phase's route in a file of its own, compares
// and sets by the version, and refuses an older epoch.
// node route-program.ts FOLDER observe PHASE | hold PHASES | release PHASES | repoint PHASES SIDE EPOCH PREVIOUS

interface Stored {
  primary: string | null;
  held: boolean;
  edits: number;
  epoch: string;
}

const [folder = '', action = '', phases = '', side = '', epoch = '0', previous = ''] = process.argv.slice(2);

const fileOf = (phase: string): string => `${folder}/${phase}.json`;

const load = (phase: string): Stored => {
  try {
    return JSON.parse(readFileSync(fileOf(phase), 'utf8')) as Stored;
  } catch {
    return { primary: null, held: false, edits: 0, epoch: '0' };
  }
};

const save = (phase: string, route: Stored): void => {
  writeFileSync(`${fileOf(phase)}.${process.pid}`, JSON.stringify(route));
  renameSync(`${fileOf(phase)}.${process.pid}`, fileOf(phase));
};

const versionOf = (route: Stored): string => `${route.edits}:${route.primary}`;

const refuse = (why: string): never => {
  console.error(why);
  process.exit(1);
};

const names = phases.split(',');
const routes = names.map(load);

switch (action) {
  case 'observe':
    for (const route of routes) {
      console.log(JSON.stringify({ primary: route.primary, held: route.held, version: versionOf(route) }));
    }
    break;
  case 'hold':
  case 'release':
    for (const [index, route] of routes.entries()) save(names[index] ?? '', { ...route, held: action === 'hold' });
    break;
  case 'repoint':
    for (const [index, route] of routes.entries()) {
      if (BigInt(epoch) < BigInt(route.epoch)) refuse(`epoch ${epoch} is older than ${route.epoch}`);
      if (versionOf(route) !== previous.split(',')[index]) refuse(`${names[index]} has moved on`);
    }
    for (const [index, route] of routes.entries()) {
      save(names[index] ?? '', { ...route, primary: side, epoch, edits: route.edits + 1 });
    }
    break;
  default:
    refuse(`unknown action ${action}`);
}
