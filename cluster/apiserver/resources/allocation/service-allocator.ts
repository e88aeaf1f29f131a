// SPDX-License-Identifier: Apache-2.0
// Cluster addresses and node ports of Services. What is taken is learnt from the stored Services at the first use.
import { isIPv4 } from 'node:net';
import type { Service, ServicePort } from '../../../machinery/api-types.ts';
import { internalError, invalid } from '../../status.ts';
import type { StatusError } from '../../status.ts';
import { typed } from '../define.ts';
import type { FieldError, Registry, RequestContext } from '../definition.ts';
import { invalid as invalidField } from '../validation/fields.ts';
import { RangeAllocator } from './range-allocator.ts';
import { needsClusterIP, needsHealthCheckPort, needsNodePort } from '../core/service-fields.ts';

export class ServiceAllocator {
  readonly #cidr: string;
  readonly #portRange: string;
  readonly #addresses: RangeAllocator;
  readonly #ports: RangeAllocator;
  #filled = false;

  /** Errors: a CIDR that is no IPv4 CIDR, a port range that is not `first-last`. */
  constructor(cidr: string, portRange: string) {
    this.#cidr = cidr;
    this.#portRange = portRange;
    this.#addresses = addressRange(cidr);
    this.#ports = portsOf(portRange);
  }

  /** Takes what `service` needs beyond what `old` has, in place. The returned function undoes it. Errors: 422 with the field. */
  allocate(service: Service, old: Service | undefined, context: RequestContext): () => void {
    this.#fill(context.registry);
    const undo: (() => void)[] = [];
    const giveBack = (): void => undo.forEach((step) => step());
    try {
      this.#allocateAddress(service, old, undo);
      this.#allocatePorts(service, old, undo);
    } catch (error) {
      giveBack();
      throw error;
    }
    if (context.dryRun) {
      return giveBack;
    }
    // What the old form had and the new one has not is free once the write is done; the write can hardly fail any more.
    const dropped = old === undefined ? undefined : this.#dropped(service, old);
    dropped?.forEach((step) => step.free());
    return () => {
      giveBack();
      dropped?.forEach((step) => step.retake());
    };
  }

  release(service: Service): void {
    const address = addressOf(service);
    if (address !== undefined) {
      this.#addresses.release(toNumber(address));
    }
    for (const port of portsTaken(service)) {
      this.#ports.release(port);
    }
  }

