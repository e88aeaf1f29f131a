// SPDX-License-Identifier: Apache-2.0
// The command behind `plumb cluster`: brings clusters of this machine up and down, and reaches into their nodes.
// Exit codes: 0 done, 1 it failed (the message ends with a remedy), 2 the command line is wrong.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { faultCommand, faultUsage } from '../faults/commands.ts';
import { enterNode } from '../machines/enter.ts';
import { stopNode } from '../machines/node.ts';
import { isAlive } from '../machines/processes.ts';
import { controlService, logDirectory, serviceNames, writeService } from '../machines/supervisor.ts';
import { addressToBigint, familyOf } from '../network/addresses.ts';
import { bundle, programs, type Program } from './bundle.ts';
import { examine, formatResults } from './doctor.ts';
import { down } from './down.ts';
import { readGivenPrograms } from './given-programs.ts';
import { clusterPaths, defaultName } from './layout.ts';
import { nodeServices, programCommand } from './services.ts';
import {
  clusterNames,
  isRunning,
  networkModes,
  proxyModes,
  readState,
  type ClusterState,
  type NetworkMode,
  type NodeState,
} from './state.ts';
import { componentRows, printStatus } from './status.ts';
import { stepReporter, summarise } from './report.ts';
import { runSteps, StepError } from './steps.ts';
import { archiveProbe, pushProbe } from './images/deliver.ts';
import { bootNode } from './node-boot.ts';
import { loadImages, up } from './up.ts';

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
  ${faultUsage}
  command     command COMPONENT: how a component is started, without its flags, as JSON; for running one without a cluster

