// SPDX-License-Identifier: Apache-2.0
/** What objects, Leases, probes and pings are taken for: each with the smallest input that shows it, and nothing in health. */
import type { V1Pod } from '@kubernetes/client-node';
import { expect } from 'chai';
import type { Observations } from '../../probes/trace/observations.ts';
import { finding, type Finding } from '../../suites/network/findings/finding.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import { canaryDiagnoses, canaryProbes, type CanarySeen } from './canary-diagnoses.ts';
import { controlPlaneDiagnoses, stillToWatchMs, type ControlPlaneInput } from './control-plane.ts';
import { forwardedZones } from './corefile.ts';
import { ranked, type Diagnosis } from './diagnosis.ts';
import { linkDiagnoses, parsePing, together } from './node-links.ts';
import { describeAddress, parseTarget, partyFrom } from './parties.ts';
import { hasFailed, outcomeDiagnoses, worstOf, worthTracing, type ProbeOutcome } from './probe-outcome.ts';
import { lasting, nodeDiagnoses } from './node-diagnoses.ts';
import { pingPairs } from './ping-nodes.ts';
import { planProbes, type PlannedProbe } from './probe-plan.ts';
import { policyOpinions } from './policy-opinions.ts';
import { resolverDiagnoses } from './resolver-diagnoses.ts';
import { verdictDiagnosis } from './verdict-diagnosis.ts';
import { workloadDiagnoses } from './workloads.ts';

const now = Date.parse('2026-11-21T12:00:00Z');
const created = '2026-11-21T11:00:00Z';

function pod(name: string, node: string, ip: string, more: Partial<V1Pod['status']> = {}): V1Pod {
  return {
    metadata: {
      namespace: 'shop',
      name,
      uid: name,
      labels: { app: name.split('-')[0] ?? '' },
      creationTimestamp: created as unknown as Date,
    },
    spec: { nodeName: node, containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }] },
    status: { phase: 'Running', podIP: ip, podIPs: [{ ip }], conditions: [{ type: 'Ready', status: 'True' }], ...more },
  };
}

const node = (name: string, address: string) => ({
  metadata: { name },
  status: { addresses: [{ type: 'InternalIP', address }], conditions: [{ type: 'Ready', status: 'True' }] },
});

/** A Service `web` with a pod on each of two nodes, a client on the first. */
function shop(more: Partial<NetworkObjects> = {}): NetworkObjects {
  return {
    pods: [pod('web-0', 'n1', '10.0.1.2'), pod('web-1', 'n2', '10.0.2.2'), pod('client-0', 'n1', '10.0.1.9')],
    services: [
      {
        metadata: { namespace: 'shop', name: 'web', creationTimestamp: created as unknown as Date },
        spec: {
          type: 'NodePort',
          clusterIP: '10.96.0.5',
          clusterIPs: ['10.96.0.5'],
          selector: { app: 'web' },
          ports: [{ name: 'http', port: 80, targetPort: 'http', nodePort: 30_080 }],
        },
      },
    ],
    slices: [
      {
        addressType: 'IPv4',
        metadata: { namespace: 'shop', name: 'web-x', labels: { 'kubernetes.io/service-name': 'web' } },
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [
          {
            addresses: ['10.0.1.2'],
            nodeName: 'n1',
            conditions: { ready: true },
            targetRef: { kind: 'Pod', namespace: 'shop', name: 'web-0' },
          },
          {
            addresses: ['10.0.2.2'],
            nodeName: 'n2',
            conditions: { ready: true },
            targetRef: { kind: 'Pod', namespace: 'shop', name: 'web-1' },
          },
        ],
      },
    ],
    nodes: [node('n1', '192.0.2.1'), node('n2', '192.0.2.2')],
    namespaces: [{ metadata: { name: 'shop' } }],
    policies: [],
    clusterPolicies: [],
    ...more,
  };
}

const reasonsOf = (found: readonly Diagnosis[]): string[] =>
  found.map(({ component, reason, objects }) => `${component} ${reason} ${objects[0] ?? ''}`);
