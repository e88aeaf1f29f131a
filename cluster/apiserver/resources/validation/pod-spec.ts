// SPDX-License-Identifier: Apache-2.0
// Rules of a pod's spec, for pods and for templates of pods.
import { isIP } from 'node:net';
import type { PodSpec, PodTemplateSpec } from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { podFrame, validateContainers, validateEphemeralContainers } from './containers.ts';
import { duplicate, forbidden, inRange, invalid, messages, notSupported, oneOf, required } from './fields.ts';
import { validateAnnotations, validateLabels } from './metadata.ts';
import { dnsLabel, dnsSubdomain, qualifiedName } from './names.ts';
import { validateResourceList, validateResourceRequirements } from './resources.ts';
import { validateScheduling } from './scheduling.ts';
import { validatePodSecurityContext } from './security.ts';
import { validateVolumes } from './volumes.ts';

const restartPolicies = ['Always', 'OnFailure', 'Never'];
const dnsPolicies = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'];
const deadline = { least: 1, most: 2 ** 31 - 1 } as const;

export function validatePodSpec(spec: PodSpec, path: string): FieldError[] {
  const frame = podFrame(spec);
  return [
    ...validateVolumes(spec.volumes, `${path}.volumes`),
    ...validateContainers(frame, path),
    ...validateEphemeralContainers(frame, `${path}.ephemeralContainers`),
    ...oneOf(`${path}.restartPolicy`, spec.restartPolicy, restartPolicies),
    ...oneOf(`${path}.dnsPolicy`, spec.dnsPolicy, dnsPolicies),
    ...validateDnsConfig(spec, path),
    ...validateScheduling(spec, path),
    ...validatePodSecurityContext(spec.securityContext, `${path}.securityContext`),
    ...validateResourceRequirements(spec.resources, `${path}.resources`),
    ...validateReferences(spec, path),
    ...validateScalars(spec, path),
  ];
}

/** A template in a workload: its labels, annotations and spec. */
export function validatePodTemplate(template: PodTemplateSpec | undefined, path: string): FieldError[] {
  if (template?.spec === undefined) {
    return [required(`${path}.spec.containers`)];
  }
  const errors = [
    ...validateLabels(template.metadata?.labels, `${path}.labels`),
    ...validateAnnotations(template.metadata?.annotations, `${path}.annotations`),
    ...validatePodSpec(template.spec, `${path}.spec`),
  ];
  if ((template.spec.ephemeralContainers ?? []).length > 0) {
    errors.push(forbidden(`${path}.spec.ephemeralContainers`, 'ephemeral containers not allowed in pod template'));
  }
  return errors;
}

/** The template of a workload that keeps its pods running. */
export function validateRestartAlways(template: PodTemplateSpec | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const spec = template?.spec;
  if (spec?.restartPolicy !== undefined && spec.restartPolicy !== 'Always') {
    errors.push(notSupported(`${path}.spec.restartPolicy`, spec.restartPolicy, ['Always']));
  }
  if (spec?.activeDeadlineSeconds !== undefined) {
    errors.push(
      forbidden(`${path}.spec.activeDeadlineSeconds`, 'activeDeadlineSeconds in ReplicaSet is not Supported'),
    );
  }
  return errors;
}

