// SPDX-License-Identifier: Apache-2.0
// kubelet: command line to options. Flags are upstream's; those that only upstream's implementation needs are accepted and have no effect.
import { hostname } from 'node:os';
import type { Taint } from '../machinery/api-types.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { describeError, logger, setVerbosity } from '../machinery/log.ts';
import { readConfiguration } from './configuration.ts';
import { runKubelet } from './kubelet.ts';

const log = logger('kubelet');

const spec = {
  kubeconfig: { type: 'string', required: true, description: 'kubeconfig of this node (user system:node:NAME)' },
  config: { type: 'string', default: '', description: 'KubeletConfiguration file' },
  'hostname-override': { type: 'string', description: 'name of the Node instead of the hostname' },
  'node-ip': { type: 'list', description: 'addresses of this node; default: that of the default route' },
  'node-labels': { type: 'map', description: 'labels to register the Node with' },
  'register-with-taints': { type: 'list', description: 'taints to register the Node with: key=value:effect' },
  'root-dir': { type: 'string', default: '/var/lib/kubelet', description: 'folder of pods, plugins and volumes' },
  'container-runtime-endpoint': {
    type: 'string',
    description: 'CRI socket, such as unix:///run/containerd/containerd.sock',
  },
  'image-service-endpoint': {
    type: 'string',
    description: 'accepted for compatibility; the runtime endpoint serves images',
  },
  'bootstrap-kubeconfig': { type: 'string', description: 'accepted for compatibility' },
  'provider-id': { type: 'string', description: 'accepted for compatibility' },
  'fail-swap-on': { type: 'boolean', description: 'accepted for compatibility' },
  'pod-infra-container-image': {
    type: 'string',
    description: 'accepted for compatibility; the runtime knows its pause image',
  },
  'reported-version': { type: 'string', default: 'v1.36.0', description: 'kubeletVersion of the Node' },
  v: { type: 'number', default: 0, description: 'log verbosity' },
} as const;

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), spec);
  setVerbosity(flags.v);
  const config = readConfiguration(flags.config);
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  await runKubelet(
    {
      kubeconfig: flags.kubeconfig,
      config,
      nodeName: (flags['hostname-override'] ?? hostname()).toLowerCase(),
      nodeIps: flags['node-ip'],
      rootDir: flags['root-dir'],
      runtimeEndpoint:
        flags['container-runtime-endpoint'] ||
        config.containerRuntimeEndpoint ||
        'unix:///run/containerd/containerd.sock',
      labels: flags['node-labels'],
      taints: flags['register-with-taints'].map(parseTaint),
      version: flags['reported-version'],
    },
    stop.signal,
  );
}

function parseTaint(text: string): Taint {
  const match = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(text);
  if (!match)
    throw new FlagError(
      `--register-with-taints: "${text}" is not key=value:effect with effect NoSchedule, PreferNoSchedule or NoExecute`,
    );
  return { key: match[1] ?? '', ...(match[2] && { value: match[2] }), effect: match[3] as Taint['effect'] & string };
}

try {
  await main();
  process.exit(0);
} catch (error) {
  if (error instanceof FlagError) process.stderr.write(`${error.message}\n`);
  else log.error('kubelet cannot run', describeError(error));
  process.exit(1);
}
