// SPDX-License-Identifier: Apache-2.0
// Rules of the security contexts of containers and pods.
import type {
  AppArmorProfile,
  PodSecurityContext,
  SeccompProfile,
  SecurityContext,
} from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { duplicate, inRange, invalid, oneOf, required } from './fields.ts';

const identity = { least: 0, most: 2 ** 31 - 1 } as const;
const sysctlName = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9]$/;

export function validateSecurityContext(context: SecurityContext | undefined, path: string): FieldError[] {
  if (context === undefined) {
    return [];
  }
  const errors: FieldError[] = [
    ...identityRange(`${path}.runAsUser`, context.runAsUser),
    ...identityRange(`${path}.runAsGroup`, context.runAsGroup),
    ...validateSeccomp(context.seccompProfile, `${path}.seccompProfile`),
    ...validateAppArmor(context.appArmorProfile, `${path}.appArmorProfile`),
  ];
  if (context.procMount !== undefined) {
    errors.push(...oneOf(`${path}.procMount`, context.procMount, ['Default', 'Unmasked']));
  }
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged === true) {
      errors.push(invalid(path, context, 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true'));
    }
    if ((context.capabilities?.add ?? []).includes('CAP_SYS_ADMIN')) {
      errors.push(
        invalid(path, context, 'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN'),
      );
    }
  }
  return errors;
}

export function validatePodSecurityContext(context: PodSecurityContext | undefined, path: string): FieldError[] {
  if (context === undefined) {
    return [];
  }
  const errors: FieldError[] = [
    ...identityRange(`${path}.runAsUser`, context.runAsUser),
    ...identityRange(`${path}.runAsGroup`, context.runAsGroup),
    ...identityRange(`${path}.fsGroup`, context.fsGroup),
    ...validateSeccomp(context.seccompProfile, `${path}.seccompProfile`),
    ...validateAppArmor(context.appArmorProfile, `${path}.appArmorProfile`),
  ];
  for (const [index, group] of (context.supplementalGroups ?? []).entries()) {
    errors.push(...identityRange(`${path}.supplementalGroups[${index}]`, group));
  }
  if (context.fsGroupChangePolicy !== undefined) {
    errors.push(...oneOf(`${path}.fsGroupChangePolicy`, context.fsGroupChangePolicy, ['OnRootMismatch', 'Always']));
  }
  if (context.supplementalGroupsPolicy !== undefined) {
    errors.push(...oneOf(`${path}.supplementalGroupsPolicy`, context.supplementalGroupsPolicy, ['Merge', 'Strict']));
  }
  const names = new Set<string>();
  for (const [index, { name }] of (context.sysctls ?? []).entries()) {
    const at = `${path}.sysctls[${index}].name`;
    if ((name ?? '') === '') {
      errors.push(required(at));
    } else if (name.length > 253 || !sysctlName.test(name)) {
      errors.push(invalid(at, name, 'must have at most 253 characters and match regex ' + sysctlName.source));
    } else if (names.has(name)) {
      errors.push(duplicate(at, name));
    }
    names.add(name);
  }
  return errors;
}

function identityRange(field: string, value: number | undefined): FieldError[] {
  return value === undefined ? [] : inRange(field, value, identity);
}

function validateSeccomp(profile: SeccompProfile | undefined, path: string): FieldError[] {
  if (profile === undefined) {
    return [];
  }
  const errors = oneOf(`${path}.type`, profile.type, ['Localhost', 'RuntimeDefault', 'Unconfined']);
  return [...errors, ...validateLocalhostProfile(profile, path, 'seccomp type is Localhost')];
}

function validateAppArmor(profile: AppArmorProfile | undefined, path: string): FieldError[] {
  if (profile === undefined) {
    return [];
  }
  const errors = oneOf(`${path}.type`, profile.type, ['Localhost', 'RuntimeDefault', 'Unconfined']);
  return [...errors, ...validateLocalhostProfile(profile, path, 'AppArmor type is Localhost')];
}

function validateLocalhostProfile(profile: SeccompProfile | AppArmorProfile, path: string, when: string): FieldError[] {
  const { localhostProfile } = profile;
  if (profile.type === 'Localhost') {
    if ((localhostProfile ?? '') === '') {
      return [required(`${path}.localhostProfile`, `must be set when ${when}`)];
    }
    return localhostProfile?.startsWith('/') === true || localhostProfile?.split('/').includes('..') === true
      ? [invalid(`${path}.localhostProfile`, localhostProfile, 'must be a relative path')]
      : [];
  }
  return localhostProfile === undefined
    ? []
    : [invalid(`${path}.localhostProfile`, localhostProfile, `can only be set when ${when}`)];
}