function validateDnsConfig(spec: PodSpec, path: string): FieldError[] {
  const at = `${path}.dnsConfig`;
  const config = spec.dnsConfig;
  if (config === undefined) {
    return spec.dnsPolicy === 'None' ? [required(at, 'must provide `dnsConfig` when `dnsPolicy` is None')] : [];
  }
  const errors: FieldError[] = [];
  const { nameservers = [], searches = [], options = [] } = config;
  if (spec.dnsPolicy === 'None' && nameservers.length === 0) {
    errors.push(required(`${at}.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None'));
  }
  if (nameservers.length > 3) {
    errors.push(invalid(`${at}.nameservers`, nameservers, 'must not have more than 3 nameservers'));
  }
  for (const [index, server] of nameservers.entries()) {
    if (isIP(server) === 0) {
      errors.push(
        invalid(`${at}.nameservers[${index}]`, server, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
      );
    }
  }
  if (searches.length > 32) {
    errors.push(invalid(`${at}.searches`, searches, 'must not have more than 32 search paths'));
  }
  if (searches.join(' ').length > 2048) {
    errors.push(
      invalid(
        `${at}.searches`,
        searches,
        'must not have more than 2048 characters (including spaces) in the search list',
      ),
    );
  }
  for (const [index, search] of searches.entries()) {
    // A leading underscore label and a trailing dot are fine in search paths; `.` alone is the root.
    const name = search.replace(/\.$/, '').replaceAll('_', 'a');
    if (search !== '.') {
      errors.push(...messages(`${at}.searches[${index}]`, search, dnsSubdomain(name)));
    }
  }
  for (const [index, option] of options.entries()) {
    if ((option.name ?? '') === '') {
      errors.push(required(`${at}.options[${index}]`, 'must not be empty'));
    }
  }
  return errors;
}

function validateReferences(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ['serviceAccountName', 'nodeName', 'priorityClassName', 'runtimeClassName'] as const) {
    const value = spec[field] ?? '';
    if (value !== '') {
      errors.push(...messages(`${path}.${field}`, value, dnsSubdomain(value)));
    }
  }
  for (const field of ['hostname', 'subdomain'] as const) {
    const value = spec[field] ?? '';
    if (value !== '') {
      errors.push(...messages(`${path}.${field}`, value, dnsLabel(value)));
    }
  }
  for (const [index, secret] of (spec.imagePullSecrets ?? []).entries()) {
    if ((secret.name ?? '') === '') {
      errors.push(required(`${path}.imagePullSecrets[${index}].name`));
    }
  }
  for (const [index, alias] of (spec.hostAliases ?? []).entries()) {
    if (isIP(alias.ip ?? '') === 0) {
      errors.push(
        invalid(
          `${path}.hostAliases[${index}].ip`,
          alias.ip,
          'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
      );
    }
    for (const name of alias.hostnames ?? []) {
      errors.push(...messages(`${path}.hostAliases[${index}].hostnames`, name, dnsSubdomain(name)));
    }
  }
  for (const [index, gate] of (spec.readinessGates ?? []).entries()) {
    errors.push(
      ...messages(
        `${path}.readinessGates[${index}].conditionType`,
        gate.conditionType,
        qualifiedName(gate.conditionType),
      ),
    );
  }
  const gates = new Set<string>();
  for (const [index, gate] of (spec.schedulingGates ?? []).entries()) {
    const at = `${path}.schedulingGates[${index}]`;
    errors.push(...messages(at, gate.name, qualifiedName(gate.name)));
    if (gates.has(gate.name)) {
      errors.push(duplicate(at, gate.name));
    }
    gates.add(gate.name);
  }
  return errors;
}

function validateScalars(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = [...validateResourceList(spec.overhead, `${path}.overhead`)];
  if (spec.activeDeadlineSeconds !== undefined) {
    errors.push(...inRange(`${path}.activeDeadlineSeconds`, spec.activeDeadlineSeconds, deadline));
  }
  if (spec.preemptionPolicy !== undefined) {
    errors.push(...oneOf(`${path}.preemptionPolicy`, spec.preemptionPolicy, ['PreemptLowerPriority', 'Never']));
  }
  if (spec.os !== undefined) {
    errors.push(...oneOf(`${path}.os.name`, spec.os.name, ['linux', 'windows']));
  }
  if (spec.shareProcessNamespace === true && spec.hostPID === true) {
    errors.push(
      invalid(`${path}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled'),
    );
  }
  if (spec.hostUsers === false) {
    for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const) {
      if (spec[field] === true) {
        errors.push(forbidden(`${path}.${field}`, 'when `pod.Spec.HostUsers` is false'));
      }
    }
  }
  return errors;
}
