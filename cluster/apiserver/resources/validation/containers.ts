// SPDX-License-Identifier: Apache-2.0
// Rules of containers, init containers and ephemeral containers.
import type {
  Container,
  ContainerPort,
  EnvFromSource,
  EnvVar,
  EphemeralContainer,
  PodSpec,
  Volume,
  VolumeMount,
} from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { validateFieldPath, validateResourceField } from './downward.ts';
import { duplicate, forbidden, invalid, messages, notFound, notSupported, oneOf, required } from './fields.ts';
import { validateLifecycle, validatePorts, validateProbe } from './handlers.ts';
import { configKey, dnsLabel, dnsSubdomain, environmentName } from './names.ts';
import { validateResourceRequirements } from './resources.ts';
import { validateSecurityContext } from './security.ts';
import { validateRelativePath } from './paths.ts';

const fieldPaths = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];
/** Everything of the pod that a container's rules look at; built once per pod. */
export interface PodFrame {
  readonly spec: PodSpec;
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly claims: ReadonlySet<string>;
}

export function podFrame(spec: PodSpec): PodFrame {
  return {
    spec,
    volumes: new Map((spec.volumes ?? []).map((volume) => [volume.name, volume])),
    claims: new Set((spec.resourceClaims ?? []).map((claim) => claim.name)),
  };
}

export function validateContainers(frame: PodFrame, path: string): FieldError[] {
  const { spec } = frame;
  const errors: FieldError[] = [];
  const names = new Set<string>();
  if ((spec.containers ?? []).length === 0) {
    errors.push(required(`${path}.containers`));
  }
  for (const [index, container] of (spec.containers ?? []).entries()) {
    const at = `${path}.containers[${index}]`;
    errors.push(...validateContainer(container, at, frame), ...uniqueName(container, at, names));
    errors.push(...validateProbes(container, at, spec.terminationGracePeriodSeconds));
    if (container.restartPolicy !== undefined) {
      errors.push(forbidden(`${at}.restartPolicy`, 'may not be set for non-init containers'));
    }
  }
  for (const [index, container] of (spec.initContainers ?? []).entries()) {
    const at = `${path}.initContainers[${index}]`;
    errors.push(...validateContainer(container, at, frame), ...uniqueName(container, at, names));
    if (container.restartPolicy === 'Always') {
      errors.push(...validateProbes(container, at, spec.terminationGracePeriodSeconds));
    } else {
      if (container.restartPolicy !== undefined) {
        errors.push(notSupported(`${at}.restartPolicy`, container.restartPolicy, ['Always']));
      }
      for (const field of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
        if (container[field] !== undefined) {
          errors.push(forbidden(`${at}.${field}`, 'may not be set for init containers without restartPolicy=Always'));
        }
      }
    }
  }
  errors.push(...validateHostPorts(spec, path));
  return errors;
}

const ephemeralForbidden = ['ports', 'livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle'] as const;

export function validateEphemeralContainers(frame: PodFrame, path: string): FieldError[] {
  const { spec } = frame;
  const errors: FieldError[] = [];
  const others = new Set([...spec.containers, ...(spec.initContainers ?? [])].map(({ name }) => name));
  const names = new Set(others);
  for (const [index, container] of (spec.ephemeralContainers ?? []).entries()) {
    const at = `${path}[${index}]`;
    errors.push(...validateContainer(container, at, frame), ...uniqueName(container, at, names));
    if ((container.targetContainerName ?? '') !== '' && !others.has(container.targetContainerName ?? '')) {
      errors.push(notFound(`${at}.targetContainerName`, container.targetContainerName));
    }
    for (const field of ephemeralForbidden) {
      if (container[field] !== undefined) {
        errors.push(forbidden(`${at}.${field}`, 'cannot be set for an Ephemeral Container'));
      }
    }
    if (Object.keys(container.resources ?? {}).length > 0) {
      errors.push(forbidden(`${at}.resources`, 'cannot be set for an Ephemeral Container'));
    }
    for (const [position, mount] of (container.volumeMounts ?? []).entries()) {
      if ((mount.subPath ?? '') !== '') {
        errors.push(forbidden(`${at}.volumeMounts[${position}].subPath`, 'cannot be set for an Ephemeral Container'));
      }
    }
  }
  return errors;
}

