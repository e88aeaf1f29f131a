// SPDX-License-Identifier: Apache-2.0
// What a pod worker needs of the rest of the kubelet.
import type { Pod, PodStatus, Service } from '../../machinery/api-types.ts';
import type { Cgroups } from '../cgroups/cgroup-files.ts';
import type { CgroupNaming } from '../cgroups/pod-cgroups.ts';
import type { KubeletConfiguration } from '../configuration.ts';
import type { Runtime } from '../cri/runtime.ts';
import type { ImageManager } from '../images/image-manager.ts';
import type { ProbeManager } from '../probes/probe-manager.ts';
import type { ObjectCache } from '../volumes/object-cache.ts';
import type { TokenManager } from '../volumes/tokens.ts';
import type { VolumeManager } from '../volumes/volume-manager.ts';
import type { BackOff } from './back-off.ts';
import type { DnsSettings } from './pod-network-files.ts';
import type { PodRuntimeReader } from './pod-runtime.ts';
import type { StatusManager } from './status-manager.ts';

export interface NodeFacts {
  readonly name: string;
  readonly ips: readonly string[];
  /** cpu in thousandths, the rest in units. */
  readonly allocatable: Readonly<Record<string, number>>;
  readonly memoryBytes: number;
}

export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

export interface PodContext {
  readonly config: KubeletConfiguration;
  readonly rootDir: string;
  readonly runtime: Runtime;
  readonly reader: PodRuntimeReader;
  readonly images: ImageManager;
  readonly volumes: VolumeManager;
  readonly objects: ObjectCache;
  readonly tokens: TokenManager;
  readonly cgroups: Cgroups;
  readonly cgroupNaming: CgroupNaming;
  readonly probes: ProbeManager;
  readonly statuses: StatusManager;
  readonly crashBackOff: BackOff;
  readonly node: NodeFacts;
  event(pod: Pod, event: { type: 'Normal' | 'Warning'; reason: string; message: string; container?: string }): void;
  /** Resolves with the Services of a namespace and default/kubernetes once they are known. */
  services(namespace: string): Promise<Service[]>;
  hostDns(): DnsSettings;
  runtimeHandler(pod: Pod): Promise<string>;
  /** Why pods can't have a network yet; undefined when they can. */
  networkProblem(): string | undefined;
  /** Why this node won't run the pod; undefined when it will. Asked once, before anything is made. */
  admit(pod: Pod): Rejection | undefined;
  /** The API object that shows this pod: itself, or the mirror of a static pod. */
  shownAs(pod: Pod): Pod | undefined;
  deleteFromApi(pod: Pod): Promise<void>;
  statusChanged(pod: Pod, status: PodStatus): void;
  /** Everything of the pod is gone. */
  finished(uid: string): void;
}
