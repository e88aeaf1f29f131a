// SPDX-License-Identifier: Apache-2.0
// What keeps a node fit for use, at leisurely intervals: evicts under memory and disk pressure and for broken limits of local storage, rotates
// container logs, removes unused images when the disk fills up, and cleans up after pods that vanished.
import { existsSync, readFileSync, readdirSync, renameSync, rmSync, statSync, statfsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { logger } from '../../machinery/log.ts';
import { podAmounts } from '../../machinery/pod-resources.ts';
import type { Cgroups } from '../cgroups/cgroup-files.ts';
import { podCgroup, qosCgroups, sharesOf } from '../cgroups/pod-cgroups.ts';
import type { KubeletConfiguration } from '../configuration.ts';
import type { Runtime } from '../cri/runtime.ts';
import type { ImageManager } from '../images/image-manager.ts';
import { isStatic, qosClassOf, specOf } from '../pods/pod-facts.ts';
import type { PodManager } from '../pods/pod-manager.ts';
import { logDirectory } from '../pods/start-sandbox.ts';
import { emptyDirs } from '../volumes/volume-manager.ts';
import { diskUsage } from './disk-usage.ts';
import { crossed, rankForMemory } from './eviction.ts';
import type { EvictionCandidate, Signals } from './eviction.ts';
import { brokenStorageLimit, hasStorageLimit } from './local-storage.ts';

export interface HousekeepingOptions {
  readonly runtime: Runtime;
  readonly config: KubeletConfiguration;
  readonly cgroups: Cgroups;
  readonly manager: PodManager;
  readonly images: ImageManager;
  readonly rootDir: string;
  readonly memoryBytes: () => number;
  readonly onPressure: () => void;
}

export interface Pressure {
  readonly memory: boolean;
  readonly disk: boolean;
  readonly pid: boolean;
}

const log = logger('housekeeping');
const periodMs = 10_000;
const imageGcMs = 300_000;
const cleanUpMs = 30_000;

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  #pressure: Pressure = { memory: false, disk: false, pid: false };
  #relievedAt = { memory: 0, disk: 0 };
  #imagesCheckedAt = Date.now();
  #cleanedAt = Date.now();

  constructor(options: HousekeepingOptions) {
    this.#options = options;
  }

  get pressure(): Pressure {
    return this.#pressure;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      for (const [what, task] of [
        ['evict', () => this.#evict()],
        ['hold pods to their local storage', () => this.#limitStorage()],
        ['rotate logs', () => this.#rotateLogs()],
        ['collect images', () => this.#collectImages()],
        ['share the cpu', async () => this.#shareCpu()],
        ['clean up', () => this.#cleanUp()],
      ] as const) {
        await task().catch((error: unknown) => log.warn(`cannot ${what}`, { error }));
      }
      await pause(periodMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #cleanUp(): Promise<void> {
    if (Date.now() - this.#cleanedAt < cleanUpMs) return;
    this.#cleanedAt = Date.now();
    await this.#options.manager.cleanUp();
  }

  /** Gives each class of pods the weight of what its pods ask for; BestEffort gets the least there is. */
  #shareCpu(): void {
    const { config, cgroups, manager } = this.#options;
    const naming = { root: config.cgroupRoot, perQos: config.cgroupsPerQOS, driver: config.cgroupDriver };
    const [all, burstable, bestEffort] = qosCgroups(naming);
    if (all === undefined || burstable === undefined || bestEffort === undefined) return;
    let milli = 0;
    for (const worker of manager.workers()) {
      if (worker.holdsResources && qosClassOf(worker.pod) === 'Burstable') milli += podAmounts(worker.pod)['cpu'] ?? 0;
    }
    const unlimited = { cpuQuota: 0, cpuPeriod: 100_000, memoryLimitInBytes: 0 };
    cgroups.ensure(burstable, { ...unlimited, cpuShares: sharesOf(milli) });
    cgroups.ensure(bestEffort, { ...unlimited, cpuShares: sharesOf(0) });
  }

  async #evict(): Promise<void> {
    const { config, manager } = this.#options;
    const reached = crossed(config.evictionHard, this.#signals());
    const now = Date.now();
    const memory = reached.find((one) => one.signal === 'memory.available');
    const disk = reached.find((one) => one.signal !== 'memory.available' && one.signal !== 'pid.available');
    if (memory) this.#relievedAt.memory = now + config.evictionPressureTransitionMs;
    if (disk) this.#relievedAt.disk = now + config.evictionPressureTransitionMs;
    const next = {
      memory: now < this.#relievedAt.memory,
      disk: now < this.#relievedAt.disk,
      pid: reached.some((one) => one.signal === 'pid.available'),
    };
    const changed = JSON.stringify(next) !== JSON.stringify(this.#pressure);
    this.#pressure = next;
    if (changed) this.#options.onPressure();
    if (disk) await this.#removeUnusedImages(Infinity);
    const cause =
      memory ??
      (disk && crossed(config.evictionHard, this.#signals()).some((one) => one.signal === disk.signal)
        ? disk
        : undefined);
    if (cause === undefined) return;
    const victim = rankForMemory(this.#candidates())[0];
    if (victim === undefined) return;
    const resource = cause === memory ? 'memory' : 'ephemeral-storage';
    const message = `The node was low on resource: ${resource}. Threshold quantity: ${cause.threshold}, available: ${cause.available}. `;
    log.warn('evicting pod', { pod: victim.uid, message });
    manager
      .worker(victim.uid)
      ?.evict(
        { phase: 'Failed', reason: 'Evicted', message },
        { graceSeconds: 0, disruption: { reason: 'TerminationByKubelet', message } },
      );
  }

  /** Ends pods that use more of the node's disk than they are allowed to. */
  async #limitStorage(): Promise<void> {
    const { manager, runtime, rootDir, config } = this.#options;
    const workers = [...manager.workers()].filter(
      (worker) => worker.admitted && worker.holdsResources && hasStorageLimit(worker.pod),
    );
    if (workers.length === 0) return;
    const stats = await runtime.listContainerStats();
    for (const worker of workers) {
      const { pod, identity } = worker;
      const logs = await diskUsage(logDirectory(config, pod));
      const volumes = await diskUsage(join(rootDir, 'pods', identity.uid, emptyDirs));
      const layers = stats
        .filter((one) => one.attributes?.labels['io.kubernetes.pod.uid'] === identity.uid)
        .map((one): [string, number] => [
          one.attributes?.metadata?.name ?? '',
          one.writableLayer?.usedBytes?.value ?? 0,
        ]);
      const message = brokenStorageLimit(pod, { layers: new Map(layers), logs, volumes });
      if (message === undefined) continue;
      log.warn('evicting pod', { pod: identity.uid, message });
      worker.evict({ phase: 'Failed', reason: 'Evicted', message }, { graceSeconds: 1 });
    }
  }

  #candidates(): EvictionCandidate[] {
    const { manager, cgroups, config } = this.#options;
    const naming = { root: config.cgroupRoot, perQos: config.cgroupsPerQOS, driver: config.cgroupDriver };
    return [...manager.workers()]
      .filter((worker) => worker.admitted && worker.holdsResources && !isStatic(worker.pod))
      .filter((worker) => (specOf(worker.pod).priority ?? 0) < 2_000_000_000)
      .map((worker) => ({
        uid: worker.identity.uid,
        priority: specOf(worker.pod).priority ?? 0,
        requestBytes: podAmounts(worker.pod)['memory'] ?? 0,
        usageBytes: cgroups.usage(podCgroup(worker.pod, naming))?.workingSetBytes ?? 0,
      }));
  }

  #signals(): Signals {
    const { rootDir } = this.#options;
    const meminfo = readFileSync('/proc/meminfo', 'utf8');
    const kilobytes = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0) * 1024;
    const disk = statfsSync(existsSync(rootDir) ? rootDir : '/');
    const nodefs = { available: disk.bavail * disk.bsize, total: disk.blocks * disk.bsize };
    return {
      'memory.available': { available: kilobytes('MemAvailable'), total: kilobytes('MemTotal') },
      'nodefs.available': nodefs,
      'nodefs.inodesFree': { available: disk.ffree, total: disk.files },
      'imagefs.available': nodefs,
    };
  }

  async #collectImages(): Promise<void> {
    const { config } = this.#options;
    if (Date.now() - this.#imagesCheckedAt < imageGcMs || config.imageGcHighThresholdPercent >= 100) return;
    this.#imagesCheckedAt = Date.now();
    const { available, total } = this.#signals()['imagefs.available'] ?? { available: 1, total: 1 };
    const usedPercent = total === 0 ? 0 : 100 - (available * 100) / total;
    if (usedPercent < config.imageGcHighThresholdPercent) return;
    await this.#removeUnusedImages(((usedPercent - config.imageGcLowThresholdPercent) / 100) * total);
  }

  /** Removes images that no container uses, the longest unused first, until so many bytes are freed. */
  async #removeUnusedImages(bytes: number): Promise<void> {
    const { runtime, images, config } = this.#options;
    const [all, containers] = await Promise.all([runtime.listImages(), runtime.listContainers()]);
    const used = new Set(
      containers.flatMap((container) => [container.imageRef, container.imageId, container.image?.image ?? '']),
    );
    const now = Date.now();
    const unused = all
      .filter(
        (image) => !image.pinned && ![image.id, ...image.repoTags, ...image.repoDigests].some((name) => used.has(name)),
      )
      .filter((image) => !image.repoTags.some((tag) => tag.includes('pause')))
      .map((image) => ({ image, lastUsed: images.lastUsed.get(image.id) ?? 0 }))
      .filter(({ lastUsed }) => now - lastUsed >= config.imageMinimumGcAgeMs)
      .toSorted((a, b) => a.lastUsed - b.lastUsed);
    let freed = 0;
    for (const { image } of unused) {
      if (freed >= bytes) return;
      await runtime.removeImage(image.id);
      freed += image.size;
      log.info('removed unused image', { image: image.repoTags[0] ?? image.id, bytes: image.size });
    }
  }

  async #rotateLogs(): Promise<void> {
    const { manager, runtime, config } = this.#options;
    const containers = await runtime.listContainers();
    for (const worker of manager.workers()) {
      const folder = logDirectory(config, worker.pod);
      for (const container of containers) {
        if (
          container.state !== 'CONTAINER_RUNNING' ||
          container.labels['io.kubernetes.pod.uid'] !== worker.identity.uid
        )
          continue;
        const name = container.metadata?.name ?? '';
        const path = join(folder, name, `${container.metadata?.attempt ?? 0}.log`);
        if (!existsSync(path) || statSync(path).size < config.containerLogMaxBytes) continue;
        const stamp = new Date().toISOString().replaceAll(/[-:]/g, '').replace(/\..*$/, '').replace('T', '-');
        renameSync(path, `${path}.${stamp}`);
        await runtime.reopenLog(container.id);
        dropOldLogs(path, config.containerLogMaxFiles);
      }
    }
  }
}

/** Keeps the live file and the newest rotated ones, together `files`. */
function dropOldLogs(path: string, files: number): void {
  const rotated = readdirSync(dirname(path))
    .filter((name) => name.startsWith(`${basename(path)}.`))
    .toSorted();
  for (const name of rotated.slice(0, Math.max(0, rotated.length - (files - 1))))
    rmSync(join(dirname(path), name), { force: true });
}
