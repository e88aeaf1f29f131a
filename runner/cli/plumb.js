#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// @ts-check
// The command `plumb`: makes sure of a Node that runs TypeScript, then hands over to main.ts.

import { fileURLToPath } from 'node:url';

import { become, ensureNode, ensurePackages, fail } from './setup/bootstrap.js';

try {
  const node = ensureNode();
  ensurePackages();
  if (node === process.execPath) await import('./main.ts');
  else become(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)]);
} catch (error) {
  fail(error);
}
