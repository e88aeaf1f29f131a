// SPDX-License-Identifier: Apache-2.0
/** `plumb results`: reads any Sonobuoy archive as `sonobuoy results` does, but exits with the outcome. */
import { type Command, Option } from 'commander';
import { stringify } from 'yaml';
import { Problem } from '../problem.ts';
import { findItem, jsonOf, leavesOf, pluginsOf, readItemTree, type ItemNode } from '../results/item-tree.ts';
import { openResults, type ResultSource } from '../results/result-source.ts';
import type { CommandContext } from './command-context.ts';
import { exitCodeOf } from './exit-code.ts';

const outputModes = ['report', 'detailed', 'readable', 'dump'] as const;
type OutputMode = (typeof outputModes)[number];

interface ResultsFlags {
  readonly mode: OutputMode;
  readonly plugin?: string;
  readonly node?: string;
}

export function addCommands(program: Command, { finish }: CommandContext): void {
  program
    .command('results')
    .description('inspect any Sonobuoy archive, like sonobuoy results, with an exit code')
    .argument('<archive>', 'a tar.gz, or a directory that one was extracted to')
    .addOption(new Option('-m, --mode <mode>', 'what to print').choices(outputModes).default('report'))
    .option('-p, --plugin <name>', 'only this plugin (default: all)')
    .option('-n, --node <name>', 'only the part of the tree below the item of that name')
    .action(async (archive: string, flags: ResultsFlags) => finish(await printResults(archive, flags)));
}

async function printResults(archive: string, flags: ResultsFlags): Promise<number> {
  const source = await openResults(archive);
  const plugins = flags.plugin === undefined ? pluginsOf(source) : [flags.plugin];
  if (plugins.length === 0) {
    throw new Problem(
      `${archive} holds no plugin results`,
      'Is it a Sonobuoy archive? A results directory of plumb is read by: plumb report PATH',
    );
  }
  const trees = plugins.map((plugin): [string, ItemNode] => [plugin, readItemTree(source, plugin)]);
  const parts = trees.map(([plugin, tree]) => {
    const item = flags.node === undefined ? tree : findItem(tree, flags.node);
    if (item === undefined)
      throw new Problem(`plugin ${plugin} has no item "${flags.node}"`, 'See the names with --mode dump.');
    return render(source, plugin, { item, mode: flags.mode });
  });
  if (flags.plugin === undefined && flags.mode === 'report') parts.push(runDetails(source));
  process.stdout.write(parts.filter((part) => part !== '').join('\n'));
  const statuses = trees.flatMap(([, tree]) => [...leavesOf(tree)].map(({ item }) => item.status));
  if (statuses.some((status) => status === 'failed' || status === 'timeout')) return exitCodeOf('failed');
  return statuses.some((status) => status === 'unknown' || status === '')
    ? exitCodeOf('inconclusive')
    : exitCodeOf('passed');
}

function render(
  source: ResultSource,
  plugin: string,
  shown: { readonly item: ItemNode; readonly mode: OutputMode },
): string {
  switch (shown.mode) {
    case 'report':
      return report(shown.item);
    case 'detailed':
      return detailed(source, plugin, shown.item);
    case 'dump':
      return yamlOf(shown.item);
    case 'readable':
      return yamlOf(shown.item).replaceAll('\\n', '\n').replaceAll('\\t', '\t');
  }
}

const builtIn = ['passed', 'failed', 'skipped'];

export function report(item: ItemNode): string {
  const counts = new Map<string, number>();
  const failed: string[] = [];
  for (const { item: leaf } of leavesOf(item)) {
    const status = leaf.status === 'timeout' ? 'failed' : leaf.status;
    counts.set(status, (counts.get(status) ?? 0) + 1);
    if (status === 'failed') failed.push(leaf.name);
  }
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const others = [...counts].filter(([status]) => !builtIn.includes(status)).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return [
    `Plugin: ${item.name}`,
    `Status: ${item.status}`,
    `Total: ${total}`,
    `Passed: ${counts.get('passed') ?? 0}`,
    `Failed: ${counts.get('failed') ?? 0}`,
    `Skipped: ${counts.get('skipped') ?? 0}`,
    ...others.map(([status, count]) => `${status === '' ? 'unknown' : status}: ${count}`),
    ...(failed.length === 0 ? [] : ['', 'Failed tests:', ...failed]),
    '',
  ].join('\n');
}

/** Each leaf as one JSON line with its path, or the file that it stands for. */
function detailed(source: ResultSource, plugin: string, tree: ItemNode): string {
  const lines = [...leavesOf(tree)].map(({ item, path }) => {
    const file = item.meta['file'];
    if (file === undefined) {
      const details = Object.keys(item.details).length === 0 ? undefined : item.details;
      return JSON.stringify({
        name: item.name,
        status: item.status,
        meta: { ...item.meta, path: path.join('|') },
        details,
      });
    }
    const content = source.read(`plugins/${plugin}/${file}`);
    return `${[...path, item.name].join('|')} ${content === undefined ? '(the file is missing)' : new TextDecoder().decode(content)}`;
  });
  return `${lines.join('\n')}\n`;
}

function yamlOf(item: ItemNode): string {
  return stringify(compact(item), { lineWidth: 0 });
}

function compact(item: ItemNode): object {
  return {
    name: item.name,
    status: item.status,
    ...(Object.keys(item.meta).length === 0 ? {} : { meta: item.meta }),
    ...(Object.keys(item.details).length === 0 ? {} : { details: item.details }),
    ...(item.items.length === 0 ? {} : { items: item.items.map(compact) }),
  };
}

interface HealthPart {
  readonly total_nodes?: number;
  readonly healthy_nodes?: number;
  readonly details?: readonly {
    name?: string;
    namespace?: string;
    healthy?: boolean;
    ready?: string;
    reason?: string;
    message?: string;
  }[];
}

function runDetails(source: ResultSource): string {
  const health = jsonOf(source, 'meta/clusterhealth.json') as
    | { api_version?: string; node_health?: HealthPart; pod_health?: HealthPart }
    | undefined;
  if (health === undefined) return '';
  const part = (
    name: string,
    { total_nodes: total = 0, healthy_nodes: healthy = 0, details = [] }: HealthPart = {},
  ): string[] => [
    `${name} health: ${healthy}/${total}${total === 0 ? '' : ` (${Math.floor((100 * healthy) / total)}%)`}`,
    ...details
      .filter((one) => one.healthy !== true)
      .map(
        (one) =>
          `  ${one.namespace === undefined ? '' : `${one.namespace}/`}${one.name} Ready:${one.ready ?? ''}: ${one.reason ?? ''}: ${one.message ?? ''}`,
      ),
  ];
  return [
    'Run Details:',
    `API Server version: ${health.api_version ?? ''}`,
    ...part('Node', health.node_health),
    ...part('Pods', health.pod_health),
    '',
  ].join('\n');
}
