// SPDX-License-Identifier: Apache-2.0
/**
 * What lies around the worlds of a run and is shared by all of them: agents in the host network of the nodes, a stub outside the cluster
 * (in the harness itself), and the pods that answer DNS. What a cluster does not let us have is left out, with the reason.
 */
import { randomInt } from 'node:crypto';
import { connect } from 'node:net';
import { Listeners } from '../../../probes/agent/listeners.ts';
import type { NodeProbe } from '../../../probes/agent/prober.ts';
import type { CaseContext } from '../../case.ts';
import type { Labels, ModelPod } from '../../oracles/reachability/model.ts';

/** Ports of the agents in the host network: where nothing else should be. */
export const hostPorts = { first: 28_080, second: 28_081 } as const;

export interface ExternalStub {
  readonly address: string;
  readonly ports: readonly { readonly protocol: 'tcp' | 'udp'; readonly port: number }[];
  readonly hostname: string;
  readonly receiver: { receipts(nonces: readonly string[]): Promise<ReturnType<Listeners['receipts']>> };
}

export interface Surroundings {
  /** Agents in the host network, by node. */
  readonly hosts: ReadonlyMap<string, NodeProbe>;
  readonly external: ExternalStub | undefined;
  readonly dnsPods: readonly ModelPod[];
  readonly dnsServiceIps: readonly string[];
  readonly namespaces: ReadonlyMap<string, Labels>;
  /** Kinds of destinations that cannot be tried here, and why. */
  readonly without: readonly string[];
}

/** Somebody did not want node probes, or uses the agents' ports: another program of the node, or another run. */
const notGiven = /--no-node-probes|EADDRINUSE/;

export async function openSurroundings(t: CaseContext): Promise<Surroundings> {
  const without: string[] = [
    'SCTP: the agents’ runtime has no SCTP sockets; SCTP in policies is applied, and must leave TCP and UDP alone',
  ];
  /** What the cluster does not let us have is left out; what broke on the way may be there the next time. */
  const reasonOf = (error: unknown): string => {
    if (!(error instanceof Error)) return String(error);
    if ('inconclusive' in error && !notGiven.test(error.message)) throw error;
    return error.message;
  };
  const [hosts, external, dns] = await Promise.all([
    openHosts(t).catch((error: unknown) => {
      without.push(`host network: ${reasonOf(error)}`);
      return new Map<string, NodeProbe>();
    }),
    openStub(t).catch((error: unknown) => {
      without.push(`external: ${reasonOf(error)}`);
      return undefined;
    }),
    findDns(t).catch((error: unknown) => {
      without.push(`headless names: ${reasonOf(error)}`);
      return undefined;
    }),
  ]);
  return {
    hosts,
    external,
    dnsPods: dns?.pods ?? [],
    dnsServiceIps: dns?.serviceIps ?? [],
    namespaces: dns?.namespaces ?? new Map(),
    without,
  };
}

async function openHosts(t: CaseContext): Promise<ReadonlyMap<string, NodeProbe>> {
  const nodes = t.cluster.workers.slice(0, 2);
  const probes = await Promise.all(
    nodes.map(async (node) => {
      const probe = await t.probes.node(node);
      const status = t.cluster.nodes.find(({ metadata }) => metadata?.name === node)?.status;
      const addresses = (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP');
      const ports = addresses.flatMap(({ address }) =>
        Object.values(hostPorts).flatMap((port) => [
          { protocol: 'tcp' as const, port, address },
          { protocol: 'udp' as const, port, address },
        ]),
      );
      // The probe may have opened them for an earlier try that broke elsewhere.
      await probe.unlisten(ports);
      await probe.listen(ports);
      return [node, probe] as const;
    }),
  );
  return new Map(probes);
}

/** A server in this process, on the address from which the API server is reached, if pods reach it there. */
async function openStub(t: CaseContext): Promise<ExternalStub> {
  const server = new URL(t.kube.config.getCurrentCluster()?.server ?? '');
  const address = await localAddressTowards(server.hostname, Number(server.port === '' ? 443 : server.port));
  if (address.startsWith('127.') || address === '::1')
    throw new Error('the API server is reached over loopback, so pods know no way here');
  const listeners = new Listeners({ holdsProcess: false });
  const port = await openAnyPort(listeners);
  // Positive control: without policies a pod must reach it.
  const pod = await t.probes.pod({ name: 'stub-control' });
  const ports = (['tcp', 'udp'] as const).map((protocol) => ({ protocol, port }));
  const results = await pod.attempts(ports.map((one) => ({ ...one, host: address, timeoutMs: 3_000 })));
  const failed = results.find(({ outcome }) => outcome !== 'allowed');
  if (failed !== undefined) {
    listeners.close(ports);
    throw new Error(`pods do not reach the harness at ${address} (${failed.outcome})`);
  }
  return {
    address,
    ports,
    hostname: results[0]?.server?.hostname ?? '',
    receiver: { receipts: async (nonces) => listeners.receipts(nonces) },
  };
}

function localAddressTowards(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: host.replaceAll(/[[\]]/g, ''), port, timeout: 5_000 });
    socket.on('error', reject).on('timeout', () => socket.destroy(new Error('no connection within 5 s')));
    socket.on('connect', () => {
      const address = socket.localAddress ?? '';
      socket.destroy();
      resolve(address.replace(/^::ffff:/, ''));
    });
  });
}

async function openAnyPort(listeners: Listeners): Promise<number> {
  for (let turn = 0; ; turn++) {
    const port = randomInt(30_000, 60_000);
    try {
      await listeners.open([
        { protocol: 'tcp', port },
        { protocol: 'udp', port },
      ]);
      return port;
    } catch (error) {
      listeners.close(listeners.listening);
      if (turn === 9) throw error;
    }
  }
}

async function findDns(t: CaseContext) {
  const service = await t.kube.core.readNamespacedService({ namespace: 'kube-system', name: 'kube-dns' });
  const selector = Object.entries(service.spec?.selector ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  const [{ items }, namespace] = await Promise.all([
    t.kube.core.listNamespacedPod({ namespace: 'kube-system', labelSelector: selector }),
    t.kube.core.readNamespace({ name: 'kube-system' }),
  ]);
  const pods = items.map(({ metadata, spec, status }): ModelPod => ({
    namespace: 'kube-system',
    name: metadata?.name ?? '',
    labels: metadata?.labels ?? {},
    addresses: (status?.podIPs ?? []).map(({ ip }) => ip),
    node: spec?.nodeName ?? '',
    namedPorts: {},
    ...(spec?.hostNetwork === true && { hostNetwork: true }),
  }));
  if (pods.length === 0) throw new Error('kube-dns has no pods');
  return {
    pods,
    serviceIps: service.spec?.clusterIPs ?? [],
    namespaces: new Map<string, Labels>([['kube-system', namespace.metadata?.labels ?? {}]]),
  };
}
