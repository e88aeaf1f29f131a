// SPDX-License-Identifier: Apache-2.0
// Defaults of a pod's spec, in place; shared by pods and by everything that holds a pod template.
import type {
  Container,
  EphemeralContainer,
  LifecycleHandler,
  PodSpec,
  Probe,
  ResourceRequirements,
  Volume,
} from '../../../machinery/api-types.ts';

const readableByAll = 0o644;

export function defaultPodSpec(spec: PodSpec): void {
  spec.containers ??= [];
  spec.restartPolicy = nonEmpty(spec.restartPolicy) ?? 'Always';
  spec.terminationGracePeriodSeconds ??= 30;
  spec.dnsPolicy = nonEmpty(spec.dnsPolicy) ?? 'ClusterFirst';
  spec.securityContext ??= {};
  spec.schedulerName = nonEmpty(spec.schedulerName) ?? 'default-scheduler';
  if (nonEmpty(spec.serviceAccountName) === undefined && nonEmpty(spec.serviceAccount) !== undefined) {
    spec.serviceAccountName = spec.serviceAccount as string;
  }
  if (nonEmpty(spec.serviceAccountName) !== undefined) {
    // The deprecated twin field always shows the same.
    spec.serviceAccount = spec.serviceAccountName as string;
  }
  for (const container of spec.containers) {
    defaultContainer(container, spec.hostNetwork === true);
  }
  for (const container of spec.initContainers ?? []) {
    defaultContainer(container, spec.hostNetwork === true);
  }
  for (const container of spec.ephemeralContainers ?? []) {
    defaultContainer(container, false);
  }
  for (const volume of spec.volumes ?? []) {
    defaultVolume(volume);
  }
}

/** What holds for pods only and not for templates: requests taken from limits, service links. */
export function defaultPodOnly(spec: PodSpec): void {
  spec.enableServiceLinks ??= true;
  for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
    requestsFromLimits(container.resources);
  }
  requestsFromLimits(spec.resources);
}

export function defaultContainer(container: Container | EphemeralContainer, hostNetwork: boolean): void {
  container.imagePullPolicy = nonEmpty(container.imagePullPolicy) ?? pullPolicy(container.image ?? '');
  container.terminationMessagePath = nonEmpty(container.terminationMessagePath) ?? '/dev/termination-log';
  container.terminationMessagePolicy = nonEmpty(container.terminationMessagePolicy) ?? 'File';
  container.resources ??= {};
  for (const port of container.ports ?? []) {
    port.protocol = nonEmpty(port.protocol) ?? 'TCP';
    if (hostNetwork && (port.hostPort ?? 0) === 0) {
      port.hostPort = port.containerPort;
    }
  }
  for (const { valueFrom } of container.env ?? []) {
    if (valueFrom?.fieldRef !== undefined) {
      valueFrom.fieldRef.apiVersion = nonEmpty(valueFrom.fieldRef.apiVersion) ?? 'v1';
    }
    if (valueFrom?.resourceFieldRef !== undefined) {
      valueFrom.resourceFieldRef.divisor ??= '0';
    }
    if (valueFrom?.fileKeyRef !== undefined) {
      valueFrom.fileKeyRef.optional ??= false;
    }
  }
  defaultProbe(container.livenessProbe);
  defaultProbe(container.readinessProbe);
  defaultProbe(container.startupProbe);
  defaultHandler(container.lifecycle?.postStart);
  defaultHandler(container.lifecycle?.preStop);
}

/** `Always` for `:latest` and for images without tag and digest, else `IfNotPresent`. */
export function pullPolicy(image: string): 'Always' | 'IfNotPresent' {
  const digest = image.indexOf('@');
  const name = digest < 0 ? image : image.slice(0, digest);
  const last = name.slice(name.lastIndexOf('/') + 1);
  const colon = last.indexOf(':');
  const tag = colon < 0 ? '' : last.slice(colon + 1);
  const latest = tag === 'latest' || (tag === '' && digest < 0);
  return latest ? 'Always' : 'IfNotPresent';
}

export function defaultVolume(volume: Volume): void {
  if (Object.keys(volume).every((key) => key === 'name')) {
    volume.emptyDir = {};
    return;
  }
  for (const source of [volume.secret, volume.configMap, volume.downwardAPI, volume.projected]) {
    if (source !== undefined) {
      source.defaultMode ??= readableByAll;
    }
  }
  const files = [
    ...(volume.downwardAPI?.items ?? []),
    ...(volume.projected?.sources ?? []).flatMap((source) => source.downwardAPI?.items ?? []),
  ];
  for (const file of files) {
    if (file.fieldRef !== undefined) {
      file.fieldRef.apiVersion = nonEmpty(file.fieldRef.apiVersion) ?? 'v1';
    }
    if (file.resourceFieldRef !== undefined) {
      file.resourceFieldRef.divisor ??= '0';
    }
  }
  for (const source of volume.projected?.sources ?? []) {
    if (source.serviceAccountToken !== undefined) {
      source.serviceAccountToken.expirationSeconds ??= 3600;
    }
  }
  if (volume.hostPath !== undefined) {
    volume.hostPath.type ??= '';
  }
  if (volume.iscsi !== undefined) {
    volume.iscsi.iscsiInterface = nonEmpty(volume.iscsi.iscsiInterface) ?? 'default';
  }
  if (volume.image !== undefined) {
    volume.image.pullPolicy = nonEmpty(volume.image.pullPolicy) ?? pullPolicy(volume.image.reference ?? '');
  }
  const claim = volume.ephemeral?.volumeClaimTemplate?.spec;
  if (claim !== undefined) {
    claim.volumeMode ??= 'Filesystem';
  }
}

function defaultProbe(probe: Probe | undefined): void {
  if (probe === undefined) {
    return;
  }
  probe.timeoutSeconds = nonZero(probe.timeoutSeconds) ?? 1;
  probe.periodSeconds = nonZero(probe.periodSeconds) ?? 10;
  probe.successThreshold = nonZero(probe.successThreshold) ?? 1;
  probe.failureThreshold = nonZero(probe.failureThreshold) ?? 3;
  if (probe.grpc !== undefined) {
    probe.grpc.service ??= '';
  }
  defaultHandler(probe);
}

function defaultHandler(handler: Pick<LifecycleHandler, 'httpGet'> | undefined): void {
  if (handler?.httpGet !== undefined) {
    handler.httpGet.path = nonEmpty(handler.httpGet.path) ?? '/';
    handler.httpGet.scheme = nonEmpty(handler.httpGet.scheme) ?? 'HTTP';
  }
}

function requestsFromLimits(resources: ResourceRequirements | undefined): void {
  for (const [name, limit] of Object.entries(resources?.limits ?? {})) {
    if (resources !== undefined && resources.requests?.[name] === undefined) {
      resources.requests = { ...resources.requests, [name]: limit };
    }
  }
}

function nonEmpty<T extends string>(value: T | undefined): T | undefined {
  return value === undefined || value === '' ? undefined : value;
}

function nonZero(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}
