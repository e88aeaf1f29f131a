// SPDX-License-Identifier: Apache-2.0
// What `plumb cluster` does, command by command. What only some of them need is loaded when they are asked for: commands
// that reach into a node are run by the hundred.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { enterNode } from '../machines/enter.ts';
import { isAlive } from '../machines/processes.ts';
import { controlService, logDirectory, serviceNames, writeService } from '../machines/supervisor.ts';
import { bundle, programs, type Program } from './bundle.ts';
import {
  addressRanges,
  clusterName,
  givenPrograms,
  kubernetesVersion,
  lanPrefix,
  networkMode,
  oddNumber,
  oneOf,
  parse,
  UsageError,
  workerCount,
  type Values,
} from './flags.ts';
import { clusterPaths, defaultName } from './layout.ts';
import { clusterNames, isRunning, proxyModes, readState, type ClusterState, type NodeState } from './state.ts';

const usage = `plumb cluster COMMAND [flags]

  up          bring a cluster up, or reuse the one that runs
                --workers N (2)   --nodes N (workers and control plane together)
                --kubernetes-version V (v1.36.0)
                --ip-family ipv4|ipv6|dual (ipv4)   --network routed|vxlan|bgp (routed): how pods of different nodes meet
                --proxy-mode nftables|iptables (nftables)
                --lan A.B.C (first numbers of a free /24)   --load-balancer-range FIRST-LAST (.200-.239 of the LAN)
                --ingress (serve Ingresses on ports 80 and 443 of one node and of a load balancer's address)
                --etcd-members N (1)   --etcd-endpoints URL,...
                --component NAME=PATH (upstream's kube-apiserver, kube-controller-manager, kube-scheduler, kubelet or kube-proxy in
                place of the project's; may be given several times)
                --no-wait (return when the components have been started)
  down        remove a cluster with everything that belongs to it (--all: every cluster of this machine)
  status      nodes, components, processes, memory (--json)
  list        clusters of this machine
  kubeconfig  print the path of the kubeconfig (--content: the file)
  logs        logs NODE COMPONENT [-f] [--tail N]
  exec        exec NODE -- COMMAND...
  stop        stop NODE: end everything in a node at once, as a power cut does
  start       start NODE: switch it on again
  image       image build -o FILE   the probe image as one archive, for "ctr images import" and "docker load"
              image push REFERENCE  the same to a registry (--insecure: by plain HTTP)
              image load            the project's images into the nodes of the cluster, if they have changed
  doctor      what this machine lacks, with remedies (--json)
  restart     restart [NODE] COMPONENT: bundle it again from its sources and start it anew, on every node unless one is named
  fault       fault list          what can be broken (--json: with symptoms and what a right diagnosis says)
              fault workload      deploy what the users of the cluster run; inject does it too
              fault inject ID     break it, and return once it shows (--answer FILE: write what a right diagnosis says)
              fault heal [ID]     make it whole again; without ID, every fault that is in
  command     command COMPONENT: how a component is started, without its flags, as JSON; for running one without a cluster

Every command takes --name NAME (${defaultName}).
`;

export async function main(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parse(argv);
  const [command, ...rest] = positionals;
  if (values.help || command === undefined) {
    process.stdout.write(usage);
    return command === undefined && !values.help ? 2 : 0;
  }
  const handler = handlers[command];
  if (handler === undefined)
    throw new UsageError(`unknown command "${command}"; there are: ${Object.keys(handlers).join(', ')}`);
  return handler(values, rest);
}

