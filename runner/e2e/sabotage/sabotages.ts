// SPDX-License-Identifier: Apache-2.0
/** Ways to break a cluster, as data, and the cases that must then be red. Together they redden every case of `suites/`. */
import type { LieName } from './lies.ts';
import type { Step, Where } from './steps.ts';

export interface Sabotage {
  readonly id: string;
  readonly title: string;
  /** Told by a proxy in front of the API server; the cluster itself stays whole, so that several can be tried at once. */
  readonly lies?: readonly LieName[];
  /** Done to the cluster, and undone. */
  readonly break?: readonly Step[];
  readonly heal?: readonly Step[];
  /** Ids of cases, or regular expressions for several. */
  readonly reddens: readonly string[];
}

/** Rules of nobody's: a table beside those of the cluster's components. */
export function foreignTable(rules: string, where: Where = 'workers'): Pick<Sabotage, 'break' | 'heal'> {
  return {
    break: [{ in: where, script: `nft -f - <<'END'\ntable inet sabotage {\n${rules}\n}\nEND` }],
    heal: [{ in: where, script: 'nft delete table inet sabotage' }],
  };
}

const dnsService = '10.96.0.10';

function throughLyingDns(manner: 'wrong' | 'remembers'): Pick<Sabotage, 'break' | 'heal'> {
  return {
    break: [
      { in: 'workers', standIn: 'lying-dns', args: [dnsService, manner] },
      {
        in: 'workers',
        script: 'for turn in $(seq 100); do ss -lun | grep -q :10053 && exit 0; sleep 0.1; done; exit 1',
      },
      {
        in: 'workers',
        script: `nft -f - <<'END'
table ip sabotage {
  chain prerouting { type nat hook prerouting priority -150; ip daddr ${dnsService} udp dport 53 redirect to :10053; }
}
END`,
      },
    ],
    heal: [{ in: 'workers', script: 'nft delete table ip sabotage' }],
  };
}

function schedulerThatTakes(which: 'first' | 'last'): Pick<Sabotage, 'break' | 'heal'> {
  return {
    break: [
      { in: 'control-plane', component: 'kube-scheduler', to: 'down' },
      { in: 'host', standIn: 'first-node-scheduler', args: ['{kubeconfig}', which] },
    ],
    heal: [{ in: 'control-plane', component: 'kube-scheduler', to: 'up' }],
  };
}

const everybodyIsAdmin = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: 'sabotage-everybody-is-admin' },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
  subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:serviceaccounts' }],
};

/** `from.to` for every address of the pod networks: a packet that comes back to the pod that sent it. */
const hairpins = [0, 1, 2, 3]
  .flatMap((network) =>
    Array.from({ length: 254 }, (_unused, host) => `10.244.${network}.${host + 1} . 10.244.${network}.${host + 1}`),
  )
  .join(', ');

