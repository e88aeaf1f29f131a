// SPDX-License-Identifier: Apache-2.0
/**
 * `plumb policy`: what NetworkPolicies and ClusterNetworkPolicies mean, worked out from objects alone, offline on files or read from a cluster.
 * Nothing is applied, nothing is probed.
 */
import { isIP } from 'node:net';
import type { Command } from 'commander';
import type { Family, Model } from '../../suites/oracles/reachability/model.ts';
import { Problem } from '../problem.ts';
import type { CommandContext } from './command-context.ts';
import { exitCodeOf } from './exit-code.ts';
import { readDocuments, type SourceDocument } from './policy-documents.ts';
import { explain, explanationLines } from './policy-explain.ts';
import { lintPolicies } from './policy-lint.ts';
import {
  cellLine,
  flippedCells,
  matrixCsv,
  matrixJson,
  matrixOf,
  matrixTable,
  portsOrDeclared,
} from './policy-matrix.ts';
import { policyInput, type PolicyInput, type ServedPort } from './policy-model.ts';

const defaultPort: ServedPort = { port: 80, protocol: 'tcp' };

interface SourceFlags {
  readonly filename?: readonly string[];
  readonly kubeconfig?: string;
  readonly context?: string;
}

interface MatrixFlags extends SourceFlags {
  readonly port?: readonly ServedPort[];
  readonly namespace?: readonly string[];
  readonly outside?: readonly string[];
  readonly output: string;
  readonly why?: boolean;
}

interface ExplainFlags extends SourceFlags {
  readonly from: string;
  readonly to: string;
  readonly port?: ServedPort;
  readonly family?: string;
  readonly output: string;
}

interface WhatIfFlags extends Omit<MatrixFlags, 'filename'> {
  readonly filename: readonly string[];
  readonly base?: readonly string[];
  readonly delete?: readonly string[];
}

export function addCommands(program: Command, { finish }: CommandContext): void {
  const policy = program.command('policy').description('say what network policies allow, from YAML files or a cluster');
  const verb = (name: string, description: string): Command => policy.command(name).description(description);

  withCluster(
    verb('explain', 'the verdict over one connection and the rule that decides; exits with 1 if it is denied'),
  )
    .option('-f, --filename <path>', 'file or directory of objects (repeatable; default: a cluster)', collect)
    .requiredOption('--from <party>', 'namespace/pod, or an address')
    .requiredOption('--to <party>', 'namespace/pod, svc/namespace/name, name.namespace.svc, or an address')
    .option('--port <port>', 'such as 53/udp (default: 80/tcp)', parsePort)
    .option('--family <number>', '4 or 6 (default: the first that both have)')
    .option('-o, --output <format>', 'text or json', 'text')
    .action(async (flags: ExplainFlags) => finish(await explainOne(flags)));

  withScope(withCluster(verb('matrix', 'the verdict of every pair of pods')))
    .option('-f, --filename <path>', 'file or directory of objects (repeatable; default: a cluster)', collect)
    .option('-o, --output <format>', 'table, json or csv', 'table')
    .option('--why', 'with the rule behind each verdict')
    .action(async (flags: MatrixFlags) => finish(await printMatrix(flags)));

  withCluster(verb('lint', 'mistakes in policies: what is valid and yet hardly meant'))
    .option('-f, --filename <path>', 'file or directory of objects (repeatable; default: a cluster)', collect)
    .option('--strict', 'exit with 1 if there is any finding')
    .option('-o, --output <format>', 'text or json', 'text')
    .action(async (flags: SourceFlags & { strict?: boolean; output: string }) => finish(await lint(flags)));

  withScope(withCluster(verb('what-if', 'which verdicts flip when policies are applied, before they are')))
    .requiredOption('-f, --filename <path>', 'the policies to apply (repeatable)', collect)
    .option('--base <path>', 'what is there now: file or directory (repeatable; default: a cluster)', collect)
    .option('--delete <namespace/name>', 'a policy that would go (repeatable)', collect)
    .option('-o, --output <format>', 'text or json', 'text')
    .action(async (flags: WhatIfFlags) => finish(await whatIf(flags)));
}

function withCluster(command: Command): Command {
  return command
    .option('--kubeconfig <file>', 'the cluster (default: $KUBECONFIG, ~/.kube/config, else the embedded cluster)')
    .option('--context <name>', 'context in the kubeconfig');
}

function withScope(command: Command): Command {
  const ports = (text: string, before: readonly ServedPort[] = []): ServedPort[] => [...before, parsePort(text)];
  return command
    .option('--port <port>', 'such as 80/tcp (repeatable; default: what the containers declare)', ports)
    .option('-n, --namespace <name>', 'only pods of this namespace (repeatable)', collect)
    .option('--outside <address>', 'an address outside the cluster that takes part (repeatable)', collect);
}

async function explainOne(flags: ExplainFlags): Promise<number> {
  const output = formatOf(flags.output, ['text', 'json']);
  if (flags.family !== undefined && flags.family !== '4' && flags.family !== '6')
    throw new Problem(`--family ${flags.family} is no address family`, 'Write 4 or 6.');
  const family = flags.family === undefined ? undefined : (Number(flags.family) as Family);
  const input = await readInput(flags);
  const explanation = explain(input, { from: flags.from, to: flags.to, ...(flags.port ?? defaultPort), family });
  print(output === 'json' ? [JSON.stringify(explanation, undefined, 2)] : explanationLines(explanation, input));
  return exitCodeOf(explanation.verdict === 'allowed' ? 'passed' : 'failed');
}

