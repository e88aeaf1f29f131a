// SPDX-License-Identifier: Apache-2.0
// What runs on a node outside pods, as data: the command line of every component. Flags and files are upstream's, so
// that upstream's binary can take any component's place.

import { existsSync } from 'node:fs';
import { stringify } from 'yaml';

import type { Service } from '../machines/supervisor.ts';
import { hostOf } from '../network/addresses.ts';
import type { Program } from './bundle.ts';
import { givenCommand, isGivenProgram } from './given-programs.ts';
import { ipPlan, type IpPlan } from './ip-plan.ts';
import { cacheDirectory, clusterDomain } from './layout.ts';
import { controlPlane, type ClusterState, type NetworkMode, type NodeState } from './state.ts';

export interface ServiceContext {
  readonly state: ClusterState;
  readonly node: NodeState;
  /** Bundle of each program that the project has. */
  readonly bundles: ReadonlyMap<Program, string>;
}

const pki = '/etc/kubernetes/pki';

/** Services of one node, in the order in which they are started. A component whose program is missing is left out. */
export function nodeServices(context: ServiceContext): Service[] {
  const { state, node } = context;
  const isControlPlane = node.role === 'control-plane';
  return [
    containerdService(),
    ...etcdMembers(state)
      .filter((member) => member.node === node.name)
      .map((member) => etcdService(state, member)),
    ...(isControlPlane ? controlPlaneServices(context) : []),
    ...workerServices(context),
  ];
}

function containerdService(): Service {
  // Go's runtime: collecting garbage a little more often halves what containerd holds on to.
  return {
    name: 'containerd',
    command: ['containerd', '--config', '/etc/kubernetes/containerd.toml'],
    env: { GOGC: '50' },
  };
}

/** BIRD 2, as soon as the network agent has written its configuration. */
function birdService(): Service {
  const [configuration, socket] = ['/etc/bird/bird.conf', '/run/bird/bird.ctl'];
  const script = [
    'mkdir -p "$(dirname "$2")"',
    'until [ -s "$1" ]; do sleep 0.1; done',
    // -R: routes that the kernel has from an earlier run stay until peers have told theirs again.
    'exec bird -f -R -c "$1" -s "$2"',
  ].join('\n');
  return { name: 'bird', command: ['sh', '-ec', script, 'sh', configuration, socket] };
}

function controlPlaneServices(context: ServiceContext): Service[] {
  const { state, node } = context;
  const plan = ipPlan(state.options.ipFamily);
  return [
    ...program(context, 'kube-apiserver', [
      `--etcd-servers=${etcdUrls(state)}`,
      ...(state.options.etcdEndpoints.startsWith('http://')
        ? []
        : [
            `--etcd-cafile=${pki}/etcd/ca.crt`,
            `--etcd-certfile=${pki}/apiserver-etcd-client.crt`,
            `--etcd-keyfile=${pki}/apiserver-etcd-client.key`,
          ]),
      `--client-ca-file=${pki}/ca.crt`,
      `--tls-cert-file=${pki}/apiserver.crt`,
      `--tls-private-key-file=${pki}/apiserver.key`,
      `--service-account-key-file=${pki}/sa.pub`,
      `--service-account-signing-key-file=${pki}/sa.key`,
      `--service-account-issuer=https://kubernetes.default.svc.${clusterDomain}`,
      `--service-cluster-ip-range=${plan.serviceNetworks.join(',')}`,
      '--service-node-port-range=30000-32767',
      `--kubelet-certificate-authority=${pki}/ca.crt`,
      `--kubelet-client-certificate=${pki}/apiserver-kubelet-client.crt`,
      `--kubelet-client-key=${pki}/apiserver-kubelet-client.key`,
      `--proxy-client-cert-file=${pki}/front-proxy-client.crt`,
      `--proxy-client-key-file=${pki}/front-proxy-client.key`,
      `--requestheader-client-ca-file=${pki}/front-proxy-ca.crt`,
      '--requestheader-allowed-names=front-proxy-client',
      `--advertise-address=${node.address}`,
      `--bind-address=${plan.wildcard}`,
      '--secure-port=6443',
      `--reported-version=${state.options.kubernetesVersion}`,
    ]),
    ...program(
      context,
      'kube-controller-manager',
      [
        '--kubeconfig=/etc/kubernetes/controller-manager.conf',
        `--root-ca-file=${pki}/ca.crt`,
        `--service-account-private-key-file=${pki}/sa.key`,
        `--cluster-signing-cert-file=${pki}/ca.crt`,
        `--cluster-signing-key-file=${pki}/ca.key`,
        `--cluster-cidr=${plan.podNetworks.join(',')}`,
        '--allocate-node-cidrs=true',
        ...nodeMaskFlags(plan, state.options.network),
        `--service-cluster-ip-range=${plan.serviceNetworks.join(',')}`,
        '--use-service-account-credentials=true',
        '--leader-elect=true',
      ],
      // Upstream's has no such flag.
      state.options.loadBalancerRange === '' ? {} : { PLUMB_LOAD_BALANCER_RANGE: state.options.loadBalancerRange },
    ),
    ...program(context, 'kube-scheduler', ['--kubeconfig=/etc/kubernetes/scheduler.conf', '--leader-elect=true']),
  ];
}