const handlers: Readonly<Record<string, (values: Values, rest: readonly string[]) => Promise<number>>> = {
  async up(values) {
    const start = performance.now();
    const [{ up }, { stepReporter, summarise }] = await Promise.all([import('./up.ts'), import('./report.ts')]);
    const state = await up(
      {
        name: clusterName(values.name),
        workers: workerCount(values),
        kubernetesVersion: kubernetesVersion(values['kubernetes-version']),
        etcdEndpoints: values['etcd-endpoints'],
        etcdMembers: oddNumber(values['etcd-members'], '--etcd-members'),
        proxyMode: oneOf('--proxy-mode', values['proxy-mode'], proxyModes),
        network: networkMode(values.network),
        ipFamily: oneOf('--ip-family', values['ip-family'], ['ipv4', 'ipv6', 'dual']),
        loadBalancerRange: addressRanges(values['load-balancer-range']),
        ingress: values.ingress,
        components: givenPrograms(values.component),
        lan: lanPrefix(values.lan),
        wait: values.wait,
      },
      await stepReporter(),
    );
    process.stdout.write(summarise(state, performance.now() - start));
    return 0;
  },
  async down(values) {
    const [{ down }, { stepReporter }, { runSteps }] = await Promise.all([
      import('./down.ts'),
      import('./report.ts'),
      import('./steps.ts'),
    ]);
    for (const name of values.all ? clusterNames() : [clusterName(values.name)]) {
      await runSteps(
        [{ id: 'down', title: `Remove cluster ${name}`, needs: [], run: () => down(name) }],
        await stepReporter(),
      );
    }
    return 0;
  },
  async status(values) {
    const { componentRows, printStatus } = await import('./status.ts');
    const state = requireState(values.name);
    if (values.json) process.stdout.write(`${JSON.stringify(componentRows(state), undefined, 2)}\n`);
    else printStatus(state);
    return 0;
  },
  async list() {
    for (const name of clusterNames()) {
      const state = readState(name);
      if (state !== undefined)
        process.stdout.write(`${name}\t${state.nodes.length} nodes\t${state.prefix}.0/24\t${state.createdAt}\n`);
    }
    return 0;
  },
  async kubeconfig(values) {
    const state = requireState(values.name);
    if (!isRunning(state))
      throw new Error(`cluster ${state.name} does not run; "plumb cluster up --name ${state.name}" starts it`);
    const path = clusterPaths(state.name).kubeconfig;
    process.stdout.write(values.content ? readFileSync(path, 'utf8') : `${path}\n`);
    return 0;
  },
  async logs(values, rest) {
    const node = requireNode(requireState(values.name), rest[0]);
    const component = rest[1];
    const file = join(logDirectory(node.directory, component ?? ''), 'current');
    if (component === undefined || !existsSync(file)) {
      throw new UsageError(
        `logs NODE COMPONENT: components on ${node.name} are ${serviceNames(node.directory).join(', ')}`,
      );
    }
    return attach(['tail', '-n', values.tail, ...(values.follow ? ['-F'] : []), file]);
  },
  async exec(values, rest) {
    const state = requireState(values.name);
    const node = requireNode(state, rest[0]);
    if (node.init === undefined)
      throw new Error(`node ${node.name} does not run; "plumb cluster up --name ${state.name}" starts it`);
    const command = rest.slice(1);
    return attach(
      enterNode({ cluster: state.name, name: node.name, init: node.init }, command.length > 0 ? command : ['bash']),
    );
  },
  async stop(values, rest) {
    const { stopNode } = await import('../machines/node.ts');
    const state = requireState(values.name);
    const node = requireNode(state, rest[0]);
    await stopNode(state.name, node.name);
    process.stdout.write(`stopped ${node.name}\n`);
    return 0;
  },
  async start(values, rest) {
    const { bootNode } = await import('./node-boot.ts');
    const state = requireState(values.name);
    const node = requireNode(state, rest[0]);
    if (node.init !== undefined && isAlive(node.init)) throw new Error(`node ${node.name} runs already`);
    await bootNode(state, node);
    process.stdout.write(`started ${node.name}\n`);
    return 0;
  },
  async image(values, rest) {
    const [action, reference] = rest;
    const { archiveProbe, pushProbe } = await import('./images/deliver.ts');
    if (action === 'build' && values.output !== undefined) process.stdout.write(await archiveProbe(values.output));
    else if (action === 'push' && reference !== undefined)
      process.stdout.write(await pushProbe(reference, values.insecure));
    else if (action === 'load') {
      const { loadImages } = await import('./up.ts');
      process.stdout.write(`${(await loadImages(requireState(values.name))) || 'nothing has changed'}\n`);
    } else throw new UsageError('image: say "image build -o FILE", "image push REFERENCE" or "image load"');
    return 0;
  },
  async fault(values, rest) {
    const { json, answer } = values;
    const { faultCommand } = await import('../faults/commands.ts');
    const said = await faultCommand(rest, { json, answer, state: () => requireState(values.name) });
    if (said === undefined) throw new UsageError('fault: say "fault list", "workload", "inject ID" or "heal [ID]"');
    process.stdout.write(said);
    return 0;
  },
  async command(_, [component]) {
    if (!isProgram(component))
      throw new UsageError(`command COMPONENT: components are ${Object.keys(programs).join(', ')}`);
    const path = await bundle(component);
    if (path === undefined) throw new Error(`${programs[component]} does not exist`);
    const { programCommand } = await import('./services.ts');
    process.stdout.write(`${JSON.stringify(programCommand(path))}\n`);
    return 0;
  },
  async doctor(values) {
    const { examine, formatResults } = await import('./doctor.ts');
    const results = await examine();
    process.stdout.write(values.json ? `${JSON.stringify(results, undefined, 2)}\n` : formatResults(results));
    return results.every((result) => result.ok || result.level === 'advised') ? 0 : 1;
  },
  async restart(values, rest) {
    const state = requireState(values.name);
    const component = rest.at(-1);
    const nodes = rest.length > 1 ? [requireNode(state, rest[0])] : state.nodes;
    const hosts = nodes.filter(
      (node) => serviceNames(node.directory).includes(component ?? '') || isProgram(component),
    );
    if (component === undefined || hosts.length === 0)
      throw new UsageError('restart [NODE] COMPONENT: no node has such a component');
    await restart(state, component, hosts);
    return 0;
  },
};

