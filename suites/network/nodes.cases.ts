// SPDX-License-Identifier: Apache-2.0
/** What the nodes themselves show of the data path, compared with what the API says and with each other. */
import { defineCase } from '../case.ts';
import { recogniseProviders } from '../../probes/node-state/provider.ts';
import { clusterView } from './findings/cluster-view.ts';
import { growthFindings, kernelFindings } from './findings/kernel-findings.ts';
import { linkFindings } from './findings/link-findings.ts';
import { hidesServices } from './findings/node-findings.ts';
import { apartFindings, routeFindings } from './findings/route-findings.ts';
import { serviceFindings } from './findings/service-rules.ts';
import { expectNoLasting, readApi } from './readings.ts';

const area = 'network';
/** A finding is looked at again and again; a busy cluster takes seconds for each reading of a node. */
const timeoutMs = 240_000;

export const serviceRules = defineCase(
  {
    id: 'network.services.rules-match-api',
    area,
    title: 'On every node the rules of every Service lead to exactly the endpoints that the API says',
    description:
      'For each address and port that a Service has (ClusterIP, NodePort, externalIP, load balancer), virtual packets through the node’s own rules MUST reach every endpoint to choose with equal probability and no other, keep or replace the client’s address as the traffic policy asks, and no rule may be left for a Service that is gone. Nodes whose proxy works in eBPF or Open vSwitch show no rules and are left out.',
    requirements: ['001 §5', '000 H1', '000 §5'],
    modes: ['network'],
    needs: ['node-probe'],
    timeoutMs,
  },
  async (t) => {
    let judged = 0;
    await expectNoLasting(t, async (read) => {
      // What the API says on either side of the reading: a change in between is nobody's fault.
      const before = await readApi(t);
      const states = (await read.nodes({ pods: false })).filter((state) => !hidesServices(state));
      if (states.length === 0)
        t.skip('no node shows rules of a Service proxy: it works in eBPF or Open vSwitch, or by IPVS');
      judged = states.length;
      const after = await readApi(t);
      const found = states.flatMap((state) => serviceFindings(state, after));
      if (found.length === 0) return [];
      const keys = new Set(states.flatMap((state) => serviceFindings(state, before)).map(({ key }) => key));
      return found.filter(({ key }) => keys.has(key));
    });
    t.log(`rules of ${judged} nodes agree with the API`);
  },
);

export const routes = defineCase(
  {
    id: 'network.routes.every-pod',
    area,
    title: 'Every node has one right route to every pod and to every other node’s pod range',
    description:
      'The route to each running pod of another node MUST exist, refuse nothing, lead to that pod’s node by a device that is up, and through a tunnel whose neighbour and forwarding entries name that node; the route to each pod of its own MUST lead to the pod’s wire. No place may have two routes by different ways.',
    requirements: ['001 §6.2.3', '000 H7', '000 H8', '000 H9'],
    modes: ['network'],
    needs: ['node-probe'],
    timeoutMs,
  },
  async (t) => {
    await expectNoLasting(t, async (read) => {
      const { states, api } = await read.nodesAndApi();
      for (const state of states) {
        const [provider] = recogniseProviders(state);
        if (provider !== undefined)
          t.log(
            `${state.node}: ${provider.name}${provider.manner === undefined ? '' : `, ${provider.manner}`} (${provider.confidence}: ${provider.clues.slice(0, 3).join(', ')})${provider.hidden === undefined ? '' : `; ${provider.hidden} decides further, unseen`}`,
          );
      }
      return routeFindings(clusterView(states, api));
    });
  },
);

export const wires = defineCase(
  {
    id: 'network.wires.mtu-and-neighbours',
    area,
    title: 'Wires, tunnels and neighbours of every node are up, large enough and who they should be',
    description:
      'Both ends of each pod’s wire MUST be up; what a pod may send at once MUST fit through its wire, the device towards other nodes and a tunnel’s carrier; neighbours in use MUST answer, nodes under their own hardware address; each node MUST have its own address and nobody else’s.',
    requirements: ['001 §6.2', '000 §7'],
    modes: ['network'],
    needs: ['node-probe'],
    timeoutMs,
  },
  async (t) => {
    await expectNoLasting(t, async (read) => {
      const { states, api } = await read.nodesAndApi();
      return linkFindings(clusterView(states, api));
    });
  },
);

export const kernel = defineCase(
  {
    id: 'network.kernel.settings-and-tables',
    area,
    title: 'Every node forwards, checks no way back that is not taken, has room in its tables and the right time',
    description:
      'Forwarding MUST be on for the families that pods use; the strict reverse path filter MUST NOT stand where answers leave by another device; connection tracking and neighbour tables MUST have room; bridged packets MUST pass the rules where iptables translates; clocks of nodes MUST be within a second of each other.',
    requirements: ['001 §5', '000 §7'],
    modes: ['network'],
    needs: ['node-probe'],
    timeoutMs,
  },
  async (t) => {
    await expectNoLasting(t, async (read) => {
      const { states, api } = await read.nodesAndApi();
      return kernelFindings(clusterView(states, api));
    });
  },
);

export const counters = defineCase(
  {
    id: 'network.counters.no-errors',
    area,
    title: 'Between two readings no interface counts errors or losses, and connection tracking loses nothing',
    description:
      'While the run goes on, interfaces of nodes MUST NOT count errors, nor lose more than one packet in a hundred; `drop` and `early_drop` of connection tracking MUST NOT grow, `insert_failed` by less than 20.',
    requirements: ['001 §6.2.2'],
    modes: ['network'],
    needs: ['node-probe'],
    timeoutMs,
  },
  async (t) => {
    await expectNoLasting(t, async (read) => {
      const before = await read.nodes({ pods: false });
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      const after = await read.nodes({ pods: false });
      return after.flatMap((state) => {
        const earlier = before.find(({ node }) => node === state.node);
        return earlier === undefined ? [] : growthFindings(earlier, state);
      });
    });
  },
);

export const apart = defineCase(
  {
    id: 'network.addresses.apart',
    area,
    title: 'No two nodes have overlapping pod ranges, no two pods one address, and no node an address of the pods',
    description:
      'spec.podCIDRs of nodes MUST be disjoint and hold no address of a node; two running pods MUST NOT have one address. This is read from the API alone.',
    requirements: ['000 H10', '001 §5'],
    modes: ['network'],
  },
  async (t) => {
    await expectNoLasting(t, async () => apartFindings(await readApi(t)));
  },
);