const workloads = (objects: NetworkObjects): string[] => reasonsOf(workloadDiagnoses({ objects, events: [], now }));

describe('diagnose: objects', () => {
  it('finds nothing in health', () => {
    expect(workloads(shop())).to.deep.equal([]);
  });

  it('tells pods that do not run, Services without endpoints, and endpoints without pods', () => {
    const crashing = pod('web-0', 'n1', '10.0.1.2', {
      containerStatuses: [
        {
          name: 'c',
          image: 'i',
          imageID: '',
          ready: false,
          restartCount: 4,
          state: { waiting: { reason: 'CrashLoopBackOff' } },
        },
      ],
    });
    expect(workloads(shop({ pods: [crashing, pod('web-1', 'n2', '10.0.2.2')] }))).to.deep.equal([
      'application crash-loop Pod shop/web-0',
    ]);
    const [service] = shop().services;
    const misspelt = { ...service, spec: { ...service?.spec, selector: { app: 'wep' } } };
    expect(workloads(shop({ services: [misspelt], slices: [] }))).to.deep.equal([
      'service no-endpoints Service shop/web',
    ]);
    expect(workloads(shop({ pods: [pod('web-0', 'n1', '10.0.1.2')] }))).to.deep.equal([
      'service stale-endpoint EndpointSlice shop/web-x',
    ]);
  });

  it('tells a container that was just started again after a bad end, and none that has run well since', () => {
    const ended = { exitCode: 1, startedAt: new Date(now - 4_000), finishedAt: new Date(now - 3_000) };
    const restarted = (agoMs: number, exitCode: number) =>
      pod('web-0', 'n1', '10.0.1.2', {
        containerStatuses: [
          {
            name: 'c',
            image: 'i',
            imageID: '',
            ready: true,
            restartCount: 1,
            state: { running: { startedAt: new Date(now - agoMs) } },
            lastState: { terminated: { ...ended, exitCode } },
          },
        ],
      });
    const told = (agoMs: number, exitCode: number): string[] =>
      workloads(shop({ pods: [restarted(agoMs, exitCode), pod('web-1', 'n2', '10.0.2.2')] }));
    expect(told(2_000, 1)).to.deep.equal(['application crash-loop Pod shop/web-0']);
    expect(told(2_000, 0)).to.deep.equal([]);
    expect(told(20_000, 1)).to.deep.equal([]);
  });

  it('tells a policy that names a port which no pod has', () => {
    const policy = {
      metadata: { namespace: 'shop', name: 'p' },
      spec: { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ ports: [{ port: 'postgres' }] }] },
    };
    expect(workloads(shop({ policies: [policy] }))).to.deep.equal(['network-policy policy NetworkPolicy shop/p']);
  });
});

describe('diagnose: names', () => {
  it('tells name servers that are nothing, and few dots', () => {
    const client = pod('client-0', 'n1', '10.0.1.9');
    const told = (spec: object): string[] =>
      reasonsOf(resolverDiagnoses(shop({ pods: [{ ...client, spec: { containers: [], ...spec } }] })));
    expect(told({ dnsPolicy: 'None', dnsConfig: { nameservers: ['10.96.0.99'] } })).to.deep.equal([
      'dns name-resolution Pod shop/client-0',
    ]);
    // A Service, and a server that is none of the cluster's.
    expect(told({ dnsConfig: { nameservers: ['10.96.0.5', '9.9.9.9'] } })).to.deep.equal([]);
    expect(told({ dnsConfig: { options: [{ name: 'ndots', value: '1' }] } })).to.have.length(1);
    expect(told({ dnsConfig: { options: [{ name: 'ndots', value: '2' }] } })).to.deep.equal([]);
    expect(told({ dnsPolicy: 'Default', dnsConfig: { options: [{ name: 'ndots', value: '1' }] } })).to.deep.equal([]);
  });
});

