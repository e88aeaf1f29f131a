// SPDX-License-Identifier: Apache-2.0
/** Finds the cases: imports every `*.cases.ts` below a folder and collects the exports that are cases or arrays of cases. */
import { globSync } from 'node:fs';
import { join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isCase, isCaseSource, type Case, type CaseParameters } from '../../suites/case.ts';
import { messageOf, Problem } from '../problem.ts';

/** All cases below `folder`, by file and by order within it. A file that cannot be loaded, or two cases of one name, are a Problem. */
export async function loadCases(folder: string, parameters: CaseParameters): Promise<Case[]> {
  const files = globSync('**/*.cases.ts', { cwd: folder }).toSorted();
  if (files.length === 0)
    throw new Problem(
      `no case files (*.cases.ts) in ${folder}`,
      'Give --suites a folder that holds <area>/<name>.cases.ts. Without --suites the installation is incomplete: install again.',
    );
  const cases: Case[] = [];
  for (const file of files) {
    const path = join(folder, file);
    let exported: Record<string, unknown>;
    try {
      exported = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
    } catch (error) {
      throw new Problem(`case file ${path} cannot be loaded: ${messageOf(error)}`, 'Correct the file.', {
        cause: error,
      });
    }
    const values = Object.values(exported).map((value) => (isCaseSource(value) ? value.make(parameters) : value));
    for (const value of values.flat()) {
      if (!isCase(value)) continue;
      if (file.split(sep)[0] !== value.area) {
        throw new Problem(
          `case ${value.id} of area ${value.area} lies in ${path}`,
          `Move it to the folder ${value.area}/.`,
        );
      }
      cases.push(value);
    }
  }
  const twice = firstRepeated(cases.map((one) => one.id)) ?? firstRepeated(cases.map((one) => one.title));
  if (twice !== undefined)
    throw new Problem(`two cases are called "${twice}"`, 'Ids and titles must be unique; rename one.');
  return cases;
}

function firstRepeated(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => seen.size === seen.add(name).size);
}