function workerServices(context: ServiceContext): Service[] {
  const { state, node } = context;
  const plan = ipPlan(state.options.ipFamily);
  const isTainted = node.role === 'control-plane' && state.options.workers > 0;
  return [
    ...program(context, 'kubelet', [
      '--kubeconfig=/etc/kubernetes/kubelet.conf',
      '--config=/var/lib/kubelet/config.yaml',
      `--hostname-override=${node.name}`,
      `--node-ip=${node.addresses.join(',')}`,
      '--root-dir=/var/lib/kubelet',
      '--container-runtime-endpoint=unix:///run/containerd/containerd.sock',
      ...(isTainted ? ['--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule'] : []),
    ]),
    ...(state.options.network === 'bgp' ? [birdService()] : []),
    ...program(context, 'network-agent', [
      '--kubeconfig=/etc/kubernetes/network-agent.conf',
      `--node-name=${node.name}`,
      `--cluster-cidr=${plan.podNetworks.join(',')}`,
      `--network-mode=${state.options.network}`,
      '--cni-conf-dir=/etc/cni/net.d',
    ]),
    ...program(context, 'kube-proxy', [
      '--kubeconfig=/etc/kubernetes/kube-proxy.conf',
      `--hostname-override=${node.name}`,
      `--cluster-cidr=${plan.podNetworks.join(',')}`,
      `--proxy-mode=${state.options.proxyMode}`,
      `--healthz-bind-address=${hostOf(plan.wildcard)}:10256`,
      '--metrics-bind-address=127.0.0.1:10249',
    ]),
  ];
}

/** As upstream's flags have it: one flag for one family, one each for two. */
function nodeMaskFlags({ podNetworks, nodeMaskSizes: usual }: IpPlan, network: NetworkMode): string[] {
  // Calico's block, of which a node gets more as it needs them.
  const nodeMaskSizes = usual.map((size) => (network === 'bgp' && size === 24 ? 26 : size));
  if (podNetworks.length === 1) return nodeMaskSizes.map((size) => `--node-cidr-mask-size=${size}`);
  return podNetworks.map(
    (network, index) => `--node-cidr-mask-size-ipv${network.includes(':') ? 6 : 4}=${nodeMaskSizes[index] ?? ''}`,
  );
}

/** `ownEnv` is for our program only. */
function program(
  context: ServiceContext,
  name: Program,
  flags: readonly string[],
  ownEnv: Readonly<Record<string, string>> = {},
): Service[] {
  if (isGivenProgram(name)) {
    const given = context.state.options.components[name];
    if (given !== undefined) return [{ name, command: givenCommand(name, given, flags) }];
  }
  const path = context.bundles.get(name);
  if (path === undefined || !existsSync(path)) return [];
  const { command, env } = programCommand(path);
  return [{ name, command: [...command, ...flags], env: { ...env, ...ownEnv } }];
}

/** How a bundled component is started, without its flags. */
export function programCommand(bundlePath: string): Required<Pick<Service, 'command' | 'env'>> {
  return {
    command: [process.execPath, ...nodeFlags, bundlePath],
    env: { NODE_COMPILE_CACHE: cacheDirectory('compile'), NODE_OPTIONS: '', UV_THREADPOOL_SIZE: '2' },
  };
}