describe('diagnose: nodes', () => {
  it('takes a node to whose pods no other has a route for the one that is not announced', () => {
    const missing = (node: string): Finding =>
      finding({
        about: 'missing n3 4',
        component: 'network plugin',
        node,
        object: 'route to pod range 10.0.3.0/24 of node n3',
        what: `${node} has no route`,
        proof: ['ip route get 10.0.3.4: no route'],
        remedy: '',
      });
    expect(nodeDiagnoses([missing('n1'), missing('n2')], [])).to.have.length(1);
    expect(nodeDiagnoses([missing('n1'), missing('n2')], [])[0]).to.include({ reason: 'no-route', node: 'n3' });
    expect(nodeDiagnoses([missing('n1')], [])[0]).to.include({ reason: 'no-route', node: 'n1' });
  });

  const wrongWay = (node: string, to: string): Finding =>
    finding({
      about: 'wrong-node n3 4',
      component: 'network plugin',
      node,
      object: 'route',
      what: 'wrong',
      proof: ['10.0.3.0/25 via 192.0.2.1 dev eth0', `192.0.2.1 is ${to}`, 'n3 is 192.0.2.3'],
      remedy: '',
    });

  it('takes two nodes that send packets to each other for one loop', () => {
    const [found, ...more] = nodeDiagnoses([wrongWay('n1', 'n2'), wrongWay('n2', 'n1')], []);
    expect(more).to.deep.equal([]);
    expect(found).to.include({ reason: 'routing-loop', component: 'network' });
    expect(found?.objects).to.deep.equal(['Node n1', 'Node n2']);
    expect(nodeDiagnoses([wrongWay('n1', 'n2')], []).map(({ reason }) => reason)).to.deep.equal(['wrong-route']);
  });
});

describe('diagnose: canaries', () => {
  const told = (...seen: Partial<CanarySeen>[]): string[] =>
    canaryDiagnoses(seen.map((one, index) => ({ node: `n${index}`, startedMs: 900, said: [], ...one }))).map(
      ({ component, reason, node: where }) => `${component} ${reason} ${where}`,
    );

  it('tell a node on which no pod gets a network, by what its kubelet says', () => {
    expect(told({}, {})).to.deep.equal([]);
    const message = 'plugin type="ptp" failed (add): no IP addresses available in range set';
    const stuck: Partial<CanarySeen> = { startedMs: undefined, said: [{ reason: 'FailedCreatePodSandBox', message }] };
    expect(told({}, stuck)).to.deep.equal(['network addresses-exhausted n1']);
    expect(told({}, { startedMs: undefined })).to.deep.equal(['kubelet component-down n1']);
    const runtime = { reason: 'FailedSync', message: 'connect ENOENT /run/containerd/containerd.sock' };
    expect(told({}, { startedMs: undefined, said: [runtime] })).to.deep.equal(['container-runtime component-down n1']);
    // Where none starts the image or the API server may be why.
    expect(told({ startedMs: undefined }, { startedMs: undefined })).to.deep.equal([]);
  });

  it('tell a node on which a policy does not hold, unless none holds anywhere', () => {
    expect(told({ closedMs: 200 }, { openMs: 4_000 })).to.deep.equal(['network-policy policy-late n1']);
    expect(told({ openMs: 4_000 }, { openMs: 4_000 })).to.deep.equal([]);
    expect(told({ closedMs: 200 }, {})).to.deep.equal([]);
    const unreached = { pod: pod('canary-1', 'n2', '10.0.2.9'), from: 'n1', port: 8080 };
    const seen = (first: Partial<CanarySeen>): CanarySeen[] => [
      { node: 'n1', startedMs: 900, said: [], ...first },
      { node: 'n2', startedMs: 900, said: [], unreached },
    ];
    expect(canaryProbes(seen({ closedMs: 200 }), shop()).probes[0]).to.include({ host: '10.0.2.9', toNode: 'n2' });
    expect(canaryProbes(seen({}), shop()).probes, 'where none is reached, it is nothing of this node').to.have.length(
      0,
    );
  });
});

