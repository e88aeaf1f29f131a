// SPDX-License-Identifier: Apache-2.0
/**
 * Removes what runs created, found by the run's label and by nothing else: namespaces, and labelled objects of every kind that the server
 * can list and delete. Finishing is waited for; what does not go is reported by name.
 */
import type { KubeClients } from '../../suites/kube-clients.ts';
import { messageOf } from '../problem.ts';
import { pause } from '../target/pause.ts';
import { deleteNamespace } from './namespaces.ts';
import { liveRuns } from './run-lease.ts';
import { runIdLabel } from './run-labels.ts';

const waitMs = 90_000;

export interface CleanupReport {
  readonly deleted: number;
  /** `Kind namespace/name: reason`. */
  readonly left: readonly string[];
}

export interface CleanupScope {
  /** One run, or, if undefined, every run. */
  readonly runId?: string | undefined;
  /** With every run: also those that are still going on in another process. */
  readonly evenLive?: boolean;
  readonly signal: AbortSignal;
  readonly log?: (message: string) => void;
}

interface Labelled {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string | undefined;
  readonly path: string;
  readonly runId: string;
  readonly finalizers: readonly string[];
}

export async function cleanUp(kube: KubeClients, scope: CleanupScope): Promise<CleanupReport> {
  const spared = scope.runId === undefined && scope.evenLive !== true ? await liveRuns(kube) : new Set<string>();
  const selector = encodeURIComponent(scope.runId === undefined ? runIdLabel : `${runIdLabel}=${scope.runId}`);
  const find = async (): Promise<Labelled[]> =>
    (await findLabelled(kube, selector, scope.signal)).filter(
      // A server that does not heed the selector would have everything deleted: the label of each object decides.
      ({ runId }) => runId !== '' && (scope.runId === undefined || runId === scope.runId) && !spared.has(runId),
    );

  const found = await find();
  const namespaces = new Set(found.filter((one) => one.kind === 'Namespace').map((one) => one.name));
  // What lies in a namespace that goes, goes with it.
  const targets = found.filter((one) => one.namespace === undefined || !namespaces.has(one.namespace));
  const refused: string[] = [];
  for (const one of targets) {
    if (scope.signal.aborted) break;
    scope.log?.(`deleting ${describe(one)}`);
    try {
      if (one.kind === 'Namespace') await deleteNamespace(kube, one.name, scope.signal);
      else
        await kube.request({
          method: 'DELETE',
          path: `${one.path}?propagationPolicy=Background`,
          signal: scope.signal,
        });
    } catch (error) {
      refused.push(`${describe(one)}: ${messageOf(error)}`);
    }
  }
  const left = await waitUntilGone(kube, targets, scope.signal);
  return {
    deleted: targets.length - left.length,
    left: [...refused, ...left.map((one) => `${describe(one)}: still there after ${waitMs / 1000} s${stuckBy(one)}`)],
  };
}

/** Ids of runs that left something behind and no longer go on. */
export async function leftovers(kube: KubeClients, signal: AbortSignal): Promise<Set<string>> {
  const live = await liveRuns(kube);
  const response = await kube.request({
    path: `/api/v1/namespaces?labelSelector=${encodeURIComponent(runIdLabel)}`,
    signal,
  });
  if (response.status !== 200) return new Set();
  const { items } = response.json() as { items: ListedObject[] };
  return new Set(
    items.map((item) => item.metadata.labels?.[runIdLabel] ?? '').filter((runId) => runId !== '' && !live.has(runId)),
  );
}

async function waitUntilGone(
  kube: KubeClients,
  targets: readonly Labelled[],
  signal: AbortSignal,
): Promise<Labelled[]> {
  const deadline = performance.now() + waitMs;
  let left = [...targets];
  while (left.length > 0 && performance.now() < deadline && !signal.aborted) {
    const states = await Promise.all(left.map((one) => stillThere(kube, one, signal)));
    left = states.filter((one) => one !== undefined);
    if (left.length > 0) await pause(500, signal);
  }
  return left;
}

async function stillThere(kube: KubeClients, one: Labelled, signal: AbortSignal): Promise<Labelled | undefined> {
  try {
    const response = await kube.request({ path: one.path, signal });
    if (response.status === 404) return undefined;
    const object = response.json() as ListedObject;
    return { ...one, finalizers: [...(object.spec?.finalizers ?? []), ...(object.metadata?.finalizers ?? [])] };
  } catch {
    return one;
  }
}

interface ListedObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Record<string, string>;
    readonly finalizers?: string[];
  };
  readonly spec?: { readonly finalizers?: string[] };
}

/** Kinds that are made in great numbers and go by themselves, or that others derive from labelled ones. */
const passedOver = new Set([
  'events',
  'endpoints',
  'endpointslices',
  'controllerrevisions',
  'componentstatuses',
  'leases',
]);

async function findLabelled(kube: KubeClients, selector: string, signal: AbortSignal): Promise<Labelled[]> {
  const found = await Promise.all(
    (await deletableResources(kube, signal)).map(async ({ path, kind }): Promise<Labelled[]> => {
      const response = await kube.request({ path: `${path}?labelSelector=${selector}`, signal });
      if (response.status !== 200) return [];
      const { items } = response.json() as { items?: ListedObject[] };
      return (items ?? []).map(({ metadata }) => ({
        kind,
        name: metadata.name,
        namespace: metadata.namespace,
        path: `${metadata.namespace === undefined ? path : path.replace(/\/([^/]+)$/, `/namespaces/${metadata.namespace}/$1`)}/${metadata.name}`,
        runId: metadata.labels?.[runIdLabel] ?? '',
        finalizers: [],
      }));
    }),
  );
  const objects = found.flat();
  // A pod of a labelled ReplicaSet goes with it; only roots are deleted one by one.
  return objects.toSorted((a, b) => Number(a.kind === 'Namespace') - Number(b.kind === 'Namespace'));
}

/** Every kind that can be listed and deleted, once, in the server's preferred version. A dead aggregated API is passed over. */
async function deletableResources(kube: KubeClients, signal: AbortSignal): Promise<{ path: string; kind: string }[]> {
  const groups = (await kube.request({ path: '/apis', signal })).json() as {
    groups: { preferredVersion: { groupVersion: string } }[];
  };
  const roots = ['/api/v1', ...groups.groups.map((group) => `/apis/${group.preferredVersion.groupVersion}`)];
  const lists = await Promise.all(
    roots.map(async (root) => {
      try {
        const response = await kube.request({ path: root, signal });
        if (response.status !== 200) return [];
        const { resources } = response.json() as { resources: { name: string; kind: string; verbs: string[] }[] };
        return resources
          .filter(
            ({ name, verbs }) =>
              !name.includes('/') && verbs.includes('list') && verbs.includes('delete') && !passedOver.has(name),
          )
          .map(({ name, kind }) => ({ path: `${root}/${name}`, kind }));
      } catch {
        return [];
      }
    }),
  );
  return lists.flat();
}

function describe(one: Labelled): string {
  return `${one.kind} ${one.namespace === undefined ? '' : `${one.namespace}/`}${one.name}`;
}

function stuckBy(one: Labelled): string {
  return one.finalizers.length === 0 ? '' : `, held by ${one.finalizers.join(', ')}`;
}
