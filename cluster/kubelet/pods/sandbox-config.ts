// SPDX-License-Identifier: Apache-2.0
// A pod as a CRI sandbox configuration. Pure.
import type { Pod, SeccompProfile } from '../../machinery/api-types.ts';
import { podNameLabel, podNamespaceLabel, podUidLabel } from '../cri/labels.ts';
import type { SandboxConfig } from '../cri/runtime.ts';
import type { SecurityProfile } from '../grpc/runtime-v1.types.ts';
import type { Outgoing } from '../grpc/service-client.ts';
import type { LinuxPodResources } from '../cgroups/pod-cgroups.ts';
import { identityOf, specOf } from './pod-facts.ts';
import type { DnsSettings } from './pod-network-files.ts';

export interface SandboxInput {
  readonly pod: Pod;
  readonly attempt: number;
  readonly hostname: string;
  readonly dns: DnsSettings;
  readonly cgroupParent: string;
  readonly logDirectory: string;
  readonly resources: LinuxPodResources;
  /** The folder that `Localhost` seccomp profiles are relative to. */
  readonly seccompRoot: string;
  readonly seccompDefault: boolean;
}

export function makeSandboxConfig(input: SandboxInput): SandboxConfig {
  const { pod } = input;
  const spec = specOf(pod);
  const { uid, name, namespace } = identityOf(pod);
  const security = spec.securityContext ?? {};
  const containers = [...(spec.initContainers ?? []), ...spec.containers];
  const privileged = containers.some((container) => container.securityContext?.privileged);
  const { pods: supplementalGroups } = groupsOf(pod);
  return {
    metadata: { uid, name, namespace, attempt: input.attempt },
    // Runtimes refuse a hostname for a sandbox in the node's own UTS namespace.
    hostname: spec.hostNetwork ? '' : input.hostname,
    logDirectory: input.logDirectory,
    dnsConfig: { servers: input.dns.servers, searches: input.dns.searches, options: input.dns.options },
    portMappings: containers.flatMap((container) =>
      (container.ports ?? []).map((port) => ({
        protocol: protocols[port.protocol ?? 'TCP'] ?? 'TCP',
        containerPort: port.containerPort,
        hostPort: port.hostPort ?? 0,
        hostIp: port.hostIP ?? '',
      })),
    ),
    labels: { ...pod.metadata.labels, [podNameLabel]: name, [podNamespaceLabel]: namespace, [podUidLabel]: uid },
    annotations: { ...pod.metadata.annotations },
    linux: {
      cgroupParent: input.cgroupParent,
      sysctls: Object.fromEntries((security.sysctls ?? []).map((sysctl) => [sysctl.name, sysctl.value])),
      overhead: {},
      resources: input.resources,
      securityContext: {
        namespaceOptions: namespaceOptions(pod),
        privileged,
        readonlyRootfs: false,
        ...(security.runAsUser !== undefined && { runAsUser: { value: security.runAsUser } }),
        ...(security.runAsGroup !== undefined &&
          security.runAsUser !== undefined && { runAsGroup: { value: security.runAsGroup } }),
        supplementalGroups,
        seccomp: seccompProfile(security.seccompProfile, { ...input, fallback: 'RuntimeDefault' }),
        ...(security.seLinuxOptions && { selinuxOptions: security.seLinuxOptions }),
      },
    },
  };
}

const protocols: Record<string, 'TCP' | 'UDP' | 'SCTP'> = { TCP: 'TCP', UDP: 'UDP', SCTP: 'SCTP' };

/** Which namespaces are the node's, the pod's or the container's own. */
export function namespaceOptions(pod: Pod) {
  const spec = specOf(pod);
  return {
    network: spec.hostNetwork ? ('NODE' as const) : ('POD' as const),
    pid: spec.hostPID ? ('NODE' as const) : spec.shareProcessNamespace ? ('POD' as const) : ('CONTAINER' as const),
    ipc: spec.hostIPC ? ('NODE' as const) : ('POD' as const),
  };
}

/** Extra groups: what the pod asks for, and the group that owns its volumes. */
export function groupsOf(pod: Pod): { pods: number[] } {
  const { fsGroup, supplementalGroups = [] } = specOf(pod).securityContext ?? {};
  return { pods: [...supplementalGroups, ...(fsGroup !== undefined ? [fsGroup] : [])] };
}

export function seccompProfile(
  profile: SeccompProfile | undefined,
  options: { seccompRoot: string; seccompDefault: boolean; fallback?: 'RuntimeDefault' | 'Unconfined' },
): Outgoing<SecurityProfile> {
  const type = profile?.type ?? (options.seccompDefault ? 'RuntimeDefault' : (options.fallback ?? 'Unconfined'));
  if (type === 'Localhost') {
    return { profileType: 'Localhost', localhostRef: `${options.seccompRoot}/${profile?.localhostProfile ?? ''}` };
  }
  return { profileType: type === 'RuntimeDefault' ? 'RuntimeDefault' : 'Unconfined' };
}