describe('diagnose: neighbours', () => {
  const silent = (node: string, who: string): Finding =>
    finding({
      about: 'silent',
      component: 'node',
      node,
      object: who,
      what: 'does not answer',
      proof: ['192.0.2.3 dev eth0 FAILED'],
      remedy: '',
    });

  it('are at fault themselves where several miss them', () => {
    const where = (found: readonly Finding[]): (string | undefined)[] =>
      nodeDiagnoses(found, []).map((one) => one.node);
    expect(where([silent('n1', 'node n3'), silent('n2', 'node n3')])).to.deep.equal(['n3']);
    expect(where([silent('n1', 'node n3')])).to.deep.equal(['n1']);
    const ping = { from: 'n1', to: 'n3', octets: 56, sent: 9, received: 8, medianMs: 1 };
    expect(nodeDiagnoses([silent('n1', 'node n3')], [ping]), 'it was silent, and is no more').to.deep.equal([]);
    expect(where([silent('n1', 'gateway 192.0.2.9'), silent('n2', 'gateway 192.0.2.9')])).to.deep.equal(['n1', 'n2']);
  });

  it('count only if they agree with the API neither before nor after', () => {
    const [old, both] = [silent('n1', 'node n2'), silent('n1', 'node n3')];
    expect(lasting([old, both], [both, silent('n2', 'node n1')])).to.deep.equal([both]);
  });

  it('and nodes are named only where a name follows', () => {
    const down = { ...silent('n1', 'pod shop/a'), what: 'its interface veth1 on the node is down, says node n2' };
    expect(nodeDiagnoses([down], [])[0]?.objects).to.deep.equal(['Pod shop/a', 'Node n1']);
  });
});

describe('diagnose: rules of third parties', () => {
  const ends = (kind: string, rule: string): string[] =>
    nodeDiagnoses(
      [
        finding({
          about: `none ${kind} 10.96.0.5`,
          component: 'kube-proxy',
          node: 'n1',
          object: 'Service shop/web port http',
          what: 'leads nowhere',
          proof: [rule],
          remedy: '',
        }),
      ],
      [],
    ).map(({ component, reason }) => `${component} ${reason}`);

  it('are not blamed on the service proxy, and may keep out whom they like from outside', () => {
    const foreign = 'dropped by nft inet company pre handle 2: tcp dport 80 drop';
    expect(ends('ClusterIP', foreign)).to.deep.equal(['firewall foreign-firewall']);
    expect(ends('NodePort', foreign)).to.deep.equal([]);
    expect(ends('NodePort', 'forwarded by no rule')).to.deep.equal(['kube-proxy not-programmed']);
    const own = 'dropped by nft ip kube-proxy service-endpoints-check handle 9: drop';
    expect(ends('NodePort', own)).to.deep.equal(['kube-proxy not-programmed']);
  });
});

describe('diagnose: control plane', () => {
  const lease = (name: string, ageMs: number, namespace = 'kube-system') => ({
    namespace,
    name,
    holder: 'h',
    durationSeconds: 15,
    renewedAt: now - ageMs,
  });
  const input = (more: Partial<ControlPlaneInput>): ControlPlaneInput => ({
    nodes: shop().nodes,
    leases: [],
    now,
    readMs: [5],
    writeMs: [9],
    notReady: [],
    csiDrivers: {},
    ...more,
  });
  const find = (more: Partial<ControlPlaneInput>): string[] =>
    controlPlaneDiagnoses(input(more)).map(({ component, reason, node: where }) =>
      `${component} ${reason} ${where ?? ''}`.trim(),
    );

  it('believes a leader dead only if it does not renew while it is watched', () => {
    const old = [lease('kube-scheduler', 7_000)];
    expect(find({ leases: old, later: { leases: old, now: now + 4_000 } })).to.deep.equal([
      'kube-scheduler component-down',
    ]);
    expect(find({ leases: old, later: { leases: [lease('kube-scheduler', -2_000)], now: now + 4_000 } })).to.deep.equal(
      [],
    );
    expect(find({ leases: old })).to.deep.equal([]);
    expect(stillToWatchMs(old, { leases: old, now: now + 400 })).to.equal(600);
    expect(stillToWatchMs(old, { leases: old, now: now + 4_000 })).to.equal(0);
    expect(stillToWatchMs(old, { leases: [lease('kube-scheduler', 0)], now: now + 400 })).to.equal(0);
    expect(stillToWatchMs([], { leases: [], now })).to.equal(0);
  });

  it('tells a silent kubelet, a slow API server, and a driver that one node lacks', () => {
    expect(find({ leases: [lease('n2', 60_000, 'kube-node-lease')] })).to.deep.equal(['kubelet component-down n2']);
    expect(find({ readMs: [900, 400, 350], writeMs: [500] })).to.deep.equal(['kube-apiserver slow']);
    expect(find({ readMs: [9], writeMs: [700] })).to.deep.equal(['etcd slow']);
    // One that stands still most of the time answers many at once when it wakes; one that is late now and then is busy.
    expect(find({ readMs: [9, 8, 9], writeMs: [600, 450, 20, 310, 15, 12, 350] })).to.deep.equal(['etcd slow']);
    expect(find({ readMs: [9, 8, 9], writeMs: [600, 25, 20, 31, 15, 12, 35] })).to.deep.equal([]);
    expect(find({ csiDrivers: { n1: ['d'], n2: [] } })).to.deep.equal(['storage component-down n2']);
  });
});

