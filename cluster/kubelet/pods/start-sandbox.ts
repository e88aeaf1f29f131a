// SPDX-License-Identifier: Apache-2.0
// Makes a pod's sandbox: cgroup, log folder, CRI configuration, then the runtime (which wires the network).
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Pod } from '../../machinery/api-types.ts';
import { podCgroup, podResources, qosCgroups } from '../cgroups/pod-cgroups.ts';
import type { KubeletConfiguration } from '../configuration.ts';
import type { SandboxConfig } from '../cri/runtime.ts';
import type { PodContext } from './pod-context.ts';
import { identityOf } from './pod-facts.ts';
import { dnsSettingsOf, kernelHostname } from './pod-network-files.ts';
import { makeSandboxConfig } from './sandbox-config.ts';

export function logDirectory(config: Pick<KubeletConfiguration, 'podLogsDir'>, pod: Pod): string {
  const { uid, name, namespace } = identityOf(pod);
  return join(config.podLogsDir, `${namespace}_${name}_${uid}`);
}

/** The same for the same pod and attempt, so that it can be given again with each container. */
export function sandboxConfigOf(context: PodContext, pod: Pod, attempt: number): SandboxConfig {
  const { config } = context;
  return makeSandboxConfig({
    pod,
    attempt,
    hostname: kernelHostname(pod, config.clusterDomain),
    dns: dnsSettingsOf(pod, config, context.hostDns()),
    cgroupParent: podCgroup(pod, context.cgroupNaming),
    logDirectory: logDirectory(config, pod),
    resources: podResources(pod),
    seccompRoot: join(context.rootDir, 'seccomp'),
    seccompDefault: config.seccompDefault,
  });
}

export async function startSandbox(context: PodContext, pod: Pod, attempt: number): Promise<string> {
  ensurePodCgroup(context, pod);
  mkdirSync(logDirectory(context.config, pod), { recursive: true, mode: 0o755 });
  mkdirSync(context.volumes.podFolder(identityOf(pod).uid), { recursive: true, mode: 0o750 });
  return context.runtime.runSandbox(sandboxConfigOf(context, pod, attempt), await context.runtimeHandler(pod));
}

export function ensurePodCgroup(context: PodContext, pod: Pod): void {
  if (context.cgroupNaming.driver === 'systemd') return;
  for (const path of qosCgroups(context.cgroupNaming)) context.cgroups.ensure(path);
  context.cgroups.ensure(podCgroup(pod, context.cgroupNaming), podResources(pod), context.config.podPidsLimit);
}
