// SPDX-License-Identifier: Apache-2.0
// What the node and its pods use: /stats/summary as JSON, and the metrics endpoints in Prometheus text. From the runtime's statistics, cgroup files
// and the pods' network namespaces.
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { metrics } from '../../machinery/metrics.ts';
import { podCgroup } from '../cgroups/pod-cgroups.ts';
import type { ContainerStats } from '../grpc/runtime-v1.types.ts';
import type { PodWorker } from '../pods/pod-worker.ts';
import type { ServerOptions } from './server.ts';

interface PodUsage {
  readonly worker: PodWorker;
  readonly containers: readonly ContainerStats[];
  readonly cpuNanos: number;
  readonly workingSetBytes: number;
  readonly memoryBytes: number;
  readonly network:
    | { readonly rxBytes: number; readonly txBytes: number; readonly rxErrors: number; readonly txErrors: number }
    | undefined;
}

interface Sample {
  readonly at: number;
  readonly cpuNanos: number;
  readonly rate: number;
}

export class StatsReader {
  readonly #options: ServerOptions;
  readonly #samples = new Map<string, Sample>();
  readonly #pids = new Map<string, number>();

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  async summary(): Promise<unknown> {
    const { nodeName, context } = this.#options;
    const now = Date.now();
    const time = new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
    const pods = await this.#pods();
    const memory = meminfo();
    const cpu = nodeCpuNanos();
    const disk = statfsSync(existsSync(context.rootDir) ? context.rootDir : '/');
    const fs = {
      time,
      availableBytes: disk.bavail * disk.bsize,
      capacityBytes: disk.blocks * disk.bsize,
      usedBytes: (disk.blocks - disk.bfree) * disk.bsize,
      inodesFree: disk.ffree,
      inodes: disk.files,
      inodesUsed: disk.files - disk.ffree,
    };
    return {
      node: {
        nodeName,
        startTime: new Date(now - uptimeMs()).toISOString().replace(/\.\d+Z$/, 'Z'),
        cpu: { time, usageNanoCores: this.#rate('node', cpu, now), usageCoreNanoSeconds: cpu },
        memory: {
          time,
          availableBytes: memory.available,
          usageBytes: memory.total - memory.free,
          workingSetBytes: memory.total - memory.available,
          rssBytes: memory.rss,
        },
        fs,
        runtime: { imageFs: fs, containerFs: fs },
      },
      pods: pods.map((pod) => ({
        podRef: pod.worker.identity,
        startTime: pod.worker.status.startTime ?? time,
        containers: pod.containers.map((stats) =>
          containerSummary(stats, {
            time,
            fs,
            rate: this.#rate(stats.attributes?.id ?? '', stats.cpu?.usageCoreNanoSeconds?.value ?? 0, now),
          }),
        ),
        cpu: {
          time,
          usageNanoCores: this.#rate(pod.worker.identity.uid, pod.cpuNanos, now),
          usageCoreNanoSeconds: pod.cpuNanos,
        },
        memory: { time, usageBytes: pod.memoryBytes, workingSetBytes: pod.workingSetBytes },
        ...(pod.network && {
          network: { time, name: 'eth0', ...pod.network, interfaces: [{ name: 'eth0', ...pod.network }] },
        }),
      })),
    };
  }

  /** `which`: empty for the kubelet's own, `resource` or `cadvisor`. */
  async metrics(which: string): Promise<string> {
    if (which === '') return this.#kubeletMetrics();
    const pods = await this.#pods();
    if (which === 'resource') return this.#resourceMetrics(pods);
    return this.#cadvisorMetrics(pods);
  }

  #kubeletMetrics(): string {
    const { nodeName, manager } = this.#options;
    const workers = [...manager.workers()];
    const running = workers
      .flatMap((worker) => worker.status.containerStatuses ?? [])
      .filter((status) => status.state?.running).length;
    return (
      metrics.render() +
      family('kubelet_node_name', 'gauge', [[{ node: nodeName }, 1]]) +
      family('kubelet_running_pods', 'gauge', [[{}, workers.filter((worker) => worker.holdsResources).length]]) +
      family('kubelet_running_containers', 'gauge', [[{ container_state: 'running' }, running]])
    );
  }

