import { writeFile } from 'node:fs/promises';
import { generatedFiles } from './generated.ts';

// Writes plan.schema.json and docs/plan.md from the plan's zod schema: npm run generate.
for (const { path, content } of await generatedFiles()) await writeFile(path, content);