Every command takes --name NAME (${defaultName}).
`;

class UsageError extends Error {}

const options = {
  name: { type: 'string', default: defaultName },
  workers: { type: 'string' },
  nodes: { type: 'string' },
  'kubernetes-version': { type: 'string', default: 'v1.36.0' },
  'etcd-endpoints': { type: 'string', default: '' },
  'etcd-members': { type: 'string', default: '1' },
  component: { type: 'string', multiple: true, default: [] as string[] },
  'proxy-mode': { type: 'string', default: 'nftables' },
  network: { type: 'string', default: 'routed' },
  'ip-family': { type: 'string', default: 'ipv4' },
  lan: { type: 'string', default: '' },
  'load-balancer-range': { type: 'string', default: '' },
  ingress: { type: 'boolean', default: false },
  wait: { type: 'boolean', default: true },
  all: { type: 'boolean', default: false },
  content: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  output: { type: 'string', short: 'o' },
  insecure: { type: 'boolean', default: false },
  follow: { type: 'boolean', short: 'f', default: false },
  tail: { type: 'string', default: '100' },
  answer: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

type Values = ReturnType<typeof parse>['values'];

async function main(argv: readonly string[]): Promise<number> {
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
    for (const name of values.all ? clusterNames() : [clusterName(values.name)]) {
      await runSteps(
        [{ id: 'down', title: `Remove cluster ${name}`, needs: [], run: () => down(name) }],
        await stepReporter(),
      );
    }
    return 0;
  },
  async status(values) {
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
    const state = requireState(values.name);
    const node = requireNode(state, rest[0]);
    await stopNode(state.name, node.name);
    process.stdout.write(`stopped ${node.name}\n`);
    return 0;
  },
  async start(values, rest) {
    const state = requireState(values.name);
    const node = requireNode(state, rest[0]);
    if (node.init !== undefined && isAlive(node.init)) throw new Error(`node ${node.name} runs already`);
    await bootNode(state, node);
    process.stdout.write(`started ${node.name}\n`);
    return 0;
  },
  async image(values, rest) {
    const [action, reference] = rest;
    if (action === 'build' && values.output !== undefined) process.stdout.write(await archiveProbe(values.output));
    else if (action === 'push' && reference !== undefined)
      process.stdout.write(await pushProbe(reference, values.insecure));
    else if (action === 'load')
      process.stdout.write(`${(await loadImages(requireState(values.name))) || 'nothing has changed'}\n`);
    else throw new UsageError('image: say "image build -o FILE", "image push REFERENCE" or "image load"');
    return 0;
  },
  async fault(values, rest) {
    const { json, answer } = values;
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
    process.stdout.write(`${JSON.stringify(programCommand(path))}\n`);
    return 0;
  },
  async doctor(values) {
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

function parse(argv: readonly string[]) {
  // exec's own command keeps its flags: everything after the node's name belongs to it.
  const [before, after] = splitExec(argv);
  try {
    const { values, positionals } = parseArgs({
      args: before,
      options,
      allowPositionals: true,
      allowNegative: true,
      strict: true,
    });
    return { values, positionals: [...positionals, ...after] };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function splitExec(argv: readonly string[]): [string[], string[]] {
  const dashes = argv.indexOf('--');
  return dashes < 0 ? [[...argv], []] : [argv.slice(0, dashes), argv.slice(dashes + 1)];
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

function givenPrograms(texts: readonly string[]): ReturnType<typeof readGivenPrograms> {
  try {
    return readGivenPrograms(texts);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** A name becomes part of node names and directories: a DNS label with room for "-control-plane". */
function clusterName(name: string): string {
  if (/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(name)) return name;
  throw new UsageError(`--name "${name}": use up to 40 lower-case letters, digits and dashes`);
}

function workerCount(values: Values): number {
  if (values.nodes !== undefined) {
    if (values.workers !== undefined)
      throw new UsageError('--nodes and --workers say the same thing; give one of them');
    return naturalNumber(values.nodes, '--nodes', 1) - 1;
  }
  return naturalNumber(values.workers ?? '2', '--workers', 0);
}

function naturalNumber(text: string, flag: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > 200)
    throw new UsageError(`${flag} "${text}": give a number from ${least} to 200`);
  return value;
}

function oddNumber(text: string, flag: string): number {
  const value = naturalNumber(text, flag, 1);
  if (value % 2 === 0 || value > 7)
    throw new UsageError(`${flag} "${text}": give 1, 3, 5 or 7, so that a majority is clear`);
  return value;
}

function kubernetesVersion(text: string): string {
  const match = /^v?(\d+)\.(\d+)(\.\d+)?$/.exec(text);
  if (match === null) throw new UsageError(`--kubernetes-version "${text}": give a version such as v1.36.0`);
  return `v${match[1] ?? ''}.${match[2] ?? ''}${match[3] ?? '.0'}`;
}

function oneOf<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new UsageError(`${flag} "${text}": give ${choices.join(' or ')}`);
  return found;
}

function networkMode(text: string): NetworkMode {
  // The flag had the LAN's meaning once.
  if (/^\d/.test(text)) throw new UsageError(`--network "${text}": the LAN is chosen by --lan ${text}`);
  return oneOf('--network', text, networkModes);
}

function addressRanges(text: string): string {
  const isRange = (range: string): boolean => {
    const [first = '', last = '', ...more] = range.split('-');
    const family = familyOf(first);
    return (
      more.length === 0 &&
      family !== undefined &&
      family === familyOf(last) &&
      addressToBigint(first) <= addressToBigint(last)
    );
  };
  if (text === '' || text.split(',').every(isRange)) return text;
  throw new UsageError(
    `--load-balancer-range "${text}": give the first and the last address of free ones on the LAN, such as 172.28.7.200-172.28.7.239; one range per family, with a comma`,
  );
}

function lanPrefix(text: string): string {
  if (text === '') return '';
  const match = /^(\d{1,3}\.\d{1,3}\.\d{1,3})(\.0\/24)?$/.exec(text);
  if (match?.[1] === undefined)
    throw new UsageError(`--lan "${text}": give the first three numbers of a /24, such as 172.28.7`);
  return match[1];
}

// Whoever reads our output may have read enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`plumb cluster: ${message}\n`);
  if (error instanceof StepError) {
    if (error.log !== '') process.stderr.write(`\n${error.log}\n\n`);
    process.stderr.write(`What to do: ${error.remedy}\n`);
  }
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