  #resourceMetrics(pods: readonly PodUsage[]): string {
    const each = (value: (stats: ContainerStats) => number): [Record<string, string>, number][] =>
      pods.flatMap((pod) =>
        pod.containers.map((stats): [Record<string, string>, number] => [
          {
            container: stats.attributes?.metadata?.name ?? '',
            namespace: pod.worker.identity.namespace,
            pod: pod.worker.identity.name,
          },
          value(stats),
        ]),
      );
    const podLabels = (pod: PodUsage) => ({ namespace: pod.worker.identity.namespace, pod: pod.worker.identity.name });
    const memory = meminfo();
    return (
      family(
        'container_cpu_usage_seconds_total',
        'counter',
        each((stats) => (stats.cpu?.usageCoreNanoSeconds?.value ?? 0) / 1e9),
      ) +
      family(
        'container_memory_working_set_bytes',
        'gauge',
        each((stats) => stats.memory?.workingSetBytes?.value ?? 0),
      ) +
      family(
        'container_start_time_seconds',
        'gauge',
        each((stats) => startSeconds(pods, stats)),
      ) +
      family('node_cpu_usage_seconds_total', 'counter', [[{}, nodeCpuNanos() / 1e9]]) +
      family('node_memory_working_set_bytes', 'gauge', [[{}, memory.total - memory.available]]) +
      family(
        'pod_cpu_usage_seconds_total',
        'counter',
        pods.map((pod) => [podLabels(pod), pod.cpuNanos / 1e9]),
      ) +
      family(
        'pod_memory_working_set_bytes',
        'gauge',
        pods.map((pod) => [podLabels(pod), pod.workingSetBytes]),
      ) +
      family('resource_scrape_error', 'gauge', [[{}, 0]])
    );
  }

  #cadvisorMetrics(pods: readonly PodUsage[]): string {
    const { config } = this.#options;
    const naming = { root: config.cgroupRoot, perQos: config.cgroupsPerQOS, driver: config.cgroupDriver };
    const each = (value: (stats: ContainerStats) => number): [Record<string, string>, number][] =>
      pods.flatMap((pod) =>
        pod.containers.map((stats): [Record<string, string>, number] => [
          {
            container: stats.attributes?.metadata?.name ?? '',
            id: `${podCgroup(pod.worker.pod, naming)}/${stats.attributes?.id ?? ''}`,
            name: stats.attributes?.id ?? '',
            namespace: pod.worker.identity.namespace,
            pod: pod.worker.identity.name,
          },
          value(stats),
        ]),
      );
    const network = (pick: (usage: NonNullable<PodUsage['network']>) => number): [Record<string, string>, number][] =>
      pods.flatMap((pod) =>
        pod.network
          ? [
              [
                { interface: 'eth0', namespace: pod.worker.identity.namespace, pod: pod.worker.identity.name },
                pick(pod.network),
              ] as [Record<string, string>, number],
            ]
          : [],
      );
    return (
      family(
        'container_cpu_usage_seconds_total',
        'counter',
        each((stats) => (stats.cpu?.usageCoreNanoSeconds?.value ?? 0) / 1e9),
      ) +
      family(
        'container_memory_working_set_bytes',
        'gauge',
        each((stats) => stats.memory?.workingSetBytes?.value ?? 0),
      ) +
      family(
        'container_memory_usage_bytes',
        'gauge',
        each((stats) => stats.memory?.usageBytes?.value ?? stats.memory?.workingSetBytes?.value ?? 0),
      ) +
      family(
        'container_fs_usage_bytes',
        'gauge',
        each((stats) => stats.writableLayer?.usedBytes?.value ?? 0),
      ) +
      family(
        'container_network_receive_bytes_total',
        'counter',
        network((usage) => usage.rxBytes),
      ) +
      family(
        'container_network_transmit_bytes_total',
        'counter',
        network((usage) => usage.txBytes),
      ) +
      family('machine_cpu_cores', 'gauge', [[{}, this.#options.agent.capacity.milliCpu / 1000]]) +
      family('machine_memory_bytes', 'gauge', [[{}, this.#options.agent.memoryBytes]])
    );
  }

  async #pods(): Promise<PodUsage[]> {
    const { context, manager, config } = this.#options;
    const stats = await context.runtime.listContainerStats();
    const byPod = new Map<string, ContainerStats[]>();
    for (const one of stats) {
      const uid = one.attributes?.labels['io.kubernetes.pod.uid'] ?? '';
      byPod.set(uid, [...(byPod.get(uid) ?? []), one]);
    }
    const naming = { root: config.cgroupRoot, perQos: config.cgroupsPerQOS, driver: config.cgroupDriver };
    const usages: PodUsage[] = [];
    for (const worker of manager.workers()) {
      const containers = byPod.get(worker.identity.uid) ?? [];
      if (containers.length === 0) continue;
      const group = context.cgroups.usage(podCgroup(worker.pod, naming));
      const sum = (pick: (one: ContainerStats) => number): number =>
        containers.reduce((total, one) => total + pick(one), 0);
      usages.push({
        worker,
        containers,
        cpuNanos: group?.cpuNanos ?? sum((one) => one.cpu?.usageCoreNanoSeconds?.value ?? 0),
        workingSetBytes: group?.workingSetBytes ?? sum((one) => one.memory?.workingSetBytes?.value ?? 0),
        memoryBytes: group?.memoryBytes ?? sum((one) => one.memory?.workingSetBytes?.value ?? 0),
        network: await this.#network(worker),
      });
    }
    return usages;
  }

  async #network(worker: PodWorker): Promise<PodUsage['network']> {
    if (worker.pod.spec?.hostNetwork) return undefined;
    const { reader, runtime } = this.#options.context;
    try {
      const sandbox = (await reader.read(worker.identity)).sandboxes.find((record) => record.ready);
      if (sandbox === undefined) return undefined;
      let pid = this.#pids.get(sandbox.id);
      if (pid === undefined) {
        const info = (await runtime.sandboxInfo(sandbox.id))['info'];
        pid = info === undefined ? 0 : ((JSON.parse(info) as { pid?: number }).pid ?? 0);
        if (this.#pids.size > 500) this.#pids.clear();
        this.#pids.set(sandbox.id, pid);
      }
      if (pid === 0) return undefined;
      const line = /^\s*eth0:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/net/dev`, 'utf8'))?.[1];
      if (line === undefined) return undefined;
      const fields = line.split(/\s+/).map(Number);
      return { rxBytes: fields[0] ?? 0, rxErrors: fields[2] ?? 0, txBytes: fields[8] ?? 0, txErrors: fields[10] ?? 0 };
    } catch {
      return undefined;
    }
  }

  /** Nanocores since the sample before; two readings within a second share one rate. */
  #rate(key: string, cpuNanos: number, now: number): number {
    const before = this.#samples.get(key);
    if (before && now - before.at < 1_000) return before.rate;
    const rate =
      before && now > before.at
        ? Math.max(0, Math.round(((cpuNanos - before.cpuNanos) / (now - before.at)) * 1000))
        : 0;
    if (this.#samples.size > 5000) this.#samples.clear();
    this.#samples.set(key, { at: now, cpuNanos, rate });
    return rate;
  }
}

function containerSummary(stats: ContainerStats, more: { time: string; fs: object; rate: number }): unknown {
  const { time } = more;
  return {
    name: stats.attributes?.metadata?.name ?? '',
    startTime: time,
    cpu: { time, usageNanoCores: more.rate, usageCoreNanoSeconds: stats.cpu?.usageCoreNanoSeconds?.value ?? 0 },
    memory: {
      time,
      usageBytes: stats.memory?.usageBytes?.value ?? stats.memory?.workingSetBytes?.value ?? 0,
      workingSetBytes: stats.memory?.workingSetBytes?.value ?? 0,
      rssBytes: stats.memory?.rssBytes?.value ?? 0,
    },
    rootfs: {
      ...more.fs,
      usedBytes: stats.writableLayer?.usedBytes?.value ?? 0,
      inodesUsed: stats.writableLayer?.inodesUsed?.value ?? 0,
    },
    logs: { ...more.fs, usedBytes: 0 },
  };
}

function startSeconds(pods: readonly PodUsage[], stats: ContainerStats): number {
  const name = stats.attributes?.metadata?.name;
  const owner = pods.find((pod) => pod.containers.includes(stats));
  const status = owner?.worker.status.containerStatuses?.find((one) => one.name === name);
  return Date.parse(status?.state?.running?.startedAt ?? '') / 1000 || 0;
}

function family(name: string, type: string, samples: readonly (readonly [Record<string, string>, number])[]): string {
  if (samples.length === 0) return '';
  const lines = samples.map(([labels, value]) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}=${JSON.stringify(text)}`);
    return `${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}\n`;
  });
  return `# TYPE ${name} ${type}\n${lines.join('')}`;
}

function meminfo(): { total: number; free: number; available: number; rss: number } {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return {
    total: bytes('MemTotal'),
    free: bytes('MemFree'),
    available: bytes('MemAvailable'),
    rss: bytes('AnonPages'),
  };
}

/** Busy time of all cores. The kernel counts in hundredths of a second. */
function nodeCpuNanos(): number {
  const fields = readFileSync('/proc/stat', 'utf8').split('\n')[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields;
  return (user + nice + system + irq + softirq) * 1e7;
}

const uptimeMs = (): number => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