  #fill(registry: Registry): void {
    if (this.#filled) {
      return;
    }
    this.#filled = true;
    for (const service of typed<Service>(registry.list('services'))) {
      const address = addressOf(service);
      if (address !== undefined) {
        this.#addresses.take(toNumber(address));
      }
      for (const port of portsTaken(service)) {
        this.#ports.take(port);
      }
    }
  }

  #allocateAddress(service: Service, old: Service | undefined, undo: (() => void)[]): void {
    const { spec } = service;
    if (spec === undefined || !needsClusterIP(service)) {
      return;
    }
    const asked = spec.clusterIP ?? '';
    if (asked === 'None' || (old !== undefined && asked !== '' && asked === addressOf(old))) {
      return;
    }
    if (asked === '') {
      const number = this.#addresses.takeAny();
      if (number === undefined) {
        throw internalError('failed to allocate a serviceIP: range is full');
      }
      undo.push(() => this.#addresses.release(number));
      spec.clusterIP = toAddress(number);
      spec.clusterIPs = [spec.clusterIP];
      return;
    }
    const number = isIPv4(asked) ? toNumber(asked) : -1;
    if (!this.#addresses.contains(number)) {
      throw refusal(service, [
        invalidField(
          'spec.clusterIPs',
          [asked],
          `failed to allocate IP ${asked}: the provided IP (${asked}) is not in the valid range. The range of valid IPs is ${this.#cidr}`,
        ),
      ]);
    }
    if (!this.#addresses.take(number)) {
      throw refusal(service, [
        invalidField('spec.clusterIPs', [asked], `failed to allocate IP ${asked}: provided IP is already allocated`),
      ]);
    }
    undo.push(() => this.#addresses.release(number));
    spec.clusterIPs = [asked];
  }

  #allocatePorts(service: Service, old: Service | undefined, undo: (() => void)[]): void {
    const { spec } = service;
    if (spec === undefined || !needsNodePort(service)) {
      return;
    }
    const mine = new Set(old === undefined ? [] : portsTaken(old));
    for (const [index, port] of (spec.ports ?? []).entries()) {
      if ((port.nodePort ?? 0) !== 0) {
        this.#takePort(service, { port: port.nodePort ?? 0, field: `spec.ports[${index}].nodePort`, mine, undo });
      }
    }
    for (const port of spec.ports ?? []) {
      if ((port.nodePort ?? 0) === 0) {
        port.nodePort = twinPort(spec.ports ?? [], port) ?? this.#takeAnyPort(mine, undo);
      }
    }
    if (needsHealthCheckPort(service)) {
      if ((spec.healthCheckNodePort ?? 0) === 0) {
        spec.healthCheckNodePort = this.#takeAnyPort(mine, undo);
      } else {
        this.#takePort(service, {
          port: spec.healthCheckNodePort ?? 0,
          field: 'spec.healthCheckNodePort',
          mine,
          undo,
        });
      }
    }
  }

  #takePort(service: Service, wanted: { port: number; field: string; mine: Set<number>; undo: (() => void)[] }): void {
    const { port, field, mine, undo } = wanted;
    if (mine.has(port)) {
      return;
    }
    if (!this.#ports.contains(port)) {
      throw refusal(service, [
        invalidField(
          field,
          port,
          `provided port is not in the valid range. The range of valid ports is ${this.#portRange}`,
        ),
      ]);
    }
    if (!this.#ports.take(port)) {
      throw refusal(service, [invalidField(field, port, 'provided port is already allocated')]);
    }
    mine.add(port);
    undo.push(() => this.#ports.release(port));
  }

  #takeAnyPort(mine: Set<number>, undo: (() => void)[]): number {
    const port = this.#ports.takeAny();
    if (port === undefined) {
      throw internalError('failed to allocate a nodePort: range is full');
    }
    mine.add(port);
    undo.push(() => this.#ports.release(port));
    return port;
  }

  #dropped(service: Service, old: Service): { free: () => void; retake: () => void }[] {
    const steps: { free: () => void; retake: () => void }[] = [];
    const before = addressOf(old);
    if (before !== undefined && before !== addressOf(service)) {
      const number = toNumber(before);
      steps.push({ free: () => this.#addresses.release(number), retake: () => void this.#addresses.take(number) });
    }
    const kept = new Set(portsTaken(service));
    for (const port of portsTaken(old).filter((candidate) => !kept.has(candidate))) {
      steps.push({ free: () => this.#ports.release(port), retake: () => void this.#ports.take(port) });
    }
    return steps;
  }
}

/** TCP and UDP on the same port share one node port. */
function twinPort(ports: readonly ServicePort[], port: ServicePort): number | undefined {
  const twin = ports.find(
    (other) => other.port === port.port && other.protocol !== port.protocol && (other.nodePort ?? 0) !== 0,
  );
  return twin?.nodePort;
}

function addressOf(service: Service): string | undefined {
  const address = service.spec?.clusterIP ?? '';
  return address === '' || address === 'None' || !isIPv4(address) || !needsClusterIP(service) ? undefined : address;
}

function portsTaken(service: Service): number[] {
  const ports = needsNodePort(service) ? (service.spec?.ports ?? []).map((port) => port.nodePort ?? 0) : [];
  return [...ports, service.spec?.healthCheckNodePort ?? 0].filter((port) => port !== 0);
}

function refusal(service: Service, errors: readonly FieldError[]): StatusError {
  return invalid({ group: '', kind: 'Service' }, service.metadata.name ?? '', errors);
}

/** Network and broadcast addresses are left out; the lowest sixteenth (16 to 256) is for chosen addresses. */
function addressRange(cidr: string): RangeAllocator {
  const [base = '', bits = ''] = cidr.split('/');
  const length = Number(bits);
  if (!isIPv4(base) || !Number.isInteger(length) || length < 8 || length > 30) {
    throw new Error(`--service-cluster-ip-range ${cidr} is not an IPv4 CIDR between /8 and /30, such as 10.96.0.0/16`);
  }
  const size = 2 ** (32 - length);
  const first = Math.floor(toNumber(base) / size) * size;
  return new RangeAllocator(first + 1, first + size - 2, Math.min(Math.max(16, size / 16), 256));
}

function portsOf(range: string): RangeAllocator {
  const match = /^(\d+)-(\d+)$/.exec(range);
  const first = Number(match?.[1]);
  const last = Number(match?.[2]);
  if (match === null || first < 1 || last > 65535 || first > last) {
    throw new Error(`--service-node-port-range ${range} is not a range of ports, such as 30000-32767`);
  }
  const size = last - first + 1;
  return new RangeAllocator(first, last, size < 32 ? 0 : Math.min(Math.max(16, Math.floor(size / 32)), 128));
}

function toNumber(address: string): number {
  return address.split('.').reduce((number, part) => number * 256 + Number(part), 0);
}

function toAddress(number: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join('.');
}
