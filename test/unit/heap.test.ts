import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ROWS_PROCESS } from '../../src/platform/heap.ts';

test("the package's binary starts Node as our own processes do", () => {
  const binary = readFileSync(new URL('../../scripts/switchback.js', import.meta.url), 'utf8');
  const { flags, variables } = ROWS_PROCESS;
  const [[name, value] = ['', '']] = Object.entries(variables);
  expect(binary.split('\n')[0]).toBe(`#!/usr/bin/env -S ${name}=${value} node ${flags.join(' ')}`);
  expect(binary).toContain(`['${flags.join("', '")}', fileURLToPath(main), ...process.argv.slice(2)]`);
  expect(binary).toContain(`{ ...process.env, ${name}: '${value}' }`);
});