function validateContainer(container: Container | EphemeralContainer, at: string, frame: PodFrame): FieldError[] {
  const errors: FieldError[] = [];
  const image = container.image ?? '';
  if (image === '') {
    errors.push(required(`${at}.image`));
  } else if (image.trim() !== image) {
    errors.push(invalid(`${at}.image`, image, 'must not have leading or trailing whitespace'));
  }
  errors.push(
    ...oneOf(`${at}.terminationMessagePolicy`, container.terminationMessagePolicy, ['File', 'FallbackToLogsOnError']),
    ...oneOf(`${at}.imagePullPolicy`, container.imagePullPolicy, ['Always', 'IfNotPresent', 'Never']),
    ...validatePorts(container.ports, `${at}.ports`),
    ...validateEnvironment(container.env, `${at}.env`),
    ...validateEnvironmentSources(container.envFrom, `${at}.envFrom`),
    ...validateMounts(container, at, frame),
    ...validateResourceRequirements(container.resources, `${at}.resources`, frame.claims),
    ...validateSecurityContext(container.securityContext, `${at}.securityContext`),
    ...validateLifecycle(container.lifecycle, `${at}.lifecycle`, frame.spec.terminationGracePeriodSeconds),
  );
  return errors;
}

function uniqueName(container: { readonly name: string }, at: string, names: Set<string>): FieldError[] {
  const { name } = container;
  if ((name ?? '') === '') {
    return [required(`${at}.name`)];
  }
  const errors = messages(`${at}.name`, name, dnsLabel(name));
  if (names.has(name)) {
    errors.push(duplicate(`${at}.name`, name));
  }
  names.add(name);
  return errors;
}

function validateProbes(container: Container, at: string, gracePeriod: number | undefined): FieldError[] {
  return [
    ...validateProbe(container.livenessProbe, `${at}.livenessProbe`, { kind: 'liveness', gracePeriod }),
    ...validateProbe(container.readinessProbe, `${at}.readinessProbe`, { kind: 'readiness', gracePeriod }),
    ...validateProbe(container.startupProbe, `${at}.startupProbe`, { kind: 'startup', gracePeriod }),
  ];
}

function validateHostPorts(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const taken = new Set<string>();
  const ports = (spec.containers ?? []).flatMap((container, index) =>
    (container.ports ?? []).map((port, position): [ContainerPort, string] => [
      port,
      `${path}.containers[${index}].ports[${position}]`,
    ]),
  );
  for (const [port, at] of ports) {
    if (port.hostPort === undefined || port.hostPort === 0) {
      continue;
    }
    const key = `${port.protocol}/${port.hostIP ?? ''}/${port.hostPort}`;
    if (taken.has(key)) {
      errors.push(duplicate(`${at}.hostPort`, key));
    }
    taken.add(key);
    if (spec.hostNetwork === true && port.hostPort !== port.containerPort) {
      errors.push(
        invalid(`${at}.containerPort`, port.containerPort, 'must match `hostPort` when `hostNetwork` is true'),
      );
    }
  }
  return errors;
}

function validateEnvironment(variables: readonly EnvVar[] | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, variable] of (variables ?? []).entries()) {
    const at = `${path}[${index}]`;
    errors.push(
      ...((variable.name ?? '') === ''
        ? [required(`${at}.name`)]
        : messages(`${at}.name`, variable.name, environmentName(variable.name))),
    );
    if (variable.valueFrom !== undefined) {
      errors.push(...validateValueFrom(variable, `${at}.valueFrom`));
    }
  }
  return errors;
}

function validateValueFrom(variable: EnvVar, at: string): FieldError[] {
  const from = variable.valueFrom ?? {};
  const errors: FieldError[] = [];
  const given = Object.values(from).filter((source) => source !== undefined).length;
  if (from.fieldRef !== undefined) {
    errors.push(...validateFieldPath(from.fieldRef.fieldPath, `${at}.fieldRef`, fieldPaths));
  }
  if (from.resourceFieldRef !== undefined) {
    errors.push(...validateResourceField(from.resourceFieldRef.resource, `${at}.resourceFieldRef`));
  }
  for (const field of ['configMapKeyRef', 'secretKeyRef'] as const) {
    const reference = from[field];
    if (reference !== undefined) {
      if ((reference.name ?? '') === '') {
        errors.push(required(`${at}.${field}.name`));
      } else {
        errors.push(...messages(`${at}.${field}.name`, reference.name, dnsSubdomain(reference.name ?? '')));
      }
      errors.push(
        ...((reference.key ?? '') === ''
          ? [required(`${at}.${field}.key`)]
          : messages(`${at}.${field}.key`, reference.key, configKey(reference.key))),
      );
    }
  }
  if (given === 0) {
    errors.push(
      invalid(
        at,
        '',
        'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`',
      ),
    );
  } else if ((variable.value ?? '') !== '') {
    errors.push(invalid(at, '', 'may not be specified when `value` is not empty'));
  } else if (given > 1) {
    errors.push(invalid(at, '', 'may not have more than one field specified at a time'));
  }
  return errors;
}

