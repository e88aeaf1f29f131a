// SPDX-License-Identifier: Apache-2.0
// Which fields a Service has depends on its type: what it needs, what it keeps on a change, what it loses.
import type { Service } from '../../../machinery/api-types.ts';
import { same } from '../validation/fields.ts';

export function needsClusterIP({ spec }: Service): boolean {
  return spec?.type !== 'ExternalName';
}

export function needsNodePort({ spec }: Service): boolean {
  return spec?.type === 'NodePort' || (spec?.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false);
}

export function needsHealthCheckPort({ spec }: Service): boolean {
  return spec?.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

/** Reachable from outside: the traffic policy for external traffic means something. */
export function isExternal({ spec }: Service): boolean {
  return spec?.type === 'NodePort' || spec?.type === 'LoadBalancer' || (spec?.externalIPs ?? []).length > 0;
}

export function defaultService({ spec }: Service): void {
  if (spec === undefined) {
    return;
  }
  spec.type ??= 'ClusterIP';
  spec.sessionAffinity ??= 'None';
  if (spec.sessionAffinity === 'None') {
    delete spec.sessionAffinityConfig;
  } else {
    spec.sessionAffinityConfig ??= {};
    spec.sessionAffinityConfig.clientIP ??= {};
    spec.sessionAffinityConfig.clientIP.timeoutSeconds ??= 10_800;
  }
  for (const port of spec.ports ?? []) {
    port.protocol ??= 'TCP';
    if (port.targetPort === undefined || port.targetPort === 0 || port.targetPort === '') {
      port.targetPort = port.port;
    }
  }
  if (isExternal({ metadata: {}, spec })) {
    spec.externalTrafficPolicy ??= 'Cluster';
  }
  if (spec.type !== 'ExternalName') {
    spec.internalTrafficPolicy ??= 'Cluster';
  }
  if (spec.type === 'LoadBalancer') {
    spec.allocateLoadBalancerNodePorts ??= true;
  }
}

/** The singular and the plural address field always say the same. */
export function normalizeAddresses({ spec }: Service, old?: Service): void {
  if (spec === undefined) {
    return;
  }
  const one = spec.clusterIP ?? '';
  const many = spec.clusterIPs ?? [];
  if (old === undefined) {
    if (one !== '' && many.length === 0) {
      spec.clusterIPs = [one];
    }
    return;
  }
  const oldOne = old.spec?.clusterIP ?? '';
  // A client that knows only the singular field sends the plural one as it was, or not at all.
  if (one !== oldOne && same(many, old.spec?.clusterIPs)) {
    if (one === '') {
      delete spec.clusterIPs;
    } else {
      spec.clusterIPs = [one];
    }
  } else if (one !== '' && many.length === 0) {
    spec.clusterIPs = [one];
  }
}

export type IpFamilyName = 'IPv4' | 'IPv6';

export function familyNameOf(address: string): IpFamilyName {
  return address.includes(':') ? 'IPv6' : 'IPv4';
}

export function isSelectorlessHeadless({ spec }: Service): boolean {
  return spec?.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0;
}

/** `configured` are the families of the cluster, its primary one first. What contradicts itself is left to validation. */
export function setFamilies(service: Service, old: Service | undefined, configured: readonly IpFamilyName[]): void {
  const { spec } = service;
  if (spec === undefined || spec.type === 'ExternalName' || keepsPreference(service, old)) {
    return;
  }
  const before = old?.spec;
  if (spec.ipFamilyPolicy === 'SingleStack' && before !== undefined && hadTwo(before)) {
    // The way back to one family: who changes only the policy means the rest too.
    if (same(spec.clusterIPs, before.clusterIPs)) {
      spec.clusterIPs = spec.clusterIPs?.slice(0, 1) ?? [];
    }
    if (same(spec.ipFamilies, before.ipFamilies)) {
      spec.ipFamilies = spec.ipFamilies?.slice(0, 1) ?? [];
    }
  }
  const families = [...((spec.ipFamilies ?? []) as IpFamilyName[])];
  const given = (spec.clusterIPs ?? []).filter((address) => address !== 'None' && address !== '');
  families.push(...given.slice(families.length).map(familyNameOf));
  const selectorless = isSelectorlessHeadless(service);
  spec.ipFamilyPolicy ??= selectorless && families.length !== 1 ? 'RequireDualStack' : 'SingleStack';
  const [primary = 'IPv4'] = configured;
  if (families.length === 0) {
    families.push(primary);
  }
  // Endpoints of a Service without selector are its owner's, of whatever family; otherwise the cluster must have both.
  const wantsBoth = spec.ipFamilyPolicy !== 'SingleStack' && (selectorless || configured.length === 2);
  if (wantsBoth && families.length === 1 && !hadTwo(before)) {
    families.push(families[0] === 'IPv4' ? 'IPv6' : 'IPv4');
  }
  spec.ipFamilies = families;
}

/** A Service that prefers two families is not changed by a cluster that gains or loses one, only by its owner. */
function keepsPreference({ spec }: Service, old: Service | undefined): boolean {
  const before = old?.spec;
  return (
    before !== undefined &&
    before.type !== 'ExternalName' &&
    spec?.ipFamilyPolicy === 'PreferDualStack' &&
    before.ipFamilyPolicy === 'PreferDualStack' &&
    same(spec.clusterIPs, before.clusterIPs) &&
    same(spec.ipFamilies, before.ipFamilies)
  );
}

/** Giving up the second family takes the policy SingleStack, so a family that was taken away is not put back. */
function hadTwo(before: Service['spec']): boolean {
  return (before?.ipFamilies ?? []).length === 2;
}

/** What was allocated stays when a client leaves it out of an update. */
export function keepAllocated(service: Service, old: Service): void {
  const { spec } = service;
  const before = old.spec;
  if (spec === undefined || before === undefined) {
    return;
  }
  if (needsClusterIP(service) && needsClusterIP(old)) {
    if ((spec.clusterIP ?? '') === '' && before.clusterIP !== undefined) {
      spec.clusterIP = before.clusterIP;
    }
    if (
      (spec.clusterIPs ?? []).length === 0 &&
      spec.clusterIP === before.clusterIP &&
      before.clusterIPs !== undefined
    ) {
      spec.clusterIPs = before.clusterIPs;
    }
    if (spec.ipFamilies === undefined && before.ipFamilies !== undefined) {
      spec.ipFamilies = before.ipFamilies;
    }
    if (spec.ipFamilyPolicy === undefined && before.ipFamilyPolicy !== undefined) {
      spec.ipFamilyPolicy = before.ipFamilyPolicy;
    }
  }
  if (needsNodePort(service) && needsNodePort(old)) {
    const used = new Set((spec.ports ?? []).map((port) => port.nodePort ?? 0));
    for (const port of spec.ports ?? []) {
      if ((port.nodePort ?? 0) !== 0) {
        continue;
      }
      const kept = before.ports?.find(
        (other) => other.port === port.port && other.protocol === port.protocol,
      )?.nodePort;
      if (kept !== undefined && !used.has(kept)) {
        port.nodePort = kept;
      }
    }
  }
  if (needsHealthCheckPort(service) && needsHealthCheckPort(old) && (spec.healthCheckNodePort ?? 0) === 0) {
    if (before.healthCheckNodePort !== undefined) {
      spec.healthCheckNodePort = before.healthCheckNodePort;
    }
  }
}

/** Fields that only the old type had go, unless the client changed them on purpose. */
export function dropForType(service: Service, old: Service): void {
  const { spec } = service;
  const before = old.spec;
  if (spec === undefined || before === undefined) {
    return;
  }
  if (needsClusterIP(old) && !needsClusterIP(service)) {
    if (same(spec.clusterIPs, before.clusterIPs)) {
      delete spec.clusterIP;
      delete spec.clusterIPs;
    }
    delete spec.ipFamilies;
    delete spec.ipFamilyPolicy;
    if (spec.internalTrafficPolicy === before.internalTrafficPolicy) {
      delete spec.internalTrafficPolicy;
    }
  }
  if (needsNodePort(old) && !needsNodePort(service)) {
    const were = new Set((before.ports ?? []).map((port) => port.nodePort));
    for (const port of spec.ports ?? []) {
      if (were.has(port.nodePort)) {
        delete port.nodePort;
      }
    }
  }
  if (needsHealthCheckPort(old) && !needsHealthCheckPort(service)) {
    if (spec.healthCheckNodePort === before.healthCheckNodePort) {
      delete spec.healthCheckNodePort;
    }
  }
  if (before.type === 'LoadBalancer' && spec.type !== 'LoadBalancer') {
    delete spec.allocateLoadBalancerNodePorts;
    if (spec.loadBalancerClass === before.loadBalancerClass) {
      delete spec.loadBalancerClass;
    }
  }
  if (isExternal(old) && !isExternal(service) && spec.externalTrafficPolicy === before.externalTrafficPolicy) {
    delete spec.externalTrafficPolicy;
  }
}
