// SPDX-License-Identifier: Apache-2.0
// A container as a CRI container configuration. Pure.
import type { Container, EphemeralContainer, Pod, SecurityContext } from '../../machinery/api-types.ts';
import {
  containerNameLabel,
  definitionAnnotation,
  gracePeriodAnnotation,
  podNameLabel,
  podNamespaceLabel,
  podUidLabel,
  portsAnnotation,
  preStopAnnotation,
  restartCountAnnotation,
  terminationMessagePathAnnotation,
  terminationMessagePolicyAnnotation,
} from '../cri/labels.ts';
import type { LinuxResources } from '../cgroups/pod-cgroups.ts';
import type { ContainerConfiguration } from '../cri/runtime.ts';
import type { Device, LinuxContainerSecurityContext, Mount } from '../grpc/runtime-v1.types.ts';
import type { Outgoing } from '../grpc/service-client.ts';
import { definitionOf, identityOf, specOf } from '../pods/pod-facts.ts';
import { groupsOf, namespaceOptions, seccompProfile } from '../pods/sandbox-config.ts';
import { ConfigurationError, expand } from './environment.ts';

export interface ContainerInput {
  readonly pod: Pod;
  readonly container: Container | EphemeralContainer;
  readonly attempt: number;
  /** The id of the image on the node. */
  readonly imageId: string;
  /** The user that the image sets, when it says so by number or name. */
  readonly imageUser: { readonly uid: number | undefined; readonly name: string };
  readonly environment: ReadonlyMap<string, string>;
  readonly mounts: readonly Outgoing<Mount>[];
  readonly devices: readonly Outgoing<Device>[];
  readonly resources: LinuxResources;
  /** On cgroup v2 runtimes need memory.oom.group and the like spelt out; empty on v1. */
  readonly unified: Readonly<Record<string, string>>;
  readonly seccompRoot: string;
  readonly seccompDefault: boolean;
  /** The container whose process namespace an ephemeral container joins. */
  readonly targetContainerId?: string | undefined;
}

/** `name/attempt.log` below the pod's log directory. */
export const logFile = (name: string, attempt: number): string => `${name}/${attempt}.log`;

/** Errors: ConfigurationError when the image's user contradicts runAsNonRoot. */
export function makeContainerConfig(input: ContainerInput): ContainerConfiguration {
  const { pod, container, attempt } = input;
  const { uid, name, namespace } = identityOf(pod);
  const spec = specOf(pod);
  const lookup = (key: string): string | undefined => input.environment.get(key);
  verifyNonRoot(input);
  const stopSignal = container.lifecycle?.stopSignal;
  return {
    metadata: { name: container.name, attempt },
    image: { image: input.imageId, userSpecifiedImage: container.image ?? '' },
    command: (container.command ?? []).map((part) => expand(part, lookup)),
    args: (container.args ?? []).map((part) => expand(part, lookup)),
    workingDir: container.workingDir ?? '',
    envs: [...input.environment].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: input.mounts,
    devices: input.devices,
    labels: {
      [podNameLabel]: name,
      [podNamespaceLabel]: namespace,
      [podUidLabel]: uid,
      [containerNameLabel]: container.name,
    },
    annotations: {
      [definitionAnnotation]: definitionOf(container),
      [restartCountAnnotation]: String(attempt),
      [terminationMessagePathAnnotation]: container.terminationMessagePath ?? '/dev/termination-log',
      [terminationMessagePolicyAnnotation]: container.terminationMessagePolicy ?? 'File',
      [gracePeriodAnnotation]: String(spec.terminationGracePeriodSeconds ?? 30),
      ...(container.lifecycle?.preStop && { [preStopAnnotation]: JSON.stringify(container.lifecycle.preStop) }),
      ...(container.ports?.length && { [portsAnnotation]: JSON.stringify(container.ports) }),
    },
    logPath: logFile(container.name, attempt),
    stdin: container.stdin ?? false,
    stdinOnce: container.stdinOnce ?? false,
    tty: container.tty ?? false,
    linux: { resources: { ...input.resources, unified: input.unified }, securityContext: securityContext(input) },
    ...(stopSignal && { stopSignal }),
  } as ContainerConfiguration;
}

const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

function securityContext(input: ContainerInput): Outgoing<LinuxContainerSecurityContext> {
  const { pod, container } = input;
  const own = container.securityContext ?? {};
  const shared = specOf(pod).securityContext ?? {};
  const privileged = own.privileged ?? false;
  const runAsUser = own.runAsUser ?? shared.runAsUser;
  const runAsGroup = own.runAsGroup ?? shared.runAsGroup;
  const unmasked = privileged || own.procMount === 'Unmasked';
  const userName = runAsUser === undefined && input.imageUser.uid === undefined ? input.imageUser.name : '';
  const imageUid = runAsUser === undefined ? input.imageUser.uid : undefined;
  const options = namespaceOptions(pod);
  const selinux = own.seLinuxOptions ?? shared.seLinuxOptions;
  return {
    privileged,
    namespaceOptions: input.targetContainerId
      ? { ...options, pid: 'TARGET' as const, targetId: input.targetContainerId }
      : options,
    capabilities: {
      addCapabilities: own.capabilities?.add ?? [],
      dropCapabilities: own.capabilities?.drop ?? [],
    },
    ...(runAsUser !== undefined
      ? { runAsUser: { value: runAsUser } }
      : imageUid !== undefined && { runAsUser: { value: imageUid } }),
    ...(userName !== '' && { runAsUsername: userName }),
    ...(runAsGroup !== undefined && { runAsGroup: { value: runAsGroup } }),
    readonlyRootfs: own.readOnlyRootFilesystem ?? false,
    supplementalGroups: groupsOf(pod).pods,
    noNewPrivs: noNewPrivileges(own),
    maskedPaths: unmasked ? [] : maskedPaths,
    readonlyPaths: unmasked ? [] : readonlyPaths,
    seccomp: privileged
      ? { profileType: 'Unconfined' }
      : seccompProfile(own.seccompProfile ?? shared.seccompProfile, input),
    ...(selinux && { selinuxOptions: selinux }),
  };
}

function noNewPrivileges(security: SecurityContext): boolean {
  return security.allowPrivilegeEscalation === false;
}

function verifyNonRoot(input: ContainerInput): void {
  const own = input.container.securityContext ?? {};
  const shared = specOf(input.pod).securityContext ?? {};
  if (!(own.runAsNonRoot ?? shared.runAsNonRoot)) return;
  const user = own.runAsUser ?? shared.runAsUser;
  const where = `(pod: "${input.pod.metadata.name}_${input.pod.metadata.namespace}(${input.pod.metadata.uid})", container: ${input.container.name})`;
  if (user === 0) throw new ConfigurationError(`container's runAsUser breaks non-root policy ${where}`);
  if (user !== undefined) return;
  if (input.imageUser.uid === undefined && input.imageUser.name !== '') {
    throw new ConfigurationError(
      `container has runAsNonRoot and image has non-numeric user (${input.imageUser.name}), cannot verify user is non-root ${where}`,
    );
  }
  if ((input.imageUser.uid ?? 0) === 0) {
    throw new ConfigurationError(`container has runAsNonRoot and image will run as root ${where}`);
  }
}