function validateEnvironmentSources(sources: readonly EnvFromSource[] | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, source] of (sources ?? []).entries()) {
    const at = `${path}[${index}]`;
    if ((source.prefix ?? '') !== '') {
      errors.push(...messages(`${at}.prefix`, source.prefix, environmentName(source.prefix ?? '')));
    }
    const given = (['configMapRef', 'secretRef'] as const).filter((field) => source[field] !== undefined);
    if (given.length === 0) {
      errors.push(invalid(at, '', 'must specify one of: `configMapRef` or `secretRef`'));
    } else if (given.length > 1) {
      errors.push(invalid(at, '', 'may not have more than one field specified at a time'));
    }
    for (const field of given) {
      const name = source[field]?.name ?? '';
      errors.push(
        ...(name === ''
          ? [required(`${at}.${field}.name`)]
          : messages(`${at}.${field}.name`, name, dnsSubdomain(name))),
      );
    }
  }
  return errors;
}

function validateMounts(container: Container | EphemeralContainer, at: string, frame: PodFrame): FieldError[] {
  const errors: FieldError[] = [];
  const paths = new Set<string>();
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    const path = `${at}.volumeMounts[${index}]`;
    errors.push(...validateMount(mount, path, frame));
    if ((mount.mountPath ?? '') === '') {
      errors.push(required(`${path}.mountPath`));
    } else if (paths.has(mount.mountPath)) {
      errors.push(invalid(`${path}.mountPath`, mount.mountPath, 'must be unique'));
    }
    paths.add(mount.mountPath);
    if (mount.mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true) {
      errors.push(
        forbidden(
          `${path}.mountPropagation`,
          'Bidirectional mount propagation is available only to privileged containers',
        ),
      );
    }
  }
  for (const [index, device] of (container.volumeDevices ?? []).entries()) {
    const path = `${at}.volumeDevices[${index}]`;
    if ((device.name ?? '') === '') {
      errors.push(required(`${path}.name`));
    } else if (!frame.volumes.has(device.name)) {
      errors.push(notFound(`${path}.name`, device.name));
    } else if (
      frame.volumes.get(device.name)?.persistentVolumeClaim === undefined &&
      frame.volumes.get(device.name)?.ephemeral === undefined
    ) {
      errors.push(
        invalid(
          `${path}.name`,
          device.name,
          'can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode',
        ),
      );
    }
    if ((device.devicePath ?? '') === '') {
      errors.push(required(`${path}.devicePath`));
    } else if (paths.has(device.devicePath)) {
      errors.push(invalid(`${path}.devicePath`, device.devicePath, 'must not already exist in volumeMounts'));
    }
  }
  return errors;
}

function validateMount(mount: VolumeMount, path: string, frame: PodFrame): FieldError[] {
  const errors: FieldError[] = [];
  if ((mount.name ?? '') === '') {
    errors.push(required(`${path}.name`));
  } else if (!frame.volumes.has(mount.name)) {
    errors.push(notFound(`${path}.name`, mount.name));
  }
  if ((mount.subPath ?? '') !== '') {
    errors.push(...validateRelativePath(mount.subPath ?? '', `${path}.subPath`));
  }
  if ((mount.subPathExpr ?? '') !== '') {
    errors.push(...validateRelativePath(mount.subPathExpr ?? '', `${path}.subPathExpr`));
    if ((mount.subPath ?? '') !== '') {
      errors.push(invalid(`${path}.subPathExpr`, mount.subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
    }
  }
  if (mount.mountPropagation !== undefined) {
    errors.push(
      ...oneOf(`${path}.mountPropagation`, mount.mountPropagation, ['Bidirectional', 'HostToContainer', 'None']),
    );
  }
  if (mount.recursiveReadOnly !== undefined && mount.recursiveReadOnly !== 'Disabled' && mount.readOnly !== true) {
    errors.push(forbidden(`${path}.recursiveReadOnly`, 'may only be specified when readOnly is true'));
  }
  return errors;
}
