// SPDX-License-Identifier: Apache-2.0
/**
 * `plumb capture`, `plumb trace` and `plumb diagnose` as a user runs them, on the embedded cluster that PLUMB_E2E_KUBECONFIG names: one request
 * seen at every place, and faults of different kinds, each behind a server of its own, told apart.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CoreV1Api, KubeConfig, NetworkingV1Api, type V1Pod } from '@kubernetes/client-node';
import { expect } from 'chai';
import { execInPod } from '../../probes/agent/exec-in-pod.ts';
import { CaptureFile } from '../../probes/pcap-parser/read/capture-file.ts';
import { decodeTraceRecord, type TraceRecord } from '../../probes/trace/record.ts';
import { runIdLabel } from '../execute/run-labels.ts';
import { plumb, startPlumb, type PlumbProcess } from './plumb-process.ts';
import { Background, clusterOf, type Cluster, type Step, type Where } from './sabotage/steps.ts';

const kubeconfig = process.env['PLUMB_E2E_KUBECONFIG'] ?? '';
const namespace = 'plumb-e2e-trace';
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
/** Each is broken in its own way, behind a Service of its name; `web` is well. */
const servers = ['web', 'guarded', 'fenced', 'unrouted'] as const;
const trace = (to: string, ...more: readonly string[]): ReturnType<typeof plumb> =>
  plumb(['trace', '--kubeconfig', kubeconfig, '-n', namespace, 'pod/client', to, '--json', ...more]);

