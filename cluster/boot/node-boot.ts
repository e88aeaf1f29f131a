// SPDX-License-Identifier: Apache-2.0
// One node of a cluster: its files, its start, its services. Used by the bring-up of all nodes, and to switch a single
// node off and on again.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { startNode } from '../machines/node.ts';
import { controlService, serviceNames, writeService } from '../machines/supervisor.ts';
import type { Program } from './bundle.ts';
import { cniDirectory, containerdConfig, lacksSysResource } from './containerd.ts';
import { pauseImage } from './images/images.ts';
import { copyTemplate, type ImageTemplate } from './images/template.ts';
import { ipPlan } from './ip-plan.ts';
import { projectDirectory, stateDirectory } from './layout.ts';
import { hostsFile, nodeResolvConf } from './node-files.ts';
import { kubeletConfig, nodeServices } from './services.ts';
import { writeState, type ClusterState, type NodeState } from './state.ts';

export interface NodeConfiguration {
  readonly state: ClusterState;
  readonly node: NodeState;
  readonly bundles: ReadonlyMap<Program, string>;
  readonly images: ImageTemplate | undefined;
}

/** Writes what the node's programs read before they start: images, configuration files, services. */
export async function configureNode({ state, node, bundles, images }: NodeConfiguration): Promise<void> {
  mkdirSync(join(node.directory, 'kubernetes', 'manifests'), { recursive: true });
  mkdirSync(join(node.directory, 'kubelet'), { recursive: true });
  if (images === undefined) throw new Error('the images have not been built');
  copyTemplate(images, join(node.directory, 'containerd'));
  const containerd = containerdConfig({
    version: images.containerdVersion,
    sandboxImage: pauseImage,
    cniDirectory: cniDirectory() ?? '/usr/lib/cni',
    restrictOomScoreAdj: lacksSysResource(),
  });
  writeFileSync(join(node.directory, 'kubernetes', 'containerd.toml'), containerd);
  writeFileSync(join(node.directory, 'kubelet', 'config.yaml'), kubeletConfig(ipPlan(state.options.ipFamily)));
  for (const service of nodeServices({ state, node, bundles })) writeService(node.directory, service);
}

/** Starts the machine; services that ran before start by themselves. */
export async function bootNode(state: ClusterState, node: NodeState): Promise<void> {
  if (state.lan === undefined) throw new Error(`cluster ${state.name} has no LAN`);
  const machine = await startNode(
    {
      cluster: state.name,
      name: node.name,
      addresses: node.addresses,
      directory: node.directory,
      keepVisible: [projectDirectory, stateDirectory(), process.execPath],
      resolvConf: nodeResolvConf(),
      hosts: hostsFile(state.nodes),
    },
    state.lan,
  );
  node.init = machine.init;
  node.parent = machine.parent;
  writeState(state);
}

/** Resolves to a note when the node has none of them. */
export async function startServices(node: NodeState, which: (name: string) => boolean): Promise<string> {
  const names = serviceNames(node.directory).filter(which);
  await Promise.all(names.map((name) => controlService(node.directory, name, 'up')));
  return names.length === 0 ? 'nothing to start here' : '';
}
