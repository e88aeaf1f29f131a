// SPDX-License-Identifier: Apache-2.0
// The network agent of one node: pod addresses by CNI, routes to other nodes' pods, source translation towards the
// outside, and network policy. The CNI configuration, which makes the node Ready, is written last: a pod cannot start
// before the rules that will guard it are in force. All rules stay when the process ends.

import { watch } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';

import { Client } from '../machinery/client.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { startHealthServer } from '../machinery/health-server.ts';
import { Informer } from '../machinery/informer.ts';
import { logger, setVerbosity } from '../machinery/log.ts';
import { resources } from '../machinery/resources.ts';
import { familyOf } from './addresses.ts';
import { keepBandwidth } from './bandwidth.ts';
import { reconcileBird } from './bird.ts';
import { leasesDirectory, writeCniConfig } from './cni-config.ts';
import { linkWith } from './ip-command.ts';
import { LoadBalancerAgent } from './load-balancer-agent.ts';
import { masqueradeTable } from './masquerade.ts';
import { LiveTable } from './nft/live-table.ts';
import { SyncLoop } from './nft/sync-loop.ts';
import { resultsDirectory } from './policy/cni-attachments.ts';
import { PolicyAgent } from './policy/policy-agent.ts';
import {
  addressesInUse,
  grantedBlocks,
  grantedBlocksAnnotation,
  internalAddresses,
  podCIDRsOf,
  wantedBlocks,
  wantedBlocksAnnotation,
} from './node-addresses.ts';
import { desiredRoutes, isNetworkMode, networkModes, reconcileRoutes } from './routes.ts';
import { macAnnotation, overlayMac, overlayMtu, reconcileOverlay } from './vxlan.ts';
import type { Node } from '../machinery/api-types.ts';

const flagSpec = {
  kubeconfig: { type: 'string', required: true, description: 'kubeconfig file with the right to watch Nodes and Pods' },
  'node-name': { type: 'string', required: true, description: 'name of the Node that this process serves' },
  'cluster-cidr': { type: 'list', description: 'addresses of all pods: no source translation inside' },
  'network-mode': {
    type: 'string',
    default: 'routed',
    description: 'how pods of other nodes are reached: routed, vxlan, bgp (needs BIRD 2 beside this process)',
  },
  'cni-conf-dir': { type: 'string', default: '/etc/cni/net.d', description: 'where the runtime looks for networks' },
  'healthz-bind-address': {
    type: 'string',
    default: '127.0.0.1:10261',
    description: 'address of /healthz and /metrics',
  },
  v: { type: 'number', default: 0, description: 'log verbosity' },
} as const;

