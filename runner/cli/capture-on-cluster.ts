// SPDX-License-Identifier: Apache-2.0
/** The part of `plumb capture` that meets a cluster: finds the places, captures until something ends it, prints or writes, and cleans up. */
import { FilterError } from '../../probes/pcap-parser/filter/tokens.ts';
import { compileFilter } from '../../probes/pcap-parser/filter/filter.ts';
import { startCapture, type CaptureSummary, type SeenPacket } from '../../probes/capture/capture.ts';
import { pointsOfNode, pointsOfPod, type CapturePoint, type PodOnNode } from '../../probes/capture/capture-points.ts';
import { Problem } from '../problem.ts';
import { addressesOfNode, namesByAddress, readNetworkObjects, type NetworkObjects } from '../target/network-objects.ts';
import type { OwnNodeAccess } from '../target/node-access.ts';
import { captureFile, livePrint, type CaptureOutput } from './capture-output.ts';
import { resolveTargets, type CaptureTargets } from './capture-targets.ts';
import type { CaptureFlags } from './capture.ts';
import { exitCodeOf } from './exit-code.ts';
import { onExistingCluster } from './on-existing-cluster.ts';

/** Time for starting and ending, beyond what the capture itself lasts. */
const lifeMarginSeconds = 120;
const kubeletPortDefault = 10_250;

/** Resolves to the exit code: 0 if every place was captured to the end. */
export async function captureOnCluster(
  named: readonly string[],
  flags: CaptureFlags,
  version: string,
): Promise<number> {
  checkFilter(flags.filter);
  return await onExistingCluster('capture', { flags, version }, async (on) => {
    const { kube, namespace, server, signal } = on;
    const objects = await readNetworkObjects(kube);
    const targets = await resolveTargets(kube, named, { flags, objects, namespace });
    const access = await on.openAccess(Math.ceil(flags.duration) + lifeMarginSeconds);
    const points = await findPoints(access, targets, objects);
    const summary = await capture({ access, points, targets, objects, flags, server, signal });
    say(summaryLines(summary));
    return exitCodeOf(summary.troubles.length === 0 ? 'passed' : 'failed');
  });
}

function checkFilter(expression = ''): void {
  try {
    compileFilter(expression);
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    const pointer = `${expression}\n${' '.repeat(error.column - 1)}^`;
    throw new Problem(
      `filter, column ${error.column}: ${error.message}\n${pointer}`,
      'See pcap-filter(7) for the language.',
    );
  }
}

/** Pods' own interfaces, their host sides, and the uplinks and tunnels of all nodes concerned. */
async function findPoints(
  access: OwnNodeAccess,
  { pods, nodes }: CaptureTargets,
  objects: NetworkObjects,
): Promise<CapturePoint[]> {
  const concerned = [...new Set([...nodes, ...pods.map(({ spec }) => spec?.nodeName ?? '')])];
  const found = await Promise.all(
    concerned.map(async (node) => {
      const [state] = await Promise.all([access.state(node), access.session(node)]);
      const object = objects.nodes.find(({ metadata }) => metadata?.name === node);
      const here = pods.filter(({ spec }) => spec?.nodeName === node && spec.hostNetwork !== true);
      return [
        ...here.flatMap((pod) =>
          pointsOfPod(state, {
            namespace: pod.metadata?.namespace ?? '',
            name: pod.metadata?.name ?? '',
            uid: pod.metadata?.uid ?? '',
            addresses: (pod.status?.podIPs ?? []).map(({ ip }) => ip),
          } satisfies PodOnNode),
        ),
        ...pointsOfNode(state, object === undefined ? [] : addressesOfNode(object)),
      ];
    }),
  );
  return found.flat();
}

interface Capturing {
  readonly access: OwnNodeAccess;
  readonly points: readonly CapturePoint[];
  readonly targets: CaptureTargets;
  readonly objects: NetworkObjects;
  readonly flags: CaptureFlags;
  readonly server: string;
  /** Ends the capture in order. */
  readonly signal: AbortSignal;
}

