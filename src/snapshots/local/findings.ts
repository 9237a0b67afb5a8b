import { isKind, messageOf } from '../../domain/errors.ts';
import type { Finding } from '../../domain/finding.ts';
import type { Objects } from '../../platform/objects/objects.ts';
import type { PostgresServer } from '../../platform/postgres/server.ts';
import { readFacts, versionOf } from './database.ts';
import { majorOf, programIn } from './program.ts';
import type { Spool } from './spool.ts';

/** What a store that runs PostgreSQL's programs is looked at with. */
export interface Looked {
  readonly source: PostgresServer;
  readonly objects: Objects;
  readonly spool: Spool;
  readonly bin: string | null;
  /** Names of the programs that it runs. */
  readonly programs: readonly string[];
}

/** Programs that are missing or older than the source, a place that does not answer, and too little room. */
export const findingsOf = async (looked: Looked): Promise<readonly Finding[]> => {
  const { text, major } = await versionOf(looked.source);
  const programs = await Promise.all(looked.programs.map((name) => programFinding(looked, name, { text, major })));
  return [...programs.flat(), ...(await placeFindings(looked.objects)), ...(await roomFindings(looked))];
};

const programFinding = async (
  { bin }: Looked,
  name: string,
  server: { readonly text: string; readonly major: number },
): Promise<readonly Finding[]> => {
  const subject = programIn(bin, name);
  const remedy = `install PostgreSQL's programs of version ${server.major} or later, or name their folder in \`snapshots.bin\` of the plan`;
  try {
    const major = await majorOf(subject);
    if (major >= server.major) return [];
    const fact = `it is of version ${major}, and the source is ${server.text}`;
    return [{ id: 'snapshot/program', severity: 'blocks', subject, fact, remedy }];
  } catch (error) {
    if (!isKind(error, 'usage')) throw error;
    return [{ id: 'snapshot/program', severity: 'blocks', subject, fact: messageOf(error), remedy }];
  }
};

/** Whether the place can be read; whether it can be written is known when something is written, since this changes nothing. */
const placeFindings = async (objects: Objects): Promise<readonly Finding[]> => {
  try {
    for await (const _ of objects.list('')) break;
    return [];
  } catch (error) {
    if (!isKind(error, 'refused') && !isKind(error, 'unreachable')) throw error;
    const remedy = error.remedy ?? 'correct `snapshots.to` of the plan';
    return [{ id: 'snapshot/place', severity: 'blocks', subject: objects.label, fact: messageOf(error), remedy }];
  }
};

/** How much a dump takes cannot be known before; as much as the database itself is on the safe side for tables that compress. */
const roomFindings = async ({ source, spool }: Looked): Promise<readonly Finding[]> => {
  const [{ bytes }, free] = [await readFacts(source), await spool.free()];
  if (free >= BigInt(bytes)) return [];
  return [
    {
      id: 'snapshot/room',
      severity: 'warns',
      subject: spool.label,
      fact: `${free} bytes are free, and the database has ${bytes}: it may not fit while it is made or proven`,
      remedy: 'make room there, or name another place in `snapshots.to`; with S3, let TMPDIR name a larger disk',
    },
  ];
};
