// SPDX-License-Identifier: Apache-2.0
// Turns a component's main.ts into one .mjs file, so that it starts fast and a node needs no node_modules. Files are
// named by the content of everything that went into them; an unchanged component is found again without esbuild.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

import { buildDirectory, projectDirectory, stateDirectory } from './layout.ts';

/** What is bundled: name of the program and its entry below the checkout. */
export const programs = {
  'kube-apiserver': 'cluster/apiserver/main.ts',
  'kube-controller-manager': 'cluster/controllers/main.ts',
  'kube-scheduler': 'cluster/scheduler/main.ts',
  kubelet: 'cluster/kubelet/main.ts',
  'kube-proxy': 'cluster/proxy/main.ts',
  'network-agent': 'cluster/network/main.ts',
  dns: 'cluster/dns/main.ts',
  'csi-hostpath': 'cluster/storage/main.ts',
  ingress: 'cluster/ingress/main.ts',
  agent: 'probes/agent/agent-main.ts',
} as const;

export type Program = keyof typeof programs;

/** Programs that run outside pods; a cluster can do without those that the project does not have. */
const nodePrograms = [
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
  'network-agent',
] as const satisfies Program[];

export async function bundleAll(): Promise<{ bundles: ReadonlyMap<Program, string>; missing: Program[] }> {
  const paths = await Promise.all(nodePrograms.map(bundle));
  const bundles = new Map<Program, string>();
  for (const [index, name] of nodePrograms.entries()) {
    const path = paths[index];
    if (path !== undefined) bundles.set(name, path);
  }
  forgetBundles();
  return { bundles, missing: nodePrograms.filter((name) => !bundles.has(name)) };
}

/** Bundles that nothing names any more are kept this long: a cluster of another state directory may have stopped nodes. */
const keptMs = 24 * 3600 * 1000;

/** Removes bundles that are neither current, nor in a process of this machine, nor in a service of the state directory. */
function forgetBundles(): void {
  const entries = readdirSync(buildDirectory, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && /^[0-9a-f]{16}$/.test(entry.name),
  );
  const ages = entries.map(({ name }) => ({ name, changedMs: statSync(join(buildDirectory, name)).mtimeMs }));
  const old = ages.filter(({ changedMs }) => Date.now() - changedMs > keptMs);
  if (old.length === 0) return;
  const texts = [
    ...Object.keys(programs).map((program) => textOf(join(buildDirectory, `${program}.json`))),
    ...readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => textOf(`/proc/${pid}/cmdline`)),
    ...serviceScripts().map(textOf),
  ];
  for (const name of unnamed(
    old.map((entry) => entry.name),
    texts,
  ))
    rmSync(join(buildDirectory, name), { recursive: true, force: true });
}

/** The names that none of the texts has. */
export function unnamed(names: readonly string[], texts: readonly string[]): string[] {
  return names.filter((name) => !texts.some((text) => text.includes(name)));
}

/** What the nodes of this state directory's clusters start, also those that are switched off. */
function serviceScripts(): string[] {
  const below = (directory: string): string[] =>
    existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
  return below(join(stateDirectory(), 'clusters'))
    .flatMap((cluster) => below(join(cluster, 'nodes')))
    .flatMap((node) => below(join(node, 'services')))
    .map((service) => join(service, 'run'));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

interface Manifest {
  readonly inputs: readonly string[];
  readonly hash: string;
}

/** Path of the bundle, made now unless it is there already; undefined when the project has no such program. */
export async function bundle(program: Program): Promise<string | undefined> {
  const entry = join(projectDirectory, programs[program]);
  if (!existsSync(entry)) return undefined;
  const manifestPath = join(buildDirectory, `${program}.json`);
  const known = readManifest(manifestPath);
  if (known !== undefined && hashOf(known.inputs) === known.hash) {
    const path = bundlePath(program, known.hash);
    if (existsSync(path)) return path;
  }
  const staging = join(buildDirectory, `${program}.${process.pid}.new`);
  // Loaded only when something has changed: it costs as much as all the rest of a start.
  const { build } = await import('esbuild');
  const result = await build({
    entryPoints: [entry],
    outfile: join(staging, `${program}.mjs`),
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    metafile: true,
    absWorkingDir: projectDirectory,
    logLevel: 'silent',
    // CommonJS packages inside an ES module still call require() for what Node itself brings.
    banner: {
      js: "import { createRequire as createRequireOfBundle } from 'node:module'; const require = createRequireOfBundle(import.meta.url);",
    },
  }).catch((error: unknown) => {
    rmSync(staging, { recursive: true, force: true });
    throw new Error(`${programs[program]} does not bundle: ${error instanceof Error ? error.message : String(error)}`);
  });
  const inputs = Object.keys(result.metafile.inputs).toSorted();
  const hash = hashOf(inputs);
  if (hash === undefined)
    throw new Error(`a source file of ${program} went away while it was being bundled; run the command again`);
  const target = bundlePath(program, hash);
  if (existsSync(target)) rmSync(staging, { recursive: true });
  else {
    mkdirSync(join(buildDirectory, hash), { recursive: true });
    for (const name of readdirSync(staging)) renameSync(join(staging, name), join(buildDirectory, hash, name));
    rmSync(staging, { recursive: true });
  }
  writeFileSync(manifestPath, JSON.stringify({ inputs, hash }));
  return target;
}

function bundlePath(program: Program, hash: string): string {
  return join(buildDirectory, hash, `${program}.mjs`);
}

function readManifest(path: string): Manifest | undefined {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Manifest) : undefined;
}

/** Content of our own files, size and time of packages' files (they change only when npm replaces them). */
function hashOf(inputs: readonly string[]): string | undefined {
  const hash = createHash('sha256').update(readFileSync(new URL(import.meta.url)));
  for (const input of inputs) {
    const path = join(projectDirectory, input);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return undefined;
    hash.update(relative(projectDirectory, path));
    hash.update(input.startsWith('node_modules/') ? `${stats.size} ${stats.mtimeMs}` : readFileSync(path));
  }
  return hash.digest('hex').slice(0, 16);
}