async function printMatrix(flags: MatrixFlags): Promise<number> {
  const output = formatOf(flags.output, ['table', 'json', 'csv']);
  const input = await readInput(flags);
  const cells = matrixOf(input.model, scopeOf(flags, input));
  const why = flags.why === true;
  if (output === 'json') print([JSON.stringify(matrixJson(cells, { why }), undefined, 2)]);
  else print(output === 'csv' ? matrixCsv(cells) : matrixTable(cells, { why }));
  return 0;
}

async function lint(flags: SourceFlags & { readonly strict?: boolean; readonly output: string }): Promise<number> {
  const output = formatOf(flags.output, ['text', 'json']);
  const input = await readInput(flags);
  const findings = lintPolicies(input);
  if (output === 'json') print([JSON.stringify(findings, undefined, 2)]);
  else {
    const count = input.policyDocuments.length;
    print([
      ...findings.flatMap(({ check, object, field, message, remedy, origin }) => [
        `${object}: ${field}: ${message} (${check})`,
        `  -> ${remedy}  [${origin}]`,
      ]),
      `${findings.length} findings in ${count} policies`,
    ]);
  }
  return exitCodeOf(flags.strict === true && findings.length > 0 ? 'failed' : 'passed');
}

async function whatIf(flags: WhatIfFlags): Promise<number> {
  const output = formatOf(flags.output, ['text', 'json']);
  const { base, filename, delete: deleted = [], ...rest } = flags;
  const fresh = readDocuments(filename);
  const stranger = fresh.find(({ kind }) => kind !== 'NetworkPolicy' && kind !== 'ClusterNetworkPolicy');
  if (stranger !== undefined) {
    throw new Problem(
      `${stranger.origin} is a ${stranger.kind}, not a policy`,
      'Give -f the policies alone; what is there already goes to --base.',
    );
  }
  const present = await documents({ ...rest, ...(base !== undefined && { filename: base }) });
  const before = policyInput(present);
  const after = policyInput([...present.filter((one) => !isReplaced(one, fresh, deleted)), ...fresh]);
  const unknown = deleted.find((name) => !before.policyDocuments.some((one) => nameOf(one) === name));
  if (unknown !== undefined) {
    const names = before.policyDocuments.map(nameOf).join(', ') || 'none';
    throw new Problem(`--delete ${unknown}: there is no such policy`, `Policies: ${names}.`);
  }
  note(after);
  const scope = scopeOf(rest, before);
  // The namespaces that new policies mention are there on both sides, so that only policies differ.
  const then: Model = {
    ...after.model,
    policies: before.model.policies,
    clusterPolicies: before.model.clusterPolicies ?? [],
  };
  const cells = flippedCells(then, after.model, scope);
  if (output === 'json') print([JSON.stringify(matrixJson(cells, { why: true }), undefined, 2)]);
  else {
    const [denied, opened] = [
      cells.filter(({ verdict }) => !verdict.allowed),
      cells.filter(({ verdict }) => verdict.allowed),
    ];
    print([
      ...denied.map((cell) => `- ${cellLine(cell)}`),
      ...opened.map((cell) => `+ ${cellLine(cell)}`),
      `${denied.length} verdicts become denied, ${opened.length} become allowed`,
    ]);
  }
  return 0;
}

function isReplaced(present: SourceDocument, fresh: readonly SourceDocument[], deleted: readonly string[]): boolean {
  if (present.kind !== 'NetworkPolicy' && present.kind !== 'ClusterNetworkPolicy') return false;
  return (
    deleted.includes(nameOf(present)) ||
    fresh.some((one) => one.kind === present.kind && nameOf(one) === nameOf(present))
  );
}

function nameOf({ namespace, name }: SourceDocument): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

function scopeOf({ port = [], namespace = [], outside = [] }: Omit<MatrixFlags, 'output'>, input: PolicyInput) {
  const wrong = outside.find((address) => isIP(address) === 0);
  if (wrong !== undefined) throw new Problem(`--outside ${wrong} is not an address`, 'Write it like 203.0.113.7.');
  return { ports: portsOrDeclared(port, input), namespaces: namespace, outside };
}

async function readInput(flags: SourceFlags): Promise<PolicyInput> {
  const input = policyInput(await documents(flags));
  note(input);
  return input;
}

function note({ notes }: PolicyInput): void {
  for (const one of notes) process.stderr.write(`note: ${one}\n`);
}

/** The Kubernetes client is loaded only for a cluster: it takes half a second. */
async function documents({ filename, kubeconfig, context }: SourceFlags): Promise<SourceDocument[]> {
  if (filename === undefined) return (await import('./policy-cluster.ts')).documentsOfCluster({ kubeconfig, context });
  if (kubeconfig !== undefined)
    throw new Problem(
      'files and --kubeconfig were both given',
      'Leave one of them out: objects come from files or from a cluster.',
    );
  return readDocuments(filename);
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function parsePort(text: string): ServedPort {
  const [, number = '', protocol = 'tcp'] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(text) ?? [];
  const port = Number(number);
  if (port < 1 || port > 65_535) throw new Problem(`--port ${text} is not a port`, 'Write it like 80/tcp or 53/udp.');
  return { port, protocol: protocol.toLowerCase() as ServedPort['protocol'] };
}

function formatOf(text: string, known: readonly string[]): string {
  if (!known.includes(text)) throw new Problem(`-o ${text} is not a format`, `Choose one of ${known.join(', ')}.`);
  return text;
}

function print(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}
