// SPDX-License-Identifier: Apache-2.0
// Enforces import-rules.json: layers of the project meet only where the design says so.

import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

import rulesFile from './import-rules.json' with { type: 'json' };

export interface ImportRule {
  readonly folder: string;
  readonly may: readonly string[];
}

export interface ForbiddenImport {
  readonly file: string;
  readonly imported: string;
  readonly rule: ImportRule;
}

/** Checks the files below `root`. Errors: a file that no rule covers. */
export function forbiddenImports(root: string, rules: readonly ImportRule[] = rulesFile.rules): ForbiddenImport[] {
  const folders = [...new Set(rules.map((rule) => rule.folder.split('/')[0] ?? ''))];
  const files = folders.flatMap((folder) => globSync(`${folder}/**/*.{ts,js}`, { cwd: root })).toSorted();
  return files.flatMap((file) => judgeFile(file, readFileSync(join(root, file), 'utf8'), rules));
}

export function judgeFile(file: string, source: string, rules: readonly ImportRule[]): ForbiddenImport[] {
  const rule = ruleFor(file, rules);
  const topFolder = file.split('/')[0] ?? '';
  return relativeImports(source)
    .map((specifier) => normalize(join(dirname(file), specifier)))
    .filter((imported) => !isAllowed(imported, rule) && !(isTest(file) && isBelow(imported, topFolder)))
    .map((imported) => ({ file, imported, rule }));
}

/** Specifiers that start with a dot, in static, dynamic and re-exporting imports alike. */
export function relativeImports(source: string): string[] {
  const pattern = /^(?:import|export)\b(?:[^;'"]*?\bfrom)?\s*['"](\.[^'"]+)['"]|\bimport\(\s*['"](\.[^'"]+)['"]/gm;
  return [...source.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? '');
}

/** Tests may use anything of their half of the project: they build small worlds out of several parts. */
function isTest(file: string): boolean {
  return /\.(test|e2e)\.ts$|\/e2e\/|\/(test|e2e)-[^/]+$/.test(file);
}

function isAllowed(imported: string, rule: ImportRule): boolean {
  return [rule.folder, ...rule.may].some((folder) => isBelow(imported, folder));
}

function ruleFor(file: string, rules: readonly ImportRule[]): ImportRule {
  const matching = rules.filter((rule) => isBelow(file, rule.folder));
  const longest = matching.reduce<ImportRule | undefined>(
    (best, rule) => (best !== undefined && best.folder.length >= rule.folder.length ? best : rule),
    undefined,
  );
  if (longest === undefined) throw new Error(`${file}: no rule in import-rules.json covers it`);
  return longest;
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}