const nodeFlags = ['--max-semi-space-size=2', '--v8-pool-size=1'];

export interface EtcdMember {
  readonly name: string;
  readonly node: string;
  readonly address: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly metricsPort: number;
}

/** Members are dealt out over the nodes; where one node has several, their ports are ten apart. */
export function etcdMembers(state: ClusterState): EtcdMember[] {
  if (state.options.etcdEndpoints !== '') return [];
  return Array.from({ length: state.options.etcdMembers }, (_, index): EtcdMember => {
    const node = state.nodes[index % state.nodes.length] ?? controlPlane(state);
    const offset = 10 * Math.floor(index / state.nodes.length);
    return {
      name: index === 0 ? 'etcd' : `etcd-${index + 1}`,
      node: node.name,
      address: node.address,
      clientPort: 2379 + offset,
      peerPort: 2380 + offset,
      metricsPort: 2381 + offset,
    };
  });
}

export function etcdUrls(state: ClusterState): string {
  if (state.options.etcdEndpoints !== '') return state.options.etcdEndpoints;
  return etcdMembers(state)
    .map((member) => `https://${hostOf(member.address)}:${member.clientPort}`)
    .join(',');
}

function etcdService(state: ClusterState, member: EtcdMember): Service {
  const members = etcdMembers(state);
  const node = state.nodes.find((candidate) => candidate.name === member.node) ?? controlPlane(state);
  const peer = (one: EtcdMember): string => `https://${hostOf(one.address)}:${one.peerPort}`;
  return {
    name: member.name,
    env: { GOGC: '50' },
    command: [
      'etcd',
      `--name=${member.name}`,
      `--data-dir=${node.directory}/${member.name}`,
      `--listen-client-urls=https://${hostOf(member.address)}:${member.clientPort},https://127.0.0.1:${member.clientPort}`,
      `--advertise-client-urls=https://${hostOf(member.address)}:${member.clientPort}`,
      `--listen-peer-urls=${peer(member)}`,
      `--initial-advertise-peer-urls=${peer(member)}`,
      `--initial-cluster=${members.map((one) => `${one.name}=${peer(one)}`).join(',')}`,
      `--initial-cluster-token=${state.name}`,
      `--listen-metrics-urls=http://127.0.0.1:${member.metricsPort}`,
      '--client-cert-auth=true',
      '--peer-client-cert-auth=true',
      `--trusted-ca-file=${pki}/etcd/ca.crt`,
      `--cert-file=${pki}/etcd/server.crt`,
      `--key-file=${pki}/etcd/server.key`,
      `--peer-trusted-ca-file=${pki}/etcd/ca.crt`,
      `--peer-cert-file=${pki}/etcd/peer.crt`,
      `--peer-key-file=${pki}/etcd/peer.key`,
      '--auto-compaction-mode=periodic',
      '--auto-compaction-retention=5m',
      '--snapshot-count=10000',
      '--logger=zap',
      '--log-outputs=stderr',
    ],
  };
}

/** /var/lib/kubelet/config.yaml. */
export function kubeletConfig(plan: IpPlan): string {
  return stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: plan.wildcard,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: `${pki}/ca.crt` },
    },
    authorization: { mode: 'Webhook' },
    cgroupDriver: 'cgroupfs',
    clusterDNS: plan.dnsServiceAddresses.slice(0, 1),
    clusterDomain,
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    failSwapOn: false,
    failCgroupV1: false,
    resolvConf: '/etc/resolv.conf',
    rotateCertificates: false,
    staticPodPath: '/etc/kubernetes/manifests',
    tlsCertFile: '/var/lib/kubelet/pki/kubelet.crt',
    tlsPrivateKeyFile: '/var/lib/kubelet/pki/kubelet.key',
    healthzBindAddress: '127.0.0.1',
    healthzPort: 10248,
    // The nodes of a cluster share one disk with the machine's owner: evict late.
    evictionHard: {
      'memory.available': '100Mi',
      'nodefs.available': '3%',
      'nodefs.inodesFree': '2%',
      'imagefs.available': '3%',
    },
    imageGCHighThresholdPercent: 100,
  });
}
