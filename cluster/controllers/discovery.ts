// SPDX-License-Identifier: Apache-2.0
// Every resource that the API server has at this moment, in its preferred version.
import type { Client } from '../machinery/client.ts';
import { describeError } from '../machinery/log.ts';
import type { Resource } from '../machinery/resources.ts';

export interface Discovered {
  readonly resource: Resource;
  readonly verbs: readonly string[];
}

interface ResourceList {
  resources?: { name: string; kind: string; namespaced: boolean; verbs: string[]; group?: string; version?: string }[];
}

interface GroupList {
  groups?: { name: string; versions: { version: string }[]; preferredVersion?: { version: string } }[];
}

/** `failures` names the groups whose resources could not be had; the others are complete. */
export async function discoverResources(client: Client): Promise<{ found: Discovered[]; failures: string[] }> {
  const groups = await json<GroupList>(client, '/apis');
  const roots = [{ group: '', version: 'v1', path: '/api/v1' }];
  for (const group of groups.groups ?? []) {
    for (const { version } of group.versions) {
      roots.push({ group: group.name, version, path: `/apis/${group.name}/${version}` });
    }
  }
  const failures: string[] = [];
  const lists = await Promise.all(
    roots.map(async (root) => {
      try {
        return { root, list: await json<ResourceList>(client, root.path) };
      } catch (error) {
        failures.push(`${root.path}: ${describeError(error)}`);
        return { root, list: {} };
      }
    }),
  );
  // Versions come in the order of preference: the first that has a resource is the one to use.
  const found = new Map<string, Discovered>();
  for (const { root, list } of lists) {
    for (const { name, kind, namespaced, verbs } of list.resources ?? []) {
      const key = `${name}.${root.group}`;
      if (name.includes('/') || found.has(key)) continue;
      found.set(key, { resource: { group: root.group, version: root.version, plural: name, kind, namespaced }, verbs });
    }
  }
  return { found: [...found.values()], failures };
}

async function json<T>(client: Client, path: string): Promise<T> {
  const reply = await client.raw('GET', path);
  if (reply.status !== 200) throw new Error(`GET ${path} answered ${reply.status}`);
  return JSON.parse(reply.body.toString('utf8')) as T;
}
