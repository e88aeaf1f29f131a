// SPDX-License-Identifier: Apache-2.0
// The project's images as data: which layers each is made of and how it starts.

import { readFileSync } from 'node:fs';

import { bundle, type Program } from '../bundle.ts';
import { projectVersion } from '../add-ons.ts';
import { baseTree, contentTree, programTree, toolsTree, without, type FileTree } from './layers.ts';
import { architectureOf, pauseProgram } from './pause-program.ts';

export interface ImageSpec {
  /** Such as plumbline.local/probe:0.1.0. */
  readonly reference: string;
  readonly layers: readonly FileTree[];
  readonly entrypoint: readonly string[];
  readonly user: string;
}

export const registryHost = 'plumbline.local';
export const pauseImage = `${registryHost}/pause:1`;

const nodeInImage = '/usr/bin/node';
/** Pods are many and small: a small young generation and one helper thread keep them so. */
const nodeCommand = [nodeInImage, '--max-semi-space-size=1', '--v8-pool-size=1'];

const probeTools = ['tcpdump', 'nft', 'ip', 'ss', 'conntrack'];
const storageTools = ['mount', 'umount'];
const ingressTools = ['haproxy'];

/** Every image that can be built now, and what had to be left out, in words. */
export async function imageSpecs(): Promise<{ images: ImageSpec[]; notes: string[] }> {
  const version = projectVersion();
  const notes: string[] = [];
  const base = await baseTree();
  const node = without(await programTree(process.execPath, nodeInImage), [base]);
  const images: ImageSpec[] = [
    { reference: pauseImage, layers: [new Map([['/pause', pause()]])], entrypoint: ['/pause'], user: '65535:65535' },
  ];
  const addProgram = async (
    program: Program,
    options: { name: string; user: string; tools: readonly string[] },
  ): Promise<void> => {
    const path = await bundle(program);
    if (path === undefined) {
      notes.push(`${options.name}: its program is not in the project yet`);
      return;
    }
    const { tree, missing } = await toolsTree(options.tools);
    if (missing.length > 0)
      notes.push(`${options.name}: without ${missing.join(', ')}, which this machine does not have`);
    const file = `/app/${program}.mjs`;
    images.push({
      reference: `${registryHost}/${options.name}:${version}`,
      layers: [base, node, without(tree, [base, node]), contentTree({ [file]: readFileSync(path) })].filter(
        (layer) => layer.size > 0,
      ),
      entrypoint: [...nodeCommand, file],
      user: options.user,
    });
  };
  await addProgram('agent', { name: 'probe', user: '65532:65532', tools: probeTools });
  await addProgram('dns', { name: 'dns', user: '65532:65532', tools: [] });
  await addProgram('csi-hostpath', { name: 'csi-hostpath', user: '0:0', tools: storageTools });
  await addProgram('ingress', { name: 'ingress', user: '65532:65532', tools: ingressTools });
  return { images, notes };
}

function pause(): { kind: 'content'; content: Buffer; mode: number } {
  return { kind: 'content', content: pauseProgram(architectureOf(process.arch)), mode: 0o755 };
}
