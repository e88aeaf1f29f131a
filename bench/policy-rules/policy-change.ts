// SPDX-License-Identifier: Apache-2.0
/** What one change costs the network agent: from the objects as its informers have them to rules in force, by the size of the cluster. */
import type { NetworkPolicy } from '../../cluster/machinery/api-types.ts';
import { LiveTable } from '../../cluster/network/nft/live-table.ts';
import { PolicyCompiler, type PolicyInput } from '../../cluster/network/policy/compile.ts';
import type { PolicyPod } from '../../cluster/network/policy/policy-pods.ts';
import { ours, type Bench, type Benchmark, type Figure } from '../benchmark.ts';
import { openKernel } from './kernel.ts';

/** Pods of the cluster; those of one node are what a kubelet allows by default. */
const podCount = 1000;
const podsPerNode = 110;
const spaces = 20;

export const policyChange: Benchmark = {
  name: 'policy-change',
  about: 'one pod joins, one policy is edited: nft commands and time, at 10 and 1,000 policies with 1,000 pods',
  async run(bench) {
    const rounds = bench.options.runs ?? (bench.options.quick ? 10 : 50);
    for (const policies of [10, 100, 1000]) await measure(bench, policies, rounds);
  },
};

async function measure(bench: Bench, policyCount: number, rounds: number): Promise<void> {
  const kernel = await openKernel();
  bench.onCleanup(() => kernel.close());
  let commands = 0;
  const live = new LiveTable((text) => {
    commands += text.split('\n').length - 1;
    return kernel.apply(text);
  });
  const compiler = new PolicyCompiler();
  const pods = Array.from({ length: podCount }, (_, index) => pod(index));
  const policies = Array.from({ length: policyCount }, (_, index) => policy(index, 8080));
  const state = (): PolicyInput => ({
    policies,
    clusterPolicies: [],
    pods,
    nodes: [],
    namespaces: new Map(Array.from({ length: spaces }, (_, index) => [`ns-${index}`, { name: `ns-${index}` }])),
    nodeName: 'node-0',
    podCIDRs: ['10.244.0.0/24'],
  });
  const size = `${policyCount} policies`;
  const record = (what: string, unit: 'ms' | 'commands', value: number): void => {
    const figure: Figure = { name: `${size}: ${what}`, unit, better: 'lower' };
    bench.record(figure, ours, [value]);
  };
  const sync = async (what: string): Promise<void> => {
    commands = 0;
    const start = performance.now();
    const table = compiler.compile(state());
    const compiled = performance.now();
    await live.apply(table);
    record(`${what}, in force`, 'ms', performance.now() - start);
    record(`${what}, compiled`, 'ms', compiled - start);
    record(what, 'commands', commands);
    while (live.untidy) await live.apply(table);
  };
  await sync('the whole table');
  for (let round = 0; round < rounds && !bench.signal.aborted; round += 1) {
    const joining = pod(podCount + round);
    pods.push({ ...joining, nodeName: 'node-1', ips: [`10.245.1.${round + 1}`] });
    await sync('a pod joins on another node');
    pods.push({
      ...joining,
      name: `${joining.name}-here`,
      nodeName: 'node-0',
      ips: [`10.244.0.${200 + (round % 50)}`],
    });
    await sync('a pod joins on this node');
    pods.splice(podCount);
    await sync('two pods leave');
    policies[0] = policy(0, 9000 + round);
    await sync('a policy gets another port');
  }
  kernel.close();
}

function pod(index: number): PolicyPod {
  const node = Math.floor(index / podsPerNode);
  return {
    namespace: `ns-${index % spaces}`,
    name: `pod-${index}`,
    uid: String(index),
    labels: { app: `app-${index % 50}`, tier: index % 2 === 0 ? 'front' : 'back' },
    nodeName: `node-${node}`,
    ips: [`10.244.${node}.${(index % podsPerNode) + 2}`],
    ports: [{ name: 'web', protocol: 'tcp', port: 8080 }],
  };
}

/** One of every kind of peer, spread over the namespaces and apps. */
function policy(index: number, port: number): NetworkPolicy {
  const app = (number: number) => ({ matchLabels: { app: `app-${number % 50}` } });
  return {
    metadata: { namespace: `ns-${index % spaces}`, name: `policy-${index}` },
    spec: {
      podSelector: index % 10 === 0 ? {} : app(index),
      ingress: [
        { from: [{ podSelector: { matchLabels: { tier: 'front' } } }], ports: [{ port }] },
        {
          from: [
            { namespaceSelector: { matchLabels: { name: `ns-${(index + 1) % spaces}` } }, podSelector: app(index + 7) },
          ],
        },
        { from: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] } }], ports: [{ port: 'web' }] },
      ],
    },
  };
}
