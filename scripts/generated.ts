import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SWITCH_STEPS } from '../src/domain/protocol.ts';
import { planJsonSchema } from '../src/plan/issues.ts';
import { promelaOf } from './promela.ts';
import { withProtocol } from './protocol-page.ts';
import { planReference, type SchemaNode } from './reference.ts';
import { withScaling } from './scaling-page.ts';

/** A file that is made from the sources and checked in. */
export interface GeneratedFile {
  /** Absolute. */
  readonly path: string;
  readonly content: string;
}

const fileAt = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Every generated file as it should be now. A test compares them with what is checked in. */
export const generatedFiles = async (): Promise<readonly GeneratedFile[]> => {
  const schema = planJsonSchema();
  const design = fileAt('docs/design.md');
  const scaling = fileAt('docs/scaling.md');
  return [
    { path: fileAt('plan.schema.json'), content: `${JSON.stringify(schema, null, 2)}\n` },
    { path: fileAt('docs/plan.md'), content: await planReference(schema as SchemaNode) },
    { path: design, content: withProtocol(await readFile(design, 'utf8')) },
    { path: scaling, content: withScaling(await readFile(scaling, 'utf8')) },
    { path: fileAt('test/model/protocol.pml'), content: promelaOf(SWITCH_STEPS) },
  ];
};