async function capture({
  access,
  points,
  targets,
  objects,
  flags,
  server,
  signal,
}: Capturing): Promise<CaptureSummary> {
  const nodes = [...new Set(points.map(({ node }) => node))];
  const sessions = new Map(await Promise.all(nodes.map(async (node) => [node, await access.session(node)] as const)));
  const names = namesByAddress(objects);
  const outputs: CaptureOutput[] = [
    ...(flags.write === undefined
      ? []
      : [captureFile(flags.write, points, { names, snapLength: flags.snapshotLength })]),
    ...(flags.write === undefined || flags.print === true ? [livePrint(points, { names, flags })] : []),
  ];
  let end: (why: string) => void = () => undefined;
  const ended = new Promise<string>((resolve) => (end = resolve));
  let octets = 0;
  const take = (seen: SeenPacket): void => {
    if (flags.count !== undefined && seen.number > flags.count) {
      end(`${flags.count} packets`);
      return;
    }
    octets += seen.captured.frame.length;
    if (octets > flags.maxBytes) {
      end(`${flags.maxBytes} octets`);
      return;
    }
    for (const output of outputs) {
      const trouble = output.take(seen);
      if (trouble !== undefined) end(trouble);
    }
  };
  const running = await startCapture({
    points,
    sessions,
    snapLength: flags.snapshotLength,
    take,
    ...narrowing(targets, { objects, server, wanted: flags.filter ?? '' }),
  });
  const timer = setTimeout(() => end(`${flags.duration} s`), flags.duration * 1000);
  if (signal.aborted) end('interrupted');
  signal.addEventListener('abort', () => end('interrupted'), { once: true });
  void running.allEnded.then(() => end('every capture has ended by itself'));
  say([`capturing at ${points.length} places on ${nodes.length} nodes: ${points.map(({ name }) => name).join(' ')}`]);
  const why = await ended;
  clearTimeout(timer);
  const summary = await running.stop();
  for (const output of outputs) output.close();
  say([`stopped: ${why}`]);
  return summary;
}

/** With pods, uplinks are narrowed to their addresses; whatever could catch the capture's own streams leaves them out. */
function narrowing(
  { pods, nodes }: CaptureTargets,
  { objects, server, wanted }: { readonly objects: NetworkObjects; readonly server: string; readonly wanted: string },
): { readonly wanted: string; readonly addresses: readonly string[]; readonly ownStreams?: string } {
  const addresses = nodes.length > 0 ? [] : pods.flatMap(({ status }) => (status?.podIPs ?? []).map(({ ip }) => ip));
  const ofNodes = new Set(objects.nodes.flatMap(addressesOfNode));
  if (addresses.length > 0 && !addresses.some((address) => ofNodes.has(address))) return { wanted, addresses };
  const ports = new Set([
    ...objects.nodes.map(({ status }) => status?.daemonEndpoints?.kubeletEndpoint?.Port ?? kubeletPortDefault),
    Number(new URL(server).port || 443),
  ]);
  return { wanted, addresses, ownStreams: [...ports].map((port) => `tcp port ${port}`).join(' or ') };
}

function summaryLines({ packets, lost, late, clocks, troubles }: CaptureSummary): string[] {
  const corrected = [...clocks]
    .filter(([, { aheadMs, uncertaintyMs }]) => Math.abs(aheadMs) > uncertaintyMs)
    .map(([node, { aheadMs, uncertaintyMs }]) => `${node} ${aheadMs.toFixed(1)} ms (+-${uncertaintyMs.toFixed(1)})`);
  return [
    `${packets} sightings${lost > 0 ? `, ${lost} lost by the kernels` : ''}${late > 0 ? `, ${late} out of order` : ''}`,
    ...(corrected.length > 0 ? [`clocks ahead of this machine's: ${corrected.join(', ')}`] : []),
    ...troubles.map((trouble) => `trouble: ${trouble}`),
  ];
}

/** To stderr: stdout is for packets. */
function say(lines: readonly string[]): void {
  process.stderr.write(`${lines.join('\n')}\n`);
}
