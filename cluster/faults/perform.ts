// SPDX-License-Identifier: Apache-2.0
// Does the steps of a fault, and undoes them. Each step answers with what undoes it, as data that another process can carry out later;
// it is written down before the step is done, so that nothing stays broken when this process is ended in between.

import { readManifest, type ManifestObject } from '../boot/add-ons.ts';
import type { ClusterState, NodeState } from '../boot/state.ts';
import type { Client } from '../machinery/client.ts';
import { isNotFound } from '../machinery/client.ts';
import { apiVersionOf, resourceOf, resources, type Resource } from '../machinery/resources.ts';
import { run } from '../machines/command.ts';
import { enterNode } from '../machines/enter.ts';
import { until } from '../machines/until.ts';
import type { Place, Step } from './fault.ts';
import { fillIn, readWorld, type World } from './world.ts';

/** What takes one act back; plain data. `where` is a node's name or `lan`. */
export type Undo =
  | { readonly where: string; readonly script: string; readonly world: World }
  | { readonly where: string; readonly component: string; readonly command: 'up' | 'cont' }
  | { readonly where: string; readonly pidFile: string }
  | { readonly restore: ManifestObject }
  | { readonly remove: ManifestObject };

export interface Site {
  readonly state: ClusterState;
  readonly client: Client;
  /** Keeps what undoes the act that comes next. */
  readonly remember: (undo: Undo) => void;
}

export interface StepContext {
  readonly faultId: string;
  readonly world: World;
}

const scriptTimeoutMs = 60_000;
const effectTimeoutMs = 60_000;

/** Found in every script: a command inside the network namespace of a pod of this node, and the node's end of such a pod's link. */
const prelude = `
netns_of() {
  for file in /run/netns/* /var/run/netns/*; do
    if [ -e "$file" ] && nsenter --net="$file" ip -o addr show | grep -qF " $1/"; then echo "$file"; return; fi
  done
  echo "no pod with address $1 on this node" >&2; return 1
}
in_pod() { pod_netns=$(netns_of "$1"); shift; nsenter --net="$pod_netns" "$@"; }
host_link_of() {
  index=$(in_pod "$1" ip -o link show eth0 | sed -n 's/.*eth0@if\\([0-9]*\\):.*/\\1/p')
  ip -o link | sed -n "s/^$index: \\([^@:]*\\).*/\\1/p"
}
`;

/** Resolves to the world after the step: pods have other names when objects have changed. */
export async function performStep(step: Step, site: Site, { faultId, world }: StepContext): Promise<World> {
  if ('create' in step) {
    for (const object of readManifest(fillIn(step.create, world), faultId)) {
      site.remember({ remove: named(object) });
      await site.client.create(resourceOf(object), object);
    }
  } else if ('patch' in step) {
    const { resource, name, namespace } = parseReference(fillIn(step.patch, world));
    const before = await site.client.get<ManifestObject>(resource, name, namespace);
    site.remember({ restore: { ...before, apiVersion: apiVersionOf(resource), kind: resource.kind } });
    const body: unknown = JSON.parse(fillIn(JSON.stringify(step.with), world));
    await site.client.patch(resource, name, { type: 'strategic', body, namespace });
  } else if ('delete' in step) {
    const { resource, name, namespace } = parseReference(fillIn(step.delete, world));
    const before = await site.client.get<ManifestObject>(resource, name, namespace);
    site.remember({ restore: { ...before, apiVersion: apiVersionOf(resource), kind: resource.kind } });
    await site.client.delete(resource, name, { namespace });
  } else if ('rolledOut' in step) {
    await rolledOut(site.client, fillIn(step.rolledOut, world), { available: false });
  } else {
    await Promise.all(wheres(step.on, site.state).map((where) => performAt(where, step, { ...site, world, faultId })));
    return world;
  }
  return readWorld(site.state, site.client);
}

export async function undo(one: Undo, site: Pick<Site, 'state' | 'client'>): Promise<void> {
  if ('script' in one) await inPlace(one.where, prelude + one.script, { ...site, world: one.world });
  else if ('component' in one) await inPlace(one.where, supervisor(one.command, one.component), { ...site, world: {} });
  else if ('pidFile' in one) {
    await inPlace(one.where, endScript(one.pidFile), { ...site, world: {} });
  } else if ('remove' in one) {
    await site.client
      .delete(resourceOf(one.remove), one.remove.metadata.name, { namespace: one.remove.metadata.namespace })
      .catch(unlessNotFound);
  } else await restore(site.client, one.restore);
}

/** Waits until a Deployment has no pod of an older template, and, if asked to, until all of them are available. */
export async function rolledOut(
  client: Client,
  reference: string,
  { available }: { readonly available: boolean },
): Promise<void> {
  const { resource, name, namespace } = parseReference(reference);
  await until(
    async () => {
      const { metadata, spec, status } = await client.get<{
        metadata: { generation: number };
        spec: { replicas: number };
        status?: {
          observedGeneration?: number;
          replicas?: number;
          updatedReplicas?: number;
          availableReplicas?: number;
        };
      }>(resource, name, namespace);
      const count = (value: number | undefined): boolean => (value ?? 0) === spec.replicas;
      return (
        (status?.observedGeneration ?? 0) >= metadata.generation &&
        count(status?.replicas) &&
        count(status?.updatedReplicas) &&
        (!available || count(status?.availableReplicas))
      );
    },
    { what: `the roll-out of ${reference}`, timeoutMs: 120_000, intervalMs: 100 },
  );
}

