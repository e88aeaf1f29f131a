// SPDX-License-Identifier: Apache-2.0
// kube-controller-manager: runs the selected controllers on shared informers while it holds the lease.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { Client } from '../machinery/client.ts';
import { EventRecorder } from '../machinery/events.ts';
import { parseFlags } from '../machinery/flags.ts';
import { startHealthServer } from '../machinery/health-server.ts';
import { runWithLeaderElection } from '../machinery/leader-election.ts';
import { describeError, logger, setVerbosity } from '../machinery/log.ts';
import type { ControllerContext, Settings } from './controller.ts';
import { Identities } from './identities.ts';
import { InformerSet } from './informer-set.ts';
import { selectControllers } from './registry.ts';

const spec = {
  kubeconfig: {
    type: 'string',
    description: 'Path of the kubeconfig; without it, the service account of the pod is used.',
  },
  'root-ca-file': { type: 'string', description: 'CA that is published to every namespace as kube-root-ca.crt.' },
  'service-account-private-key-file': {
    type: 'string',
    description: 'Key that signs tokens of service account secrets.',
  },
  'cluster-signing-cert-file': { type: 'string', description: 'CA certificate that signs certificate requests.' },
  'cluster-signing-key-file': { type: 'string', description: 'CA key that signs certificate requests.' },
  'cluster-signing-duration': {
    type: 'duration',
    description: 'Longest validity of a signed certificate.',
    default: '8760h',
  },
  'cluster-cidr': { type: 'list', description: 'Range of pod addresses; one IPv4, one IPv6, or both.' },
  'cluster-name': { type: 'string', description: 'Name of the cluster.', default: 'kubernetes' },
  'service-cluster-ip-range': { type: 'string', description: 'Range of Service addresses.' },
  'allocate-node-cidrs': { type: 'boolean', description: 'Give each node a part of --cluster-cidr.' },
  'node-cidr-mask-size': {
    type: 'number',
    description: 'Prefix length of a node’s part where there is one range; 24 or 64.',
  },
  'node-cidr-mask-size-ipv4': { type: 'number', description: 'Prefix length of a node’s IPv4 part.', default: 24 },
  'node-cidr-mask-size-ipv6': { type: 'number', description: 'Prefix length of a node’s IPv6 part.', default: 64 },
  'node-monitor-grace-period': {
    type: 'duration',
    description: 'Silence after which a node is not ready.',
    default: '50s',
  },
  controllers: { type: 'list', description: 'Controllers to run: *, name, -name.', default: [] },
  'leader-elect': { type: 'boolean', description: 'Work only while holding the lease.', default: true },
  'use-service-account-credentials': {
    type: 'boolean',
    description: 'Give each controller its own service account, so that it has no more rights than it needs.',
  },
  'bind-address': { type: 'string', description: 'Address of health checks and metrics.', default: '127.0.0.1' },
  'secure-port': { type: 'number', description: 'Port of health checks and metrics; 0 turns it off.', default: 10257 },
  'tls-cert-file': { type: 'string', description: 'Serving certificate; without it, the port speaks plain HTTP.' },
  'tls-private-key-file': { type: 'string', description: 'Key of --tls-cert-file.' },
  v: { type: 'number', description: 'Verbosity of the log.', default: 0 },
} as const;

const log = logger('controller-manager');

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), spec);
  setVerbosity(flags.v);
  const selected = selectControllers(flags.controllers.length > 0 ? flags.controllers : ['*']);
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  const userAgent = 'kube-controller-manager';
  const client = flags.kubeconfig
    ? Client.fromKubeconfig(flags.kubeconfig, { userAgent })
    : Client.inCluster({ userAgent });
  const read = (path: string | undefined): string | undefined => (path ? readFileSync(path, 'utf8') : undefined);
  const optional = <K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> =>
    value === undefined ? {} : ({ [key]: value } as Record<K, string>);
  const settings: Settings = {
    clusterCidrs: flags['allocate-node-cidrs'] ? flags['cluster-cidr'] : [],
    nodeCidrMaskSizes: {
      4: flags['node-cidr-mask-size'] ?? flags['node-cidr-mask-size-ipv4'],
      6: flags['node-cidr-mask-size'] ?? flags['node-cidr-mask-size-ipv6'],
    },
    signingDurationMs: flags['cluster-signing-duration'],
    loadBalancerRanges: (process.env['PLUMB_LOAD_BALANCER_RANGE'] ?? '').split(',').filter((range) => range !== ''),
    nodeMonitorGracePeriodMs: flags['node-monitor-grace-period'],
    ...optional('rootCa', read(flags['root-ca-file'])),
    ...optional('serviceAccountPrivateKey', read(flags['service-account-private-key-file'])),
    ...optional('signingCertificate', read(flags['cluster-signing-cert-file'])),
    ...optional('signingKey', read(flags['cluster-signing-key-file'])),
  };
  const cert = read(flags['tls-cert-file']);
  const key = read(flags['tls-private-key-file']);
  if (flags['secure-port'] > 0) {
    const address = `${flags['bind-address']}:${flags['secure-port']}`;
    await startHealthServer({ address, ...(cert && key && { tls: { cert, key } }) }, stop.signal);
  }
  const recorders = new Map<string, EventRecorder>();
  const context: ControllerContext = {
    client,
    informers: new InformerSet(client),
    settings,
    now: Date.now,
    recorder(component) {
      const recorder = recorders.get(component) ?? new EventRecorder(client, component);
      recorders.set(component, recorder);
      return recorder;
    },
  };
  const lead = async (signal: AbortSignal): Promise<void> => {
    const identities = new Identities(client);
    const running = selected.map((controller) => {
      const { serviceAccount } = controller;
      const own = flags['use-service-account-credentials'] && serviceAccount;
      return controller.setup(
        own ? { ...context, client: client.actingAs(() => identities.token(serviceAccount)) } : context,
      );
    });
    await context.informers.start(signal);
    log.info('controllers started', { count: selected.length });
    for (const { queues = [], run } of running) {
      for (const queue of queues) queue.start(signal);
      run?.(signal);
    }
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
  };
  if (flags['leader-elect']) {
    const identity = `${hostname()}_${randomUUID()}`;
    await runWithLeaderElection({ client, name: 'kube-controller-manager', identity, signal: stop.signal }, lead);
  } else {
    await lead(stop.signal);
  }
  client.close();
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    log.error('controller manager ends', error);
    process.stderr.write(`${describeError(error)}\n`);
    process.exit(1);
  },
);