export const sabotages: readonly Sabotage[] = [
  {
    id: 'api-watch',
    title: 'a watch loses every second event',
    lies: ['loses every second watch event'],
    reddens: ['api.watch.sees-every-change'],
  },
  {
    id: 'api-conflict',
    title: 'updates are not compared with the version they were made from',
    lies: ['lets the last writer win'],
    reddens: ['api.update.conflict'],
  },
  {
    id: 'api-apply',
    title: 'owners of fields are not kept apart',
    lies: ['forces every apply'],
    reddens: ['api.apply.field-ownership'],
  },
  {
    id: 'api-deletion',
    title: 'finalizers and owners are not heeded',
    lies: ['ignores finalizers', 'ignores owners'],
    reddens: ['api.delete.finalizers', 'api.delete.owner-references'],
  },
  {
    id: 'api-lists',
    title: 'chunks of a list after the first are lost',
    lies: ['forgets to continue lists'],
    reddens: ['api.list.chunks-and-selectors'],
  },
  {
    id: 'api-selectors',
    title: 'selectors are not heeded',
    lies: ['ignores selectors'],
    reddens: ['api.list.chunks-and-selectors', 'api.watch.sees-every-change'],
  },
  {
    id: 'api-validation',
    title: 'whatever is sent is accepted',
    lies: ['accepts unknown fields', 'ignores schemas'],
    reddens: ['api.validation.errors', 'api.custom-resources'],
  },
  {
    id: 'api-definitions',
    title: 'kinds outlive their definitions',
    lies: ['keeps kinds whose definition is deleted'],
    reddens: ['api.custom-resources'],
  },
  {
    id: 'pods-deletion',
    title: 'deletions of pods are acknowledged and forgotten',
    lies: ['forgets deletions of pods'],
    reddens: [
      'services.endpoints.removal',
      'dns.headless.set',
      'dns.statefulset.pod-names',
      'workloads.replica-set.self-healing',
      'storage.unpublish.nothing-left',
    ],
  },
  {
    id: 'services-fields',
    title: 'affinity, traffic policies and named target ports of Services are not heeded',
    lies: ['ignores what Services ask for'],
    reddens: [
      'services.session-affinity.client-ip',
      'services.external-traffic-policy.local',
      'services.internal-traffic-policy.local',
      'services.health-check-node-port',
      'services.target-port.named',
      'dns.headless.not-ready',
    ],
  },
  {
    id: 'services-further-fields',
    title: 'external addresses, source ranges, time-outs, families and preferences of Services are not heeded',
    lies: ['ignores further fields of Services'],
    reddens: [
      'services.external-ip',
      'services.load-balancer.source-ranges',
      'services.session-affinity.timeout',
      'services.traffic-distribution.same-node',
      'services.dual-stack.both-families',
    ],
  },
  {
    id: 'services-no-balancer',
    title: 'nobody gives load balancers addresses',
    lies: ['gives no load balancer'],
    reddens: ['services.load-balancer.address'],
  },
  {
    id: 'services-no-draining',
    title: 'pods end at once',
    lies: ['ends containers at once'],
    reddens: ['services.endpoints.terminating'],
  },
  {
    id: 'services-stale-flows',
    title: 'nothing is ever removed from the connection tracker',
    break: [{ in: 'all', script: 'mount --bind /bin/false "$(command -v conntrack)"' }],
    heal: [{ in: 'all', script: 'umount "$(command -v conntrack)"' }],
    reddens: ['services.endpoints.udp-flow'],
  },
  {
    id: 'services-near-only',
    title: 'a node uses only its own endpoints',
    lies: ['uses endpoints of the own node only'],
    reddens: ['services.cluster-ip.every-endpoint', 'services.cluster-ip.from-pod'],
  },
  {
    id: 'services-slices',
    title: 'EndpointSlices that are not the controller’s are not heeded',
    lies: ['ignores EndpointSlices that somebody wrote'],
    reddens: ['services.selectorless.endpoint-slice'],
  },
  {
    id: 'pods-fields',
    title: 'service links, host aliases, subdomains, gates and readiness probes of pods are not heeded',
    lies: ['ignores what pods ask for'],
    reddens: [
      'services.environment-variables',
      'services.endpoints.readiness',
      'dns.host-aliases',
      'dns.headless.pod-names',
      'scheduler.gates',
    ],
  },
  {
    id: 'pods-resolv-conf',
    title: 'every pod has its node’s resolv.conf',
    lies: ['gives every pod the resolv.conf of its node'],
    reddens: ['dns.policy.cluster-first', 'dns.policy.none', 'dns.search-path'],
  },
  { id: 'pods-ndots', title: 'ndots is 1', lies: ['takes every name for complete'], reddens: ['dns.ndots'] },
  {
    id: 'scheduler-placement',
    title: 'affinity, selectors, spread and tolerations are not heeded',
    lies: ['ignores where pods want to be'],
    reddens: ['scheduler.node-selector', 'scheduler.pod-affinity'],
  },
  {
    id: 'scheduler-resources',
    title: 'requests and host ports are not heeded',
    lies: ['ignores what pods need'],
    reddens: ['scheduler.resources.fit', 'scheduler.host-port'],
  },
  {
    id: 'workloads-fields',
    title: 'roll-out strategy, order, selectors, completions and budgets are not heeded',
    lies: [
      'replaces all pods at once',
      'starts the pods of a set all at once',
      'leaves out nodes',
      'counts no completions',
      'evicts without asking',
    ],
    reddens: [
      'workloads.deployment.roll-out-and-back',
      'workloads.stateful-set.order',
      'workloads.daemon-set.every-node',
      'workloads.job.completion-and-back-off',
      'workloads.disruption-budget.eviction',
    ],
  },
  {
    id: 'policies-stored-only',
    title: 'policies are stored and not enforced',
    lies: ['stores policies and does not enforce them'],
    reddens: [
      'network-policy.table.(deny-ingress|deny-all|default-types)',
      'network-policy.enforcement.*',
      'network-policy.destination.(cluster-ip|headless|node-port)',
    ],
  },
  {
    id: 'policies-no-egress',
    title: 'egress is not enforced',
    lies: ['knows only ingress'],
    reddens: [
      'network-policy.table.(deny-egress|egress-to-pods|egress-named-port|ip-block-egress|both-ends)',
      'network-policy.destination.(host|external)',
    ],
  },
  {
    id: 'policies-udp-open',
    title: 'policies are not enforced for UDP',
    lies: ['lets all UDP through'],
    reddens: [
      'network-policy.table.(deny-ingress|deny-all|from-pods)',
      'network-policy.enforcement.(time|established)',
    ],
  },
  {
    id: 'policies-agent-stopped',
    title: 'the policy agent stops once the pods of the first world run',
    break: [
      {
        in: 'workers',
        repeat:
          'while [ $(ls /var/log/pods | grep -c "^plumb-policy-1-") -lt 4 ]; do sleep 0.2; done; sleep 3; sv down {services}/network-agent; sleep 1000',
      },
    ],
    heal: [{ in: 'workers', component: 'network-agent', to: 'up' }],
    reddens: ['network-policy.destination.cluster-ip'],
  },
  {
    id: 'policies-late',
    title: 'policies take hold half a minute late',
    break: [
      {
        in: 'workers',
        repeat: 'sv pause {services}/network-agent; sleep 30; sv cont {services}/network-agent; sleep 4',
      },
    ],
    heal: [{ in: 'workers', component: 'network-agent', to: 'cont' }],
    reddens: ['network-policy.enforcement.time'],
  },
  {
    id: 'policies-ports',
    title: 'ports of policies are not heeded',
    lies: ['ignores ports of policies'],
    reddens: ['network-policy.table.(port-number|port-protocol-only|union)'],
  },
  {
    id: 'policies-port-kinds',
    title: 'port ranges and names are taken for single numbers',
    lies: ['takes the end of a port range for its only port', 'takes names of ports for 8080'],
    reddens: ['network-policy.table.(end-port|named-port)'],
  },
  {
    id: 'policies-namespaces',
    title: 'namespaces of peers are not heeded',
    lies: ['ignores namespaces of peers'],
    reddens: ['network-policy.table.(from-namespace|from-namespace-or-pod)'],
  },
  {
    id: 'policies-pods',
    title: 'pods of peers are not heeded',
    lies: ['ignores pods of peers'],
    reddens: ['network-policy.table.(from-namespace-and-pod|match-expressions)'],
  },
  {
    id: 'policies-peers',
    title: 'a pod selector alone means all namespaces, and exceptions of address blocks are not heeded',
    lies: ['takes a pod selector alone for all namespaces', 'ignores exceptions of address blocks'],
    reddens: ['network-policy.table.(from-pods|ip-block)'],
  },
  {
    id: 'policies-first-only',
    title: 'of several policies only the first counts',
    lies: ['knows only the first policy of a namespace'],
    reddens: ['network-policy.table.(allow-all-ingress|union)'],
  },
  {
    id: 'storage-binding',
    title: 'binding modes are mixed up',
    lies: ['mixes up binding modes'],
    reddens: ['storage.binding.(wait-for-first-consumer|immediate)'],
  },
  {
    id: 'storage-reclaim',
    title: 'reclaim policies are mixed up',
    lies: ['mixes up reclaim policies'],
    reddens: ['storage.reclaim.(delete|retain)'],
  },
  {
    id: 'storage-empty',
    title: 'pods get an empty volume instead of their claim’s',
    lies: ['gives every pod an empty volume'],
    reddens: ['storage.provision-write-read', 'storage.survives-rescheduling', 'storage.claim.missing'],
  },
  {
    id: 'storage-writes',
    title: 'writes are lost, and claims do not grow',
    lies: ['loses writes to volumes', 'forgets to grow claims'],
    reddens: ['storage.survives-container-restart', 'storage.expand'],
  },
  {
    id: 'security-levels',
    title: 'no Pod Security level is enforced, and tokens never expire',
    lies: ['enforces no Pod Security level', 'issues tokens that do not expire'],
    reddens: ['security.pod-security.restricted', 'security.service-account.token'],
  },
  {
    id: 'nodes-distress',
    title: 'nodes are under pressure, promise more than they have and are old',
    lies: ['shows nodes in distress'],
    reddens: ['nodes.conditions', 'nodes.allocatable-and-version'],
  },

  {
    id: 'security-all-admins',
    title: 'every service account is an administrator',
    break: [{ create: everybodyIsAdmin }],
    heal: [{ remove: everybodyIsAdmin }],
    reddens: ['security.rbac.fresh-service-account', 'security.service-account.from-pod'],
  },
  {
    id: 'nodes-frozen-kubelet',
    title: 'the kubelet of the control plane is frozen',
    break: [{ in: 'control-plane', component: 'kubelet', to: 'pause' }],
    heal: [{ in: 'control-plane', component: 'kubelet', to: 'cont' }],
    reddens: ['nodes.lease.renewed'],
  },
  {
    id: 'nodes-kubelet-port',
    title: 'the way from the API server to the kubelets’ reports is closed',
    lies: ['hides kubelets'],
    reddens: ['nodes.kubelet.reports'],
  },
  {
    id: 'proxy-stopped',
    title: 'kube-proxy is stopped: old Services go on, new ones are dead',
    break: [{ in: 'all', component: 'kube-proxy', to: 'down' }],
    heal: [{ in: 'all', component: 'kube-proxy', to: 'up' }],
    reddens: ['services.cluster-ip.(from-pod|from-node|udp)', 'services.node-port.(every-node|from-node)'],
  },
  {
    id: 'path-hairpin',
    title: 'packets that come back to their sender are dropped',
    ...foreignTable(
      `chain forward { type filter hook forward priority -50; ip saddr . ip daddr { ${hairpins} } drop; }`,
    ),
    reddens: ['services.cluster-ip.hairpin'],
  },
  {
    id: 'path-masquerade',
    title: 'every source address is replaced by the node’s',
    ...foreignTable('chain postrouting { type nat hook postrouting priority 50; ip daddr 10.244.0.0/16 masquerade; }'),
    reddens: ['services.cluster-ip.from-pod', 'services.external-traffic-policy.local'],
  },
  {
    id: 'path-rejections',
    title: 'refusals never come back',
    ...foreignTable(
      'chain output { type filter hook output priority -50; ip daddr 10.244.0.0/16 tcp flags rst drop; ip daddr 10.244.0.0/16 icmp type destination-unreachable drop; }',
    ),
    reddens: ['services.no-endpoints.rejects'],
  },
  {
    id: 'path-one-port',
    title: 'one port of all pods is closed by a foreign rule',
    ...foreignTable('chain forward { type filter hook forward priority -50; tcp dport 8081 drop; }'),
    reddens: ['network-policy.table.no-policy', 'services.target-port.named', 'network-policy.(upstream|cluster).*'],
  },
  {
    id: 'network-ranges',
    title: 'all nodes are said to have one pod range',
    lies: ['gives all nodes one pod range'],
    reddens: ['network.addresses.apart'],
  },
  {
    id: 'network-stale-endpoint',
    title: 'a foreign rule sends a port of a Service to an address that is no endpoint',
    ...foreignTable(
      `chain prerouting { type nat hook prerouting priority -150; ip daddr ${dnsService} tcp dport 9153 dnat ip to 10.244.0.250:9153; }`,
    ),
    reddens: ['network.services.rules-match-api'],
  },
  {
    id: 'network-route',
    title: 'a rule leads packets for the pods of another node into a blackhole',
    break: [
      {
        in: 'last-worker',
        script: `range=$(ip -4 route show | awk '/^10[.]244[.].* via /{print $1; exit}')
ip route add blackhole $range table 77
ip rule add pref 90 to $range lookup 77`,
      },
    ],
    heal: [{ in: 'last-worker', script: 'ip rule del pref 90; ip route flush table 77' }],
    reddens: ['network.routes.every-pod'],
  },
  {
    id: 'network-mtu',
    title: 'the uplink of a node takes smaller packets than its pods send',
    break: [{ in: 'last-worker', script: 'ip link set eth0 mtu 1380' }],
    heal: [{ in: 'last-worker', script: 'ip link set eth0 mtu 1500' }],
    reddens: ['network.wires.mtu-and-neighbours'],
  },
  {
    id: 'network-forwarding',
    title: 'a node passes on nothing that comes in by its uplink',
    break: [{ in: 'last-worker', script: 'echo 0 >/proc/sys/net/ipv4/conf/eth0/forwarding' }],
    heal: [{ in: 'last-worker', script: 'echo 1 >/proc/sys/net/ipv4/conf/eth0/forwarding' }],
    reddens: ['network.kernel.settings-and-tables'],
  },
  {
    id: 'network-errors',
    title: 'an interface counts errors: a tunnel whose other end has no route',
    break: [
      {
        in: 'last-worker',
        script: `ip route add unreachable 203.0.113.1
ip link add sabotage type vxlan id 99 remote 203.0.113.1 dstport 4790
ip addr add 198.18.0.1/24 dev sabotage
ip link set sabotage up`,
      },
      { in: 'last-worker', repeat: 'timeout 1 busybox nc -w 1 198.18.0.2 9 </dev/null || true; sleep 0.3' },
    ],
    heal: [{ in: 'last-worker', script: 'ip link del sabotage; ip route del unreachable 203.0.113.1' }],
    reddens: ['network.counters.no-errors'],
  },
  {
    id: 'dns-tcp',
    title: 'DNS over TCP is dropped',
    ...foreignTable('chain forward { type filter hook forward priority -50; tcp dport 53 drop; }'),
    reddens: ['dns.transport.tcp', 'dns.large-answer'],
  },
  {
    id: 'dns-one-server',
    title: 'answers of one DNS server are lost at times',
    ...foreignTable(
      'chain forward { type filter hook forward priority -50; udp sport 53 ip daddr 10.244.0.0/16 numgen inc mod 3 0 drop; }',
    ),
    reddens: ['dns.servers.each'],
  },
  {
    id: 'dns-wrong',
    title: 'a DNS server spoils its answers',
    ...throughLyingDns('wrong'),
    reddens: [
      'dns.service.(a|no-data|srv|ptr)',
      'dns.(external-name|nxdomain|pod.address-name)',
      'dns.(zone.version|letter-case|headless.endpoint-names|external-name.chain|dual-stack)',
      'services.headless.by-name',
    ],
  },
  {
    id: 'dns-stale',
    title: 'a DNS server never forgets',
    ...throughLyingDns('remembers'),
    reddens: ['dns.headless.set', 'dns.statefulset.pod-names', 'dns.negative.ends'],
  },
  {
    id: 'scheduler-first-node',
    title: 'a scheduler puts every pod on the first node',
    ...schedulerThatTakes('first'),
    reddens: ['scheduler.(node-affinity.preferred|pod-anti-affinity|topology-spread|taints|resources.fit|host-port)'],
  },
  {
    id: 'scheduler-last-node',
    title: 'a scheduler puts every pod on the last node',
    ...schedulerThatTakes('last'),
    reddens: ['scheduler.(preemption|retry-when-room-appears)'],
  },
  {
    id: 'storage-left-mounts',
    title: 'mounts of volumes are left behind',
    break: [
      {
        in: 'workers',
        repeat:
          'mkdir -p /run/sabotage; for m in $(grep -o "/var/lib/kubelet/pods/[^ ]*/mount " /proc/1/mountinfo | sort -u); do t=/run/sabotage/$(echo $m | tr / _); [ -e $t ] || { mkdir $t; mount --bind $m $t; }; done; sleep 0.3',
      },
    ],
    heal: [
      { in: 'workers', script: 'for t in /run/sabotage/*; do umount $t 2>/dev/null || true; rmdir $t || true; done' },
    ],
    reddens: ['storage.unpublish.nothing-left'],
  },
  {
    id: 'etcd-sick',
    title: 'etcd has no leader, no room, and proposals that fail',
    break: [
      { in: 'control-plane', standIn: 'sick-etcd-metrics' },
      {
        in: 'control-plane',
        script: 'for turn in $(seq 100); do ss -ltn | grep -q 127.0.0.1:12381 && exit 0; sleep 0.1; done; exit 1',
      },
      {
        in: 'control-plane',
        script: `nft -f - <<'END'
table ip sabotage {
  chain output { type nat hook output priority -150; meta skuid != 64981 ip daddr 127.0.0.1 tcp dport 2381 redirect to :12381; }
}
END`,
      },
    ],
    heal: [{ in: 'control-plane', script: 'nft delete table ip sabotage' }],
    reddens: ['etcd.(health|database.size|raft.proposals)'],
  },
  {
    id: 'etcd-slow',
    title: 'etcd stands still again and again',
    break: [
      {
        in: 'control-plane',
        // Short turns, so that many stops fall into the middle of a write to disk.
        repeat: 'sleep 0.05; sv pause {services}/etcd; sleep 1.3; sv cont {services}/etcd',
      },
    ],
    heal: [{ in: 'control-plane', component: 'etcd', to: 'cont' }],
    reddens: ['etcd.(disk.latency|latency.through-the-api)'],
  },
  {
    id: 'ingress-fields',
    title: 'the ingress controller does not heed what Ingresses ask for',
    lies: [
      'ignores hosts of Ingresses',
      'takes every path of an Ingress for a prefix',
      'knows no port of a Service by name',
      'leads default backends nowhere',
      'ends TLS with one certificate',
    ],
    reddens: ['ingress.(hosts|paths|named-port|default-backend|tls)'],
  },
  {
    id: 'ingress-class',
    title: 'the ingress controller serves Ingresses of every class',
    lies: ['serves Ingresses of every class'],
    reddens: ['ingress.class'],
  },
  {
    id: 'ingress-restarts',
    title: 'the proxy of the ingress controller is killed again and again',
    break: [{ in: 'all', repeat: 'sleep 1; pkill -KILL -x haproxy || true' }],
    heal: [],
    reddens: ['ingress.endpoints'],
  },
];
