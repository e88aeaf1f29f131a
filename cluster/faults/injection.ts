// SPDX-License-Identifier: Apache-2.0
// Faults in a cluster of this machine: which are in, bringing one in, and healing. What is in is written down beside the cluster's state,
// before it is done, so that any later command can heal it.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { applyObject, readManifest } from '../boot/add-ons.ts';
import { clusterPaths, projectDirectory } from '../boot/layout.ts';
import type { ClusterState } from '../boot/state.ts';
import { Client } from '../machinery/client.ts';
import { until } from '../machines/until.ts';
import { readFaults, type Diagnosis, type Fault } from './fault.ts';
import { performStep, rolledOut, undo, type Undo } from './perform.ts';
import { fillIn, readWorld, workloadNamespace, type World } from './world.ts';

export interface Injected {
  readonly id: string;
  /** ISO 8601. */
  readonly since: string;
  /** Latest act last. */
  readonly undo: readonly Undo[];
}

/** What a right diagnosis says about the fault in this cluster, with the names of its nodes and pods. */
export interface InjectedFault {
  readonly id: string;
  readonly diagnosis: readonly Diagnosis[];
}

const faultsDirectory = join(projectDirectory, 'fixtures/faults');

export function allFaults(): Fault[] {
  return readFaults(faultsDirectory);
}

/** Errors name the id and where to find others. */
export function faultById(id: string): Fault {
  const fault = allFaults().find((candidate) => candidate.id === id);
  if (fault === undefined) throw new Error(`no fault "${id}"; "plumb cluster fault list" names them`);
  return fault;
}

export function injectedFaults(state: ClusterState): Injected[] {
  const path = recordPath(state);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Injected[]) : [];
}

/** Applies what the users of the cluster run, and waits until it does. */
export async function deployWorkload(state: ClusterState): Promise<void> {
  await withClient(state, (client) => applyWorkload(state, client));
}

/** Brings the fault in; resolves once it shows. What was half done is healed when a step fails. */
export async function inject(fault: Fault, state: ClusterState): Promise<InjectedFault> {
  const mode = state.options.network;
  if (fault.networks !== undefined && !fault.networks.includes(mode)) {
    throw new Error(
      `fault ${fault.id} needs a cluster with --network ${fault.networks.join(' or ')}; ${state.name} has ${mode}`,
    );
  }
  if (injectedFaults(state).some(({ id }) => id === fault.id)) {
    throw new Error(`fault ${fault.id} is in already; "plumb cluster fault heal ${fault.id}" heals it`);
  }
  return withClient(state, async (client) => {
    if (injectedFaults(state).length === 0) await applyWorkload(state, client);
    const remember = (undo: Undo): void => {
      const others = injectedFaults(state);
      const own = others.find(({ id }) => id === fault.id) ?? {
        id: fault.id,
        since: new Date().toISOString(),
        undo: [],
      };
      writeRecord(state, [...others.filter(({ id }) => id !== fault.id), { ...own, undo: [...own.undo, undo] }]);
    };
    try {
      let world: World = await readWorld(state, client);
      for (const step of fault.inject)
        world = await performStep(step, { state, client, remember }, { faultId: fault.id, world });
      return { id: fault.id, diagnosis: fault.diagnosis.map((one) => namedDiagnosis(one, world)) };
    } catch (error) {
      await healWith(client, fault.id, state).catch(() => undefined);
      throw error;
    }
  });
}

/** Undoes what the fault did, latest first, and waits until the workload is whole. What cannot be undone stays on record. */
export async function heal(id: string, state: ClusterState): Promise<void> {
  await withClient(state, async (client) => {
    await healWith(client, id, state);
    if (injectedFaults(state).length === 0) await workloadAvailable(client);
  });
}

async function healWith(client: Client, id: string, state: ClusterState): Promise<void> {
  const injected = injectedFaults(state).find((one) => one.id === id);
  if (injected === undefined) throw new Error(`fault ${id} is not in cluster ${state.name}`);
  const left: Undo[] = [];
  const errors: Error[] = [];
  for (const one of injected.undo.toReversed()) {
    try {
      // An API server that has just come back does not answer at once.
      await until(() => undo(one, { state, client }).then(() => true), {
        what: `the fault ${id} to be undone`,
        timeoutMs: 30_000,
        intervalMs: 200,
      });
    } catch (error) {
      left.unshift(one);
      errors.push(error instanceof Error ? error : new Error(String(error)));
    }
  }
  const others = injectedFaults(state).filter((one) => one.id !== id);
  writeRecord(state, left.length === 0 ? others : [...others, { ...injected, undo: left }]);
  if (errors.length > 0) {
    throw new Error(
      `fault ${id} is not wholly healed (try again, or remove the cluster): ${errors.map(({ message }) => message).join('; ')}`,
    );
  }
}

async function applyWorkload(state: ClusterState, client: Client): Promise<void> {
  const path = join(faultsDirectory, 'workload.yaml');
  const manifest = fillIn(readFileSync(path, 'utf8'), await readWorld(state, client));
  for (const object of readManifest(manifest, path)) await applyObject(client, object, 'plumb-faults');
  await workloadAvailable(client);
}

async function workloadAvailable(client: Client): Promise<void> {
  for (const name of ['web', 'api', 'db', 'client']) {
    await rolledOut(client, `Deployment ${workloadNamespace}/${name}`, { available: true });
  }
}

function namedDiagnosis(diagnosis: Diagnosis, world: World): Diagnosis {
  return {
    ...diagnosis,
    ...(diagnosis.node === undefined ? {} : { node: fillIn(diagnosis.node, world) }),
    ...(diagnosis.object === undefined ? {} : { object: diagnosis.object.map((one) => fillIn(one, world)) }),
  };
}

async function withClient<T>(state: ClusterState, body: (client: Client) => Promise<T>): Promise<T> {
  const client = Client.fromKubeconfig(clusterPaths(state.name).kubeconfig, { userAgent: 'plumb-cluster' });
  try {
    return await body(client);
  } finally {
    client.close();
  }
}

function recordPath(state: ClusterState): string {
  return join(clusterPaths(state.name).root, 'faults.json');
}

function writeRecord(state: ClusterState, record: readonly Injected[]): void {
  const path = recordPath(state);
  writeFileSync(`${path}.new`, `${JSON.stringify(record, undefined, 2)}\n`);
  renameSync(`${path}.new`, path);
}