describe('diagnose: probes', () => {
  const plan = (objects: NetworkObjects) =>
    planProbes({ objects, opinions: policyOpinions(objects), nodes: ['n1', 'n2'], forwardedZones: ['corp.example'] });

  it('plans every kind of path, and nothing that policies forbid', () => {
    const kinds = new Set(plan(shop()).map(({ kind }) => kind));
    expect([...kinds]).to.include.members(['dns', 'service', 'endpoint', 'local-pod', 'node-port', 'large']);
    const deny = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace: 'shop', name: 'deny' },
      spec: { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'] },
    };
    const denied = plan(shop({ policies: [deny] }));
    expect(denied.filter(({ kind, from }) => kind === 'endpoint' && from.kind === 'pod')).to.deep.equal([]);
    expect(denied.find(({ kind }) => kind === 'forbidden')?.policies).to.deep.equal(['shop/deny']);
  });

  const outcome = (kind: string, more: Partial<ProbeOutcome> = {}): ProbeOutcome => {
    const probe = plan(shop()).find((one) => one.kind === kind);
    if (probe === undefined) throw new TypeError(`no probe of kind ${kind}`);
    return { probe, outcome: 'dropped', latencyMs: 1000, ...more };
  };

  it('takes a connection for enough, but an error of the program for one', () => {
    expect(hasFailed(outcome('local-pod', { error: 'connected, but no answer came' }))).to.equal(false);
    expect(hasFailed(outcome('local-pod'))).to.equal(true);
    expect(reasonsOf(outcomeDiagnoses([outcome('endpoint', { outcome: 'allowed', status: 500 })]))).to.deep.equal([
      'application application Pod shop/web-0',
    ]);
  });

  it('takes of several answers a lost one, or the second slowest', () => {
    const answers = [5, 900, 7, 30, 6].map((latencyMs) => outcome('dns', { outcome: 'NOERROR', latencyMs }));
    expect(worstOf(answers)[0]).to.include({ outcome: 'NOERROR', latencyMs: 30 });
    expect(worstOf([...answers, outcome('dns')])[0]).to.include({ outcome: 'dropped', latencyMs: 30 });
    expect(worstOf(answers.slice(1, 2))[0]?.latencyMs).to.equal(900);
    expect(worstOf([])).to.deep.equal([]);
  });

  it('traces what is not explained, once for each server', () => {
    const failed = [outcome('service'), outcome('endpoint')];
    expect(worthTracing(failed, []).map(({ kind }) => kind)).to.deep.equal(['endpoint']);
    const broken: Diagnosis = {
      reason: 'no-route',
      component: 'network',
      node: 'n1',
      objects: [],
      summary: '',
      evidence: [],
      next: '',
      weight: 84,
    };
    expect(worthTracing(failed, [broken])).to.deep.equal([]);
    const { node: _node, ...everywhere } = broken;
    const loss = [{ ...everywhere, reason: 'loss', weight: 81 }];
    expect(worthTracing([outcome('large')], loss), 'of a large request more is lost').to.deep.equal([]);
    expect(worthTracing([outcome('large')], [])).to.have.length(1);
  });

  it('reads pings, and tells loss at one node and packets that are too large', () => {
    expect(
      parsePing(
        'seq=0 ttl=64 time=0.1 ms\nseq=1 ttl=64 time=0.3 ms\nseq=2 ttl=64 time=90 ms\n40 packets transmitted, 3 packets received',
      ),
    ).to.deep.equal({ sent: 40, received: 3, medianMs: 0.3 });
    // The last one was under way when time was up.
    expect(parsePing('seq=0 ttl=64 time=9 ms\n2 packets transmitted, 1 packets received')?.sent).to.equal(1);
    expect(parsePing('seq=0 ttl=64 time=250 ms\n4 packets transmitted, 1 packets received')?.sent).to.equal(1);
    expect(parsePing('seq=0 ttl=64 time=250 ms\n5 packets transmitted, 1 packets received')?.sent).to.equal(5);
    const ping = (from: string, to: string, received: number, octets = 56, medianMs = 1) => ({
      from,
      to,
      octets,
      sent: 40,
      received,
      medianMs,
    });
    expect(linkDiagnoses([ping('a', 'b', 40), ping('b', 'c', 37), ping('c', 'a', 38)])).to.have.length(1);
    expect(linkDiagnoses([ping('a', 'b', 40), ping('a', 'c', 38), ping('c', 'b', 37)])[0]?.node).to.equal('c');
    expect(linkDiagnoses([ping('a', 'b', 40), ping('b', 'c', 39), ping('c', 'a', 40)])).to.deep.equal([]);
    expect(linkDiagnoses([ping('a', 'b', 40), ping('a', 'b', 0, 1472)])[0]?.reason).to.equal('mtu');
    expect(linkDiagnoses([ping('a', 'b', 0)])).to.deep.equal([]);
    const others = [ping('b', 'c', 40), ping('b', 'c', 8, 1472)];
    const slow = [ping('a', 'b', 40), ping('a', 'b', 8, 1472, 25), ...others];
    expect(linkDiagnoses(slow)[0]?.reason).to.equal('slow');
    // Small ones waited as long, or it passed: a busy machine.
    expect(linkDiagnoses([ping('a', 'b', 40, 56, 20), ping('a', 'b', 8, 1472, 25), ...others])).to.deep.equal([]);
    expect(linkDiagnoses(together(slow, [ping('a', 'b', 8, 1472, 2)]))).to.deep.equal([]);
    const lossy = [ping('a', 'b', 40), ping('a', 'c', 38), ping('c', 'b', 40)];
    expect(linkDiagnoses(together(lossy, [ping('c', 'b', 37)]))[0]?.node).to.equal('c');
  });

  it('pings also nodes on which no probe runs', () => {
    expect(pingPairs(['a', 'c'], ['a', 'b', 'c'])).to.deep.equal([
      ['a', 'b'],
      ['a', 'c'],
      ['c', 'a'],
      ['c', 'b'],
    ]);
    const many = Array.from({ length: 20 }, (_, index) => `n${index}`);
    const asked = Map.groupBy(pingPairs(many, many), ([, to]) => to);
    expect([...asked.values()].map(({ length }) => length)).to.deep.equal(many.map(() => 5));
  });

  it('asks programs what their kubelets ask, and tells those that hang by whose work they do', () => {
    const storage = pod('csi-0', 'n1', '10.0.1.7');
    storage.spec = {
      nodeName: 'n1',
      containers: [
        {
          name: 'c',
          ports: [{ name: 'hz', containerPort: 9898 }],
          livenessProbe: { httpGet: { path: '/hz', port: 'hz' } },
        },
      ],
      volumes: [{ name: 'k', hostPath: { path: '/var/lib/kubelet' } }],
    };
    storage.status = {
      ...storage.status,
      containerStatuses: [{ name: 'c', image: 'i', imageID: '', ready: true, restartCount: 0, state: { running: {} } }],
    };
    const [probe] = plan(shop({ pods: [...shop().pods, storage] })).filter(({ kind }) => kind === 'health');
    expect(probe).to.include({ host: '10.0.1.7', port: 9898, path: '/hz' });
    if (probe === undefined) return;
    const hangs: ProbeOutcome = { probe, outcome: 'dropped', error: 'connected, but no answer came', latencyMs: 800 };
    expect(reasonsOf(outcomeDiagnoses([hangs]))).to.deep.equal(['storage storage Pod shop/csi-0']);
    expect(worthTracing([hangs], [])).to.deep.equal([]);
    expect(outcomeDiagnoses([{ probe, outcome: 'allowed', status: 200, latencyMs: 1 }])).to.deep.equal([]);
  });

  it('asks for the domains that cluster DNS forwards, and blames those servers only where DNS itself answers', () => {
    const dns = {
      metadata: { namespace: 'kube-system', name: 'kube-dns' },
      spec: { clusterIP: '10.96.0.10', ports: [] },
    };
    const probes = plan(shop({ services: [...shop().services, dns] })).filter(({ protocol }) => protocol === 'dns');
    const results = (own: string): ProbeOutcome[] =>
      probes.map((probe) => ({ probe, outcome: probe.kind === 'zone' ? 'SERVFAIL' : own, latencyMs: 5 }));
    expect(reasonsOf(outcomeDiagnoses(results('NOERROR')))).to.deep.equal([
      'dns name-resolution ConfigMap kube-system/coredns',
    ]);
    expect(reasonsOf(outcomeDiagnoses(results('dropped')))).to.deep.equal([]);
  });

  it('reads the forwarded domains of a Corefile', () => {
    const corefile = `
      corp.example:53 dns://lab.example. {
        errors
        forward . 192.0.2.53
      }
      .:53 {
        kubernetes cluster.local in-addr.arpa {
          pods insecure
        }
        forward old.example 192.0.2.54  # the old one
        forward . /etc/resolv.conf {
          max_concurrent 1000
        }
      }`;
    expect(forwardedZones(corefile)).to.deep.equal(['corp.example', 'lab.example', 'old.example']);
    expect(forwardedZones('')).to.deep.equal([]);
  });

  it('asks a Service from the node only if policies let the node in', () => {
    const web = { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress'] };
    const deny = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace: 'shop', name: 'deny' },
      spec: web,
    };
    const probes = plan(shop({ policies: [deny] }));
    expect(probes.filter(({ kind }) => kind === 'service')).to.deep.equal([]);
  });
});