async function restart(state: ClusterState, component: string, nodes: readonly NodeState[]): Promise<void> {
  const { nodeServices } = await import('./services.ts');
  const bundles = new Map<Program, string>();
  if (isProgram(component)) {
    const path = await bundle(component);
    if (path === undefined) throw new Error(`${programs[component]} does not exist`);
    bundles.set(component, path);
  }
  for (const node of nodes) {
    const service = nodeServices({ state, node, bundles }).find((candidate) => candidate.name === component);
    if (service === undefined) continue;
    writeService(node.directory, service);
    await controlService(node.directory, component, 'up');
    await controlService(node.directory, component, 'restart');
    process.stdout.write(`restarted ${component} on ${node.name}\n`);
  }
}

function isProgram(name: string | undefined): name is Program {
  return name !== undefined && name in programs;
}

/** Runs a command on the caller's own terminal; resolves to its exit code. */
async function attach(command: readonly string[]): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on('SIGINT', forward).on('SIGTERM', forward);
  child.on('error', reject);
  child.on('close', (code) => resolve(code ?? 1));
  return promise;
}

function requireState(name: string): ClusterState {
  const state = readState(clusterName(name));
  if (state !== undefined) return state;
  const others = clusterNames();
  const hint =
    others.length === 0 ? '"plumb cluster up" makes one' : `there are: ${others.join(', ')} (choose by --name)`;
  throw new Error(`this machine has no cluster "${name}"; ${hint}`);
}

function requireNode(state: ClusterState, name: string | undefined): NodeState {
  const node = state.nodes.find(
    (candidate) => candidate.name === name || candidate.name === `${state.name}-${name ?? ''}`,
  );
  if (node === undefined)
    throw new UsageError(
      `${name === undefined ? 'name a node' : `no node "${name}"`}: there are ${state.nodes.map((one) => one.name).join(', ')}`,
    );
  return node;
}
