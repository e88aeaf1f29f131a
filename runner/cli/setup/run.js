// SPDX-License-Identifier: Apache-2.0
// @ts-check
// node runner/cli/setup/run.js FILE.ts [arguments]: runs a TypeScript program of this project on a machine that may have
// nothing but an older Node and npm. package.json's scripts start here.

import { join } from 'node:path';

import { become, ensureNode, ensurePackages, fail, projectDirectory } from './bootstrap.js';

try {
  const [program, ...args] = process.argv.slice(2);
  if (program === undefined) throw new Error('run.js: name the program to run');
  const node = ensureNode();
  ensurePackages();
  become(node, [join(projectDirectory, program), ...args]);
} catch (error) {
  fail(error);
}
