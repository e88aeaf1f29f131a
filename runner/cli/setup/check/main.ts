// SPDX-License-Identifier: Apache-2.0
// npm run check: types, lint, format, import rules, dead code, links of the documentation, lockfile. All are run; each
// prints what it finds. Exit code 1 when any finds something. --fix formats, mends what the linter can, completes the lockfile.

import { join } from 'node:path';

import { fail, projectDirectory } from '../bootstrap.js';
import { runChild } from '../child.ts';
import { forbiddenImports } from './imports.ts';
import { brokenLinks } from './links.ts';
import { completeLockfile, missingEntries, readLockfile } from './lockfile.ts';

interface Check {
  readonly name: string;
  /** Resolves to what is wrong, or to nothing. */
  readonly run: () => Promise<string>;
}

const fix = process.argv.includes('--fix');
const lockfile = join(projectDirectory, 'package-lock.json');

const checks: readonly Check[] = [
  { name: 'types', run: () => tool('typescript/bin/tsc', ['--noEmit', '--pretty', 'false']) },
  { name: 'lint', run: () => tool('oxlint/bin/oxlint', ['--quiet', ...(fix ? ['--fix'] : [])]) },
  { name: 'format', run: () => tool('oxfmt/bin/oxfmt', fix ? ['.'] : ['--check', '.']) },
  { name: 'dead code', run: () => tool('knip/bin/knip.js', ['--no-progress']) },
  {
    name: 'import rules',
    run: async () =>
      forbiddenImports(projectDirectory)
        .map(
          ({ file, imported, rule }) =>
            `${file} imports ${imported}; ${rule.folder} may import ${[rule.folder, ...rule.may].join(', ')}`,
        )
        .join('\n'),
  },
  {
    name: 'links',
    run: async () =>
      brokenLinks(projectDirectory)
        .map(({ file, link, reason }) => `${file}: ${link}: ${reason}`)
        .join('\n'),
  },
  {
    name: 'lockfile',
    run: async () => {
      if (fix) completeLockfile(lockfile);
      const missing = Object.keys(missingEntries(readLockfile(lockfile)));
      return missing.length === 0
        ? ''
        : `package-lock.json lacks ${missing.length} entries; "npm run check -- --fix" adds them`;
    },
  },
];

try {
  const results = await Promise.all(checks.map(report));
  process.exitCode = results.every(Boolean) ? 0 : 1;
} catch (error) {
  fail(error);
}

async function report(check: Check): Promise<boolean> {
  const begin = performance.now();
  const problem = (await check.run()).trim();
  const took = `(${((performance.now() - begin) / 1000).toFixed(1)} s)`;
  process.stdout.write(problem === '' ? `ok    ${check.name} ${took}\n` : `FAIL  ${check.name} ${took}\n${problem}\n`);
  return problem === '';
}

/** What a tool of node_modules prints when it is not satisfied. */
async function tool(program: string, args: readonly string[]): Promise<string> {
  const script = `exec "$0" "$@" 2>&1`;
  const command = ['sh', '-c', script, process.execPath, join(projectDirectory, 'node_modules', program), ...args];
  const { code, output } = await runChild(command, { capture: true });
  if (code === 0) return '';
  return output.trim() === '' ? `${program} ended with code ${code} and said nothing` : output;
}
