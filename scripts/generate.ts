import { writeFile } from 'node:fs/promises';
import { generatedFiles } from './generated.ts';

// Writes what is made from the plan's zod schema and from the protocol's table: npm run generate.
for (const { path, content } of await generatedFiles()) await writeFile(path, content);