const log = logger('network-agent');
/** Routes and rules are compared with the kernel this often even when nothing changed: others may have damaged them. */
const recheckMs = 30_000;

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  setVerbosity(flags.v);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const nodeName = flags['node-name'];
  const mode = flags['network-mode'];
  if (!isNetworkMode(mode)) {
    throw new FlagError(`--network-mode: "${mode}" is not one of ${networkModes.join(', ')}`);
  }
  const client = Client.fromKubeconfig(flags.kubeconfig, { userAgent: 'network-agent' });
  const nodes = new Informer<Node>(client, resources.nodes, { transform: leanNode });
  const masquerade = new LiveTable();
  const policy = new PolicyAgent({ client, nodeName, nodes });
  const watching = policy.watch(stop.signal);
  let configured = false;
  let lastError: unknown = new Error('this node has no podCIDR yet; the controller-manager assigns it');

  const annotate = async (node: Node, key: string, value: string): Promise<void> => {
    if (node.metadata.annotations?.[key] === value) return;
    const body = { metadata: { annotations: { [key]: value } } };
    await client.patch(resources.nodes, nodeName, { type: 'merge', body });
  };

  const loop = new SyncLoop({
    settleMs: 2,
    retryMs: 1000,
    run: async () => {
      const all = nodes.list();
      const self = nodes.get(nodeName);
      const podCIDRs = self === undefined ? [] : podCIDRsOf(self);
      if (self === undefined || podCIDRs.length === 0) return undefined;
      await enableForwarding(podCIDRs);
      const addresses = internalAddresses(self);
      const uplink = await linkWith(addresses);
      if (uplink === undefined) {
        throw new Error(
          `no link has the node's InternalIP (${addresses.join(', ') || 'none set'}); see kubelet --node-ip`,
        );
      }
      if (mode === 'vxlan') {
        for (const what of await reconcileOverlay(all, self, uplink)) log.info('overlay', { what });
        await annotate(self, macAnnotation, overlayMac(nodeName));
      }
      if (mode === 'bgp' && (await reconcileBird(all, self)) === 'written') log.info('BIRD configuration written');
      const routes = desiredRoutes(all, nodeName, mode);
      const done = await reconcileRoutes(routes, (error) => log.warn('route not set', { error }));
      for (const { verb, route } of done)
        log.info(`route ${verb}`, { to: route.destination, via: route.via ?? 'none' });
      await masquerade.apply(
        masqueradeTable({
          podCIDRs,
          clusterCIDRs: flags['cluster-cidr'],
          // An overlay hides pods from the network of the nodes.
          nodeAddresses: mode === 'vxlan' ? [] : all.flatMap(internalAddresses),
        }),
      );
      await watching;
      await policy.enforce(podCIDRs);
      const mtu = mode === 'vxlan' ? overlayMtu(uplink.mtu, familyOf(addresses[0] ?? '') ?? 4) : uplink.mtu;
      const written = await writeCniConfig(flags['cni-conf-dir'], { podCIDRs, mtu });
      if (written === 'written') log.info('CNI configuration written', { podCIDRs, mtu });
      configured = true;
      const wanted = wantedBlocks(self, await addressesInUse(leasesDirectory));
      if (wanted > grantedBlocks(self).length) await annotate(self, wantedBlocksAnnotation, String(wanted));
      lastError = undefined;
      return recheckMs;
    },
    onError: (error) => {
      lastError = error;
      log.error('the network could not be brought up to date, trying again in 1 s', error);
    },
  });
  nodes.onChange(({ object, old }) => {
    const seen = ({ metadata, spec, status }: Node): unknown => [metadata.annotations, spec, status];
    const same = old !== undefined && isDeepStrictEqual(seen(old), seen(object));
    if (nodes.synced && !same) loop.request();
  });
  await startHealthServer(
    {
      address: flags['healthz-bind-address'],
      checks: {
        network: () => {
          if (!configured || lastError !== undefined)
            throw new Error('the network is not up to date', { cause: lastError });
        },
        policy: () => {
          if (policy.lastError !== undefined)
            throw new Error('network policies are not up to date', { cause: policy.lastError });
        },
      },
    },
    stop.signal,
  );
  await nodes.start(stop.signal);
  loop.request();
  await keepBandwidth(resultsDirectory, stop.signal, (error) => log.warn('bandwidth of a pod not limited', { error }));
  await watchLeases(stop.signal, () => {
    const self = nodes.get(nodeName);
    if (self === undefined) return;
    void addressesInUse(leasesDirectory).then((used) => {
      if (wantedBlocks(self, used) > grantedBlocks(self).length) loop.request();
    });
  });
  const loadBalancers = new LoadBalancerAgent({
    client,
    nodeName,
    nodes,
    onChange: (verb, address) => log.info(`${verb} a load balancer address`, { address }),
    onError: (error) => log.warn('load balancer addresses are not up to date', { error }),
  });
  loadBalancers.start(stop.signal).catch((error: unknown) => log.error('cannot watch load balancers', error));
  if (!stop.signal.aborted) {
    await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  await policy.stop();
  await loadBalancers.stop();
  await loop.stop();
  client.close();
}

/** Calls back after the number of addresses in use may have changed. */
async function watchLeases(signal: AbortSignal, onChange: () => void): Promise<void> {
  await mkdir(leasesDirectory, { recursive: true });
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(leasesDirectory, () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      onChange();
    }, 50);
  });
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    watcher.close();
  });
}

/** The node routes between its pods and the rest. Written only where it is off: /proc/sys may be read-only. */
async function enableForwarding(podCIDRs: readonly string[]): Promise<void> {
  const paths = ['/proc/sys/net/ipv4/ip_forward'];
  if (podCIDRs.some((cidr) => cidr.includes(':'))) paths.push('/proc/sys/net/ipv6/conf/all/forwarding');
  for (const path of paths) {
    if ((await readFile(path, 'utf8')).trim() === '0') await writeFile(path, '1\n');
  }
}

/** What routes depend on; heartbeats then change nothing. */
function leanNode({ metadata, spec, status }: Node): Node {
  const { name, uid, resourceVersion, labels, deletionTimestamp } = metadata;
  const annotations = Object.fromEntries(
    [macAnnotation, grantedBlocksAnnotation, wantedBlocksAnnotation].flatMap((key) => {
      const value = metadata.annotations?.[key];
      return value === undefined ? [] : [[key, value]];
    }),
  );
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return {
    metadata: {
      ...(name && { name }),
      ...(uid && { uid }),
      ...(resourceVersion && { resourceVersion }),
      ...(labels && { labels }),
      annotations,
      ...(deletionTimestamp && { deletionTimestamp }),
    },
    spec: { ...(spec?.podCIDR && { podCIDR: spec.podCIDR }), ...(spec?.podCIDRs && { podCIDRs: spec.podCIDRs }) },
    status: {
      ...(status?.addresses && { addresses: status.addresses }),
      ...(ready?.status && { conditions: [{ type: 'Ready', status: ready.status }] }),
    },
  };
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError) process.stderr.write(`network-agent: ${error.message}\n`);
    else log.error('the network agent cannot go on', error);
    process.exit(1);
  },
);