/** Starts a script that goes on, in a process group of its own. */
export function keepScript(pidFile: string, script: string): string {
  return `KEPT=$(cat <<'END_OF_KEPT'
${script}
END_OF_KEPT
)
export KEPT
setsid sh -c 'echo $$ >${pidFile}; eval "$KEPT"' </dev/null >/dev/null 2>&1 &`;
}

/** Ends it with all its children, and returns when they are gone. */
export function endScript(pidFile: string): string {
  return `if [ -e ${pidFile} ]; then
  group="-$(cat ${pidFile})"
  while kill -s KILL -- "$group" 2>/dev/null; do sleep 0.05; done
  rm -f ${pidFile}
fi`;
}

type At = Site & StepContext;

async function performAt(where: string, step: Extract<Step, { on: Place }>, at: At): Promise<void> {
  if ('component' in step) {
    const command = step.to === 'down' ? 'up' : 'cont';
    at.remember({ where, component: step.component, command });
    await inPlace(where, supervisor(step.to, step.component), at);
  } else if ('keep' in step) {
    const pidFile = `/run/plumb-fault-${at.faultId}.pid`;
    at.remember({ where, pidFile });
    await inPlace(where, keepScript(pidFile, prelude + step.keep), at);
  } else if ('until' in step) {
    await until(() => inPlace(where, prelude + step.until, at).then(() => true), {
      what: `the fault ${at.faultId} to show on ${where}`,
      timeoutMs: effectTimeoutMs,
      intervalMs: 200,
    });
  } else {
    if (step.undo !== undefined) at.remember({ where, script: step.undo, world: at.world });
    await inPlace(where, prelude + step.run, at);
  }
}

function supervisor(command: 'down' | 'pause' | 'up' | 'cont', component: string): string {
  return `sv -w 10 ${command} "$SERVICES/${component}"`;
}

async function inPlace(
  where: string,
  script: string,
  { state, world }: { readonly state: ClusterState; readonly world: World },
): Promise<void> {
  if (where === 'lan') {
    const holder = state.lan?.holder.pid;
    if (holder === undefined) throw new Error(`cluster ${state.name} has no LAN: it does not run`);
    await runScript(['nsenter', '-t', String(holder), '-n'], script, world);
    return;
  }
  const node = nodeOf(state, where);
  if (node.init === undefined) throw new Error(`node ${where} does not run; "plumb cluster start ${where}" starts it`);
  const place = { cluster: state.name, name: node.name, init: node.init };
  await runScript(enterNode(place, []), script, { ...world, NODE: node.name, SERVICES: `${node.directory}/services` });
}

async function runScript(enter: readonly string[], script: string, world: World): Promise<void> {
  await run([...enter, 'sh', '-eu'], {
    input: script,
    timeoutMs: scriptTimeoutMs,
    env: { ...process.env, ...world },
  });
}

function wheres(place: Place, { nodes }: ClusterState): string[] {
  const workers = nodes.filter(({ role }) => role === 'worker').map(({ name }) => name);
  if (place === 'lan') return ['lan'];
  if (place === 'all') return nodes.map(({ name }) => name);
  if (place === 'workers') return workers;
  if (place === 'control-plane') return nodes.flatMap(({ name, role }) => (role === 'control-plane' ? [name] : []));
  const name = workers[place === 'worker' ? 0 : 1];
  if (name === undefined) throw new Error('faults need a cluster with two workers: plumb cluster up --workers 2');
  return [name];
}

function nodeOf(state: ClusterState, name: string): NodeState {
  const node = state.nodes.find((candidate) => candidate.name === name);
  if (node === undefined) throw new Error(`cluster ${state.name} has no node ${name}`);
  return node;
}

/** `Deployment shop/db` or `Node plumb-worker`. */
export function parseReference(text: string): { resource: Resource; name: string; namespace: string | undefined } {
  const [kind = '', path = ''] = text.split(' ');
  const [first = '', second] = path.split('/');
  const resource = Object.values(resources).find((candidate) => candidate.kind === kind);
  if (resource === undefined || first === '') throw new Error(`"${text}" must be KIND [NAMESPACE/]NAME`);
  return second === undefined
    ? { resource, name: first, namespace: undefined }
    : { resource, name: second, namespace: first };
}

function named({ apiVersion, kind, metadata: { name, namespace } }: ManifestObject): ManifestObject {
  return { apiVersion, kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) } };
}

/** Puts back everything but metadata and status; creates the object anew if it is gone. */
async function restore(client: Client, stored: ManifestObject): Promise<void> {
  const resource = resourceOf(stored);
  const { metadata, status: _status, ...content } = stored as ManifestObject & { status?: unknown };
  try {
    const now = await client.get<ManifestObject>(resource, metadata.name, metadata.namespace);
    await client.update(resource, { ...content, metadata: now.metadata });
  } catch (error) {
    unlessNotFound(error);
    const { name, namespace, labels, annotations } = metadata as ManifestObject['metadata'] & {
      labels?: object;
      annotations?: object;
    };
    await client.create(resource, { ...content, metadata: { name, namespace, labels, annotations } });
  }
}

function unlessNotFound(error: unknown): void {
  if (!isNotFound(error)) throw error;
}
