// SPDX-License-Identifier: Apache-2.0
/**
 * Every list of every kind that the server can list, as `resources/cluster/<group>_<version>_<plural>.json` and `resources/ns/<namespace>/...`. Kinds are told
 * apart by group, so that a custom resource with the plural of a built-in one is kept; a dead aggregated API costs only itself. Secrets are
 * left out; values that look secret in environment variables are withheld.
 */
import { withheld } from './redaction.ts';
import type { Section } from './snapshot.ts';

interface Listable {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly path: string;
}

interface AnyObject {
  metadata?: { namespace?: string; managedFields?: unknown };
}

const pageSize = 500;
/** Bounds what one kind may take, for clusters with a hundred thousand objects of it. */
const objectsMax = 20_000;
const passedOver = new Set(['secrets', 'componentstatuses']);

export async function collectResources(section: Section): Promise<void> {
  for (const resource of await listableResources(section)) {
    if (section.signal.aborted) throw new Error(`the time was over before ${resource.plural}`);
    try {
      const objects = await listAll(section, resource);
      for (const [folder, items] of byFolder(objects)) {
        const name = `${resource.group === '' ? 'core' : resource.group}_${resource.version}_${resource.plural}.json`;
        const list = {
          kind: `${resource.kind}List`,
          apiVersion: resource.group === '' ? resource.version : `${resource.group}/${resource.version}`,
          items,
        };
        section.write(`resources/${folder}/${name}`, JSON.stringify(list));
      }
    } catch (error) {
      section.miss(resource.path, error);
    }
  }
}

/** The server's preferred version of each group. */
async function listableResources(section: Section): Promise<Listable[]> {
  const groups = (await section.kube.request({ path: '/apis', signal: section.signal })).json() as {
    groups: { name: string; preferredVersion: { version: string } }[];
  };
  const roots = [
    { group: '', version: 'v1', path: '/api/v1' },
    ...groups.groups.map(({ name, preferredVersion }) => ({
      group: name,
      version: preferredVersion.version,
      path: `/apis/${name}/${preferredVersion.version}`,
    })),
  ];
  const lists = await Promise.all(
    roots.map(async ({ group, version, path }): Promise<Listable[]> => {
      try {
        const response = await section.kube.request({ path, signal: section.signal });
        if (response.status !== 200) throw new Error(`answered ${response.status}`);
        const { resources } = response.json() as { resources: { name: string; kind: string; verbs: string[] }[] };
        return resources
          .filter(
            ({ name, verbs }) =>
              verbs.includes('list') && !name.includes('/') && !(group === '' && passedOver.has(name)),
          )
          .map(({ name, kind }) => ({ group, version, plural: name, kind, path: `${path}/${name}` }));
      } catch (error) {
        section.miss(path, error);
        return [];
      }
    }),
  );
  return lists.flat();
}

async function listAll(section: Section, resource: Listable): Promise<AnyObject[]> {
  const objects: AnyObject[] = [];
  let next = '';
  do {
    const response = await section.kube.request({
      path: `${resource.path}?limit=${pageSize}${next === '' ? '' : `&continue=${encodeURIComponent(next)}`}`,
      signal: section.signal,
    });
    if (response.status !== 200) throw new Error(`answered ${response.status}`);
    const page = response.json() as { items?: AnyObject[]; metadata?: { continue?: string } };
    for (const item of page.items ?? []) {
      delete item.metadata?.managedFields;
      objects.push(withheld(item));
    }
    next = page.metadata?.continue ?? '';
    if (objects.length >= objectsMax && next !== '') {
      section.miss(resource.path, new Error(`only the first ${objects.length} objects were taken`));
      return objects;
    }
  } while (next !== '');
  return objects;
}

function byFolder(objects: readonly AnyObject[]): Map<string, AnyObject[]> {
  const folders = new Map<string, AnyObject[]>();
  for (const object of objects) {
    const namespace = object.metadata?.namespace;
    const folder = namespace === undefined ? 'cluster' : `ns/${namespace}`;
    const items = folders.get(folder) ?? [];
    items.push(object);
    folders.set(folder, items);
  }
  return folders;
}