describe('plumb capture and trace', function () {
  this.timeout(400_000);
  let folder: string;
  let core: CoreV1Api;
  let cluster: Cluster;
  let config: KubeConfig;
  let killed: PlumbProcess;
  const addresses = new Map<string, string>();

  before(async function () {
    if (kubeconfig === '') this.skip();
    folder = mkdtempSync(join(tmpdir(), 'plumb-trace-'));
    config = new KubeConfig();
    config.loadFromFile(kubeconfig);
    core = config.makeApiClient(CoreV1Api);
    cluster = await clusterOf(kubeconfig);
    const [clientNode = ''] = cluster.nodes['control-plane'];
    const [serverNode = clientNode] = cluster.nodes['last-worker'];
    if (clientNode === serverNode) this.skip();
    await core.createNamespace({ body: { metadata: { name: namespace } } });
    await core.createNamespacedPod({ namespace, body: pod('client', clientNode, ['/bin/busybox', 'sleep', '100000']) });
    await Promise.all(
      servers.flatMap((name) => [
        core.createNamespacedPod({ namespace, body: pod(name, serverNode) }),
        core.createNamespacedService({
          namespace,
          body: { metadata: { name }, spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] } },
        }),
      ]),
    );
    await core.createNamespacedService({
      namespace,
      body: {
        metadata: { name: 'either' },
        spec: { selector: { group: 'either' }, ports: [{ port: 80, targetPort: 8080 }] },
      },
    });
    await core.createNamespacedService({
      namespace,
      body: { metadata: { name: 'empty' }, spec: { selector: { app: 'nobody' }, ports: [{ port: 80 }] } },
    });
    for (const name of ['client', ...servers]) addresses.set(name, await running(name));
    // Killed at once, so that its remains have time to go by themselves.
    killed = startPlumb(['capture', '--kubeconfig', kubeconfig, '-n', namespace, 'pod/client']);
    await killed.seen(/capturing at/);
    killed.child.kill('SIGKILL');
  });
  after(async () => {
    if (cluster !== undefined) await undo(cluster);
    await core?.deleteNamespace({ name: namespace }).catch(() => undefined);
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const running = async (name: string): Promise<string> => {
    for (;;) {
      const { status } = await core.readNamespacedPod({ namespace, name });
      const ready = status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True');
      if (ready === true && status?.podIP !== undefined) return status.podIP;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  it('captures one request at every place of its way, as one packet with one number', async () => {
    const file = join(folder, 'web.pcapng');
    const capture = startPlumb([
      'capture',
      '--kubeconfig',
      kubeconfig,
      '-n',
      namespace,
      'pod/client',
      'svc/web',
      '-f',
      'tcp',
      '-c',
      '3',
      '-w',
      file,
    ]);
    await capture.seen(/capturing at/);
    const command = ['/bin/busybox', 'wget', '-q', '-O', '-', `http://web.${namespace}.svc.cluster.local./hostname`];
    const request = { namespace, pod: 'client', container: 'main', signal: AbortSignal.timeout(60_000) };
    const { stdout } = await execInPod(config, command, request);
    expect(stdout.toString()).to.equal('web');
    const { code, output } = await capture.ended;
    expect(code, output).to.equal(0);
    const places = placesOf(file);
    const [first = []] = places.values();
    expect(first.length, first.join(' ')).to.be.at.least(6);
    expect(first[0]).to.match(new RegExp(`^[^/]+/${namespace}/client/eth0$`));
    expect(first.at(-1)).to.match(new RegExp(`^[^/]+/${namespace}/web/eth0$`));
  });

  it('traces a request there and back, and tells five faults apart', async () => {
    const networking = config.makeApiClient(NetworkingV1Api);
    const spec = {
      podSelector: { matchLabels: { app: 'guarded' } },
      policyTypes: ['Ingress'],
      ingress: [{ _from: [{ podSelector: { matchLabels: { role: 'friend' } } }] }],
    };
    await networking.createNamespacedNetworkPolicy({ namespace, body: { metadata: { name: 'friends-only' }, spec } });
    await inject(cluster, addresses);
    const found = new Map<string, { readonly code: number | null; readonly record: TraceRecord }>();
    // The last one has a good endpoint too, which a probe meets as often.
    const unheard = `${namespace}/web:9999`;
    for (const to of ['svc/web', 'svc/guarded', 'svc/empty', unheard, 'svc/fenced', 'svc/unrouted', 'svc/either']) {
      const { code, output } = await trace(to);
      found.set(to, { code, record: recordIn(output) });
    }
    const [well, guarded, empty, closed, fenced, unrouted, either] = found.values();
    const [clientNode] = cluster.nodes['control-plane'];
    const [serverNode] = cluster.nodes['last-worker'];
    expect(well?.code).to.equal(0);
    expect(well?.record.verdict).to.include({ outcome: 'delivered' });
    const way = well?.record.verdict.there.map(({ place }) => `${place.node} ${place.kind}`);
    const wanted = ['pod', 'host-side', 'uplink'].map((kind) => `${clientNode} ${kind}`);
    expect(way).to.deep.equal([
      ...wanted,
      ...wanted.map((one) => one.replace(clientNode ?? '', serverNode ?? '')).toReversed(),
    ]);
    expect(well?.record.verdict.back.at(-1)?.place).to.include({ node: clientNode, kind: 'pod' });
    for (const [one, reason] of [
      [guarded, 'policy'],
      [empty, 'no-endpoints'],
      [closed, 'no-listener'],
      [fenced, 'foreign-firewall'],
      [unrouted, 'no-route'],
      [either, 'foreign-firewall'],
    ] as const) {
      expect(one?.record.verdict.reason, one?.record.verdict.summary).to.equal(reason);
      expect(one?.code).to.equal(1);
    }
    expect(guarded?.record.verdict.objects).to.include(`NetworkPolicy ${namespace}/friends-only`);
    expect(guarded?.record.verdict.ended?.node).to.equal(serverNode);
    expect(empty?.record.verdict.objects).to.include(`Service ${namespace}/empty`);
    expect(closed?.record.verdict.objects).to.include(`Pod ${namespace}/web`);
    expect(fenced?.record.verdict.rule).to.contain('table inet company, chain fence');
    expect(fenced?.record.verdict.ended?.node).to.equal(serverNode);
    expect(unrouted?.record.verdict.ended?.node).to.equal(clientNode);
  });

  it('leaves nothing in the cluster, not even of a capture that was killed', async () => {
    await killed.ended;
    for (;;) {
      const { items } = await core.listNamespace({ labelSelector: runIdLabel });
      const left = items.filter(({ metadata }) => /^(?:capture|trace)-/.test(metadata?.labels?.[runIdLabel] ?? ''));
      if (left.length === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  });
});

function pod(name: string, node: string, command?: string[]): V1Pod {
  const env = command === undefined ? [{ name: 'PLUMB_LISTEN', value: 'tcp/8080' }] : [];
  return {
    metadata: { name, labels: { app: name, ...(['web', 'fenced'].includes(name) && { group: 'either' }) } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: `plumbline.local/probe:${version}`, env, ...(command && { command }) }],
    },
  };
}

/** A rule of somebody's at one server, and a route that refuses another. */
async function inject(cluster: Cluster, addresses: ReadonlyMap<string, string>): Promise<void> {
  const rule = `ip daddr ${addresses.get('fenced')} tcp dport 8080 drop`;
  const table = `table inet company { chain fence { type filter hook forward priority 5; ${rule}; }; }`;
  await perform(cluster, 'last-worker', `nft '${table}'`);
  await perform(cluster, 'control-plane', `ip route add unreachable ${addresses.get('unrouted')}/32`);
}

async function undo(cluster: Cluster): Promise<void> {
  await perform(cluster, 'last-worker', 'nft delete table inet company 2>/dev/null || true');
  await perform(
    cluster,
    'control-plane',
    'ip route show type unreachable | while read -r kind to rest; do ip route del "$kind" "$to"; done',
  );
}

async function perform(cluster: Cluster, where: Where, script: string): Promise<void> {
  const steps: Step[] = [{ in: where, script }];
  await new Background().perform(cluster, steps);
}

/** Names of interfaces by the number that the comment of each packet gives. */
function placesOf(path: string): Map<string, string[]> {
  const file = new CaptureFile(path);
  const places = new Map<string, string[]>();
  for (let packet = file.next(); packet !== undefined; packet = file.next()) {
    const number = /^packet (\d+)/.exec(packet.comment ?? '')?.[1] ?? '';
    places.set(number, [...(places.get(number) ?? []), packet.captureInterface.name ?? '']);
  }
  return places;
}

function recordIn(output: string): TraceRecord {
  const start = output.indexOf('{\n');
  if (start === -1) throw new Error(`no record in: ${output}`);
  return decodeTraceRecord(output.slice(start));
}
