// SPDX-License-Identifier: Apache-2.0
// Rules of probes and lifecycle hooks.
import type {
  ContainerPort,
  HTTPGetAction,
  Lifecycle,
  LifecycleHandler,
  Probe,
  ProbeHandler,
} from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import {
  forbidden,
  inRange,
  invalid,
  messages,
  nonNegative,
  notSupported,
  oneOf,
  portRange,
  required,
} from './fields.ts';
import { portName } from './names.ts';

const headerName = /^[-A-Za-z0-9]+$/;
const maximumSleepSeconds = 2 ** 31 - 1;

export function validateProbe(
  probe: Probe | undefined,
  path: string,
  options: { readonly kind: 'liveness' | 'readiness' | 'startup'; readonly gracePeriod: number | undefined },
): FieldError[] {
  if (probe === undefined) {
    return [];
  }
  const errors = [
    ...validateHandler(probe, path, options.gracePeriod),
    ...nonNegative(`${path}.initialDelaySeconds`, probe.initialDelaySeconds),
    ...nonNegative(`${path}.timeoutSeconds`, probe.timeoutSeconds),
    ...nonNegative(`${path}.periodSeconds`, probe.periodSeconds),
    ...nonNegative(`${path}.successThreshold`, probe.successThreshold),
    ...nonNegative(`${path}.failureThreshold`, probe.failureThreshold),
  ];
  const grace = probe.terminationGracePeriodSeconds;
  if (options.kind === 'readiness') {
    if (grace !== undefined) {
      errors.push(invalid(`${path}.terminationGracePeriodSeconds`, grace, 'must not be set for readinessProbes'));
    }
  } else {
    if (probe.successThreshold !== undefined && probe.successThreshold !== 1) {
      errors.push(invalid(`${path}.successThreshold`, probe.successThreshold, 'must be 1'));
    }
    if (grace !== undefined && grace <= 0) {
      errors.push(invalid(`${path}.terminationGracePeriodSeconds`, grace, 'must be greater than 0'));
    }
  }
  return errors;
}

export function validateLifecycle(
  lifecycle: Lifecycle | undefined,
  path: string,
  gracePeriod: number | undefined,
): FieldError[] {
  return [
    ...(lifecycle?.postStart === undefined
      ? []
      : validateHandler(lifecycle.postStart, `${path}.postStart`, gracePeriod)),
    ...(lifecycle?.preStop === undefined ? [] : validateHandler(lifecycle.preStop, `${path}.preStop`, gracePeriod)),
  ];
}

/** Ports of one container: shapes and names. Returns the names seen, for duplicates across a container. */
export function validatePorts(ports: readonly ContainerPort[] | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [index, port] of (ports ?? []).entries()) {
    const at = `${path}[${index}]`;
    if (port.name !== undefined && port.name !== '') {
      const found = portName(port.name);
      errors.push(...messages(`${at}.name`, port.name, found));
      if (found.length === 0 && names.has(port.name)) {
        errors.push({ type: 'Duplicate value', field: `${at}.name`, value: port.name, detail: '' });
      }
      names.add(port.name);
    }
    if ((port.containerPort ?? 0) === 0) {
      errors.push(required(`${at}.containerPort`));
    } else {
      errors.push(...inRange(`${at}.containerPort`, port.containerPort, portRange));
    }
    if (port.hostPort !== undefined && port.hostPort !== 0) {
      errors.push(...inRange(`${at}.hostPort`, port.hostPort, portRange));
    }
    errors.push(...oneOf(`${at}.protocol`, port.protocol, ['TCP', 'UDP', 'SCTP']));
  }
  return errors;
}

/** A port by number or by name. */
export function validatePortReference(port: number | string | undefined, path: string): FieldError[] {
  return typeof port === 'string' ? messages(path, port, portName(port)) : inRange(path, port ?? 0, portRange);
}

function validateHandler(
  handler: ProbeHandler & LifecycleHandler,
  path: string,
  gracePeriod: number | undefined,
): FieldError[] {
  const errors: FieldError[] = [];
  let count = 0;
  const another = (field: string): boolean => {
    count++;
    if (count > 1) {
      errors.push(forbidden(`${path}.${field}`, 'may not specify more than 1 handler type'));
    }
    return count === 1;
  };
  if (handler.exec !== undefined && another('exec') && (handler.exec.command ?? []).length === 0) {
    errors.push(required(`${path}.exec.command`));
  }
  if (handler.httpGet !== undefined && another('httpGet')) {
    errors.push(...validateHttpGet(handler.httpGet, `${path}.httpGet`));
  }
  if (handler.tcpSocket !== undefined && another('tcpSocket')) {
    errors.push(...validatePortReference(handler.tcpSocket.port, `${path}.tcpSocket.port`));
  }
  if (handler.grpc !== undefined && another('grpc')) {
    errors.push(...inRange(`${path}.grpc.port`, handler.grpc.port, portRange));
  }
  if (handler.sleep !== undefined && another('sleep')) {
    const { seconds } = handler.sleep;
    const most = gracePeriod ?? maximumSleepSeconds;
    if (seconds < 0 || seconds > most) {
      errors.push(
        invalid(`${path}.sleep`, seconds, `must be non-negative and less than terminationGracePeriodSeconds (${most})`),
      );
    }
  }
  if (count === 0) {
    errors.push(required(path, 'must specify a handler type'));
  }
  return errors;
}

function validateHttpGet(action: HTTPGetAction, path: string): FieldError[] {
  const errors: FieldError[] = [];
  if ((action.path ?? '') === '') {
    errors.push(required(`${path}.path`));
  }
  errors.push(...validatePortReference(action.port, `${path}.port`));
  if (action.scheme !== 'HTTP' && action.scheme !== 'HTTPS') {
    errors.push(notSupported(`${path}.scheme`, action.scheme, ['HTTP', 'HTTPS']));
  }
  for (const [index, header] of (action.httpHeaders ?? []).entries()) {
    if (!headerName.test(header.name)) {
      errors.push(
        invalid(
          `${path}.httpHeaders[${index}]`,
          header.name,
          "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
        ),
      );
    }
  }
  return errors;
}
