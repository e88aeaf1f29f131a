// SPDX-License-Identifier: Apache-2.0
// What is applied to a fresh cluster through its API: rights of the network agent, cluster DNS, storage, ingress. Manifests are
// plain YAML beside the programs that they deploy; names in double braces stand for values
// (see `placeholders`).

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

import { Client } from '../machinery/client.ts';
import { resourceOf } from '../machinery/resources.ts';
import { ipPlan } from './ip-plan.ts';
import { clusterPaths, projectDirectory } from './layout.ts';
import type { ClusterState } from './state.ts';

/** One that the project does not have yet is passed over and named. */
export const manifests = [
  'cluster/network/manifest.yaml',
  'cluster/dns/manifest.yaml',
  'cluster/storage/manifest.yaml',
] as const;

const ingressManifest = 'cluster/ingress/manifest.yaml';

export interface ManifestObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

/** Resolves to a note on manifests that were passed over. */
export async function applyManifests(state: ClusterState): Promise<string> {
  const wanted = state.options.ingress ? [...manifests, ingressManifest] : manifests;
  const present = wanted.filter((path) => existsSync(join(projectDirectory, path)));
  const client = Client.fromKubeconfig(clusterPaths(state.name).kubeconfig, { userAgent: 'plumb-cluster' });
  try {
    const objects = present.flatMap((path) =>
      readManifest(readFileSync(join(projectDirectory, path), 'utf8'), path, placeholders(state)),
    );
    // Workloads last: a pod whose service account is missing would be tried again only after a while.
    const rank = ({ kind, apiVersion }: ManifestObject): number =>
      kind === 'Namespace' ? 0 : apiVersion.startsWith('apps/') ? 2 : 1;
    for (const turn of [0, 1, 2]) {
      const now = objects.filter((object) => rank(object) === turn);
      await Promise.all(now.map((object) => applyObject(client, object, 'plumb')));
    }
  } finally {
    client.close();
  }
  const missing = wanted.filter((path) => !present.includes(path));
  return missing.length === 0 ? '' : `not in the project yet: ${missing.join(', ')}`;
}

/** By server-side apply; fields that others own are taken over. */
export async function applyObject(client: Client, object: ManifestObject, fieldManager: string): Promise<void> {
  const { name, namespace } = object.metadata;
  await client.patch(resourceOf(object), name, { type: 'apply', body: object, fieldManager, force: true, namespace });
}

/** Objects of a YAML file with its placeholders filled in. Errors name the file and what is wrong with it. */
export function readManifest(
  text: string,
  path: string,
  values: Readonly<Record<string, string>> = { version: projectVersion() },
): ManifestObject[] {
  const filled = text.replaceAll(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole);
  return parseAllDocuments(filled).flatMap((document) => {
    const problem = document.errors[0];
    if (problem !== undefined) throw new Error(`${path}: ${problem.message}`);
    const value: unknown = document.toJS();
    if (value === null) return [];
    if (!isManifestObject(value)) throw new Error(`${path}: every document needs apiVersion, kind and metadata.name`);
    return [value];
  });
}

/** What manifests may name in double braces. A list is meant to stand between quotes: `['{{dnsServiceAddresses}}']`. */
function placeholders({ options }: ClusterState): Readonly<Record<string, string>> {
  const { dnsServiceAddresses } = ipPlan(options.ipFamily);
  return {
    version: projectVersion(),
    dnsServiceAddress: dnsServiceAddresses[0] ?? '',
    dnsServiceAddresses: dnsServiceAddresses.join(`', '`),
    dnsFamilyPolicy: dnsServiceAddresses.length > 1 ? 'RequireDualStack' : 'SingleStack',
  };
}

export function projectVersion(): string {
  const content: unknown = JSON.parse(readFileSync(join(projectDirectory, 'package.json'), 'utf8'));
  const version = (content as { version?: unknown }).version;
  if (typeof version !== 'string') throw new Error('package.json has no version');
  return version;
}

function isManifestObject(value: unknown): value is ManifestObject {
  if (typeof value !== 'object' || value === null) return false;
  const { apiVersion, kind, metadata } = value as {
    apiVersion?: unknown;
    kind?: unknown;
    metadata?: { name?: unknown };
  };
  return typeof apiVersion === 'string' && typeof kind === 'string' && typeof metadata?.name === 'string';
}