function plannedProbe(): PlannedProbe {
  const [probe] = planProbes({
    objects: shop(),
    opinions: policyOpinions(shop()),
    nodes: ['n1', 'n2'],
    forwardedZones: [],
  });
  if (probe === undefined) throw new TypeError('no probe is planned');
  return probe;
}

describe('diagnose: ranks and words', () => {
  it('puts causes first and one thing once', () => {
    const one = (weight: number, more: Partial<Diagnosis>): Diagnosis => ({
      reason: 'r',
      component: 'c',
      objects: [],
      summary: `s${weight}`,
      evidence: [],
      next: '',
      weight,
      ...more,
    });
    const found = ranked([one(10, { node: 'n' }), one(90, { node: 'n' }), one(50, { component: 'd' })]);
    expect(found.map(({ summary }) => summary)).to.deep.equal(['s90', 's50']);
    const crash = one(63, { reason: 'crash-loop', component: 'application', objects: ['Pod a/b', 'Service a/web'] });
    const behind = (service: string) =>
      one(82, { component: 'kube-proxy', node: 'n', objects: [`Service ${service}`] });
    const summaries = (diagnoses: readonly Diagnosis[]): string[] => ranked(diagnoses).map(({ summary }) => summary);
    expect(summaries([crash, behind('a/web')]), 'endpoints that come and go').to.deep.equal(['s63']);
    expect(summaries([crash, behind('a/db')])).to.deep.equal(['s82', 's63']);
  });

  it('takes endpoints that nobody has for the cause of packets lost on the way to them', () => {
    const [stale] = workloadDiagnoses({ objects: shop({ pods: [pod('web-0', 'n1', '10.0.1.2')] }), events: [], now });
    const objects = ['Service shop/web'];
    const lost = {
      reason: 'between-nodes',
      component: 'network',
      objects,
      summary: '',
      evidence: [],
      next: '',
      weight: 66,
    };
    expect(ranked([lost, ...(stale === undefined ? [] : [stale])])[0]?.reason).to.equal('stale-endpoint');
  });

  it('takes a Service of DNS that is gone for the cause of questions that are lost', () => {
    const server = pod('dns-0', 'n1', '10.0.1.7');
    server.metadata = { ...server.metadata, namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } };
    const found = workloadDiagnoses({ objects: shop({ pods: [...shop().pods, server] }), events: [], now });
    const lost = { reason: 'between-nodes', component: 'network', objects: [], summary: '', evidence: [], next: '' };
    expect(ranked([{ ...lost, weight: 66 }, ...found])[0]?.reason).to.equal('missing-object');
  });

  it('says on which node rules drop what no policy forbids, and of policies only which', () => {
    const probe = plannedProbe();
    const ended = { way: 'there', node: 'n2', after: undefined } as const;
    const of = (reason: 'policy' | 'policy-engine') =>
      verdictDiagnosis(
        {
          schema: 1,
          verdict: {
            outcome: 'not-delivered',
            reason,
            summary: '',
            ended,
            objects: [],
            next: '',
            evidence: [],
            there: [],
            back: [],
            gaps: [],
          },
          observations: { question: { servers: [] } } as unknown as Observations,
        },
        probe,
      )?.node;
    expect(of('policy-engine')).to.equal('n2');
    expect(of('policy')).to.equal(undefined);
  });

  it('leaves out what a foreign rule makes look like a fault of the service proxy', () => {
    const about = (component: string, reason: string, evidence: string): Diagnosis => ({
      reason,
      component,
      node: 'n',
      objects: [],
      summary: '',
      evidence: [evidence],
      next: '',
      weight: 50,
    });
    const firewall = about('firewall', 'foreign-firewall', 'table ip corp, chain raw: udp dport 53 drop');
    const effect = about('kube-proxy', 'not-programmed', 'dropped by nft ip corp raw handle 2: udp dport 53 drop');
    expect(ranked([effect, firewall])).to.deep.equal([firewall]);
    expect(ranked([effect])).to.have.length(1);
  });

  it('knows what FROM and TO mean', () => {
    const place = { objects: shop(), namespace: 'shop' };
    expect(partyFrom('pod/client-0', place)).to.include({ kind: 'pod', name: 'shop/client-0', node: 'n1' });
    expect(partyFrom('node/n2', place).addresses).to.deep.equal(['192.0.2.2']);
    expect(parseTarget('svc/web', place)).to.deep.equal({ host: '10.96.0.5', port: 80, protocol: 'tcp' });
    expect(parseTarget('web-0:9', place)).to.deep.equal({ host: 'web-0', port: 9, protocol: 'tcp' });
    expect(parseTarget('shop/web-0:9', place)).to.deep.equal({ host: '10.0.1.2', port: 9, protocol: 'tcp' });
    expect(parseTarget('[fd00::1]:53', place).host).to.equal('fd00::1');
    expect(() => parseTarget('svc/nosuch', place)).to.throw('no Service nosuch');
    expect(() => parseTarget('10.0.0.1', place)).to.throw('has no port');
    const byNodePort = describeAddress(shop(), { address: '192.0.2.1', port: 30_080, protocol: 'tcp' });
    expect(byNodePort.servers.map(({ name, port }) => `${name}:${port}`)).to.deep.equal([
      'shop/web-0:8080',
      'shop/web-1:8080',
    ]);
  });
});
