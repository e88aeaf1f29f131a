// SPDX-License-Identifier: Apache-2.0
// Cluster addresses and node ports of Services. What is taken is learnt from the stored Services at the first use.
import type { Service, ServicePort } from '../../../machinery/api-types.ts';
import { internalError, invalid } from '../../status.ts';
import type { StatusError } from '../../status.ts';
import { typed } from '../define.ts';
import type { FieldError, Registry, RequestContext } from '../definition.ts';
import { invalid as invalidField } from '../validation/fields.ts';
import { addressToBigint, containsAddress, formatAddress, parsePrefix } from '../../../network/addresses.ts';
import type { Prefix } from '../../../network/addresses.ts';
import { RangeAllocator } from './range-allocator.ts';
import { familyNameOf, needsClusterIP, needsHealthCheckPort, needsNodePort } from '../core/service-fields.ts';
import type { IpFamilyName } from '../core/service-fields.ts';

export class ServiceAllocator {
  readonly #portRange: string;
  readonly #addresses: ReadonlyMap<IpFamilyName, AddressRange>;
  readonly #ports: RangeAllocator;
  #filled = false;

  /** Errors: text that is no CIDR, a port range that is not `first-last`. */
  constructor(cidrs: readonly string[], portRange: string) {
    this.#portRange = portRange;
    this.#addresses = new Map(cidrs.map((cidr) => [familyNameOf(cidr), new AddressRange(cidr)]));
    this.#ports = portsOf(portRange);
  }

  /** Families of the ranges, in the order in which they were given. */
  get families(): readonly IpFamilyName[] {
    return [...this.#addresses.keys()];
  }

  /** Takes what `service` needs beyond what `old` has, in place. The returned function undoes it. Errors: 422 with the field. */
  allocate(service: Service, old: Service | undefined, context: RequestContext): () => void {
    this.#fill(context.registry);
    const undo: (() => void)[] = [];
    const giveBack = (): void => undo.forEach((step) => step());
    try {
      this.#allocateAddresses(service, old, undo);
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
    for (const address of addressesOf(service)) {
      this.#rangeOf(address)?.release(address);
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
      for (const address of addressesOf(service)) {
        this.#rangeOf(address)?.take(address);
      }
      for (const port of portsTaken(service)) {
        this.#ports.take(port);
      }
    }
  }

  /** One address per family of the Service, in that order; those that it has or asks for come first. */
  #allocateAddresses(service: Service, old: Service | undefined, undo: (() => void)[]): void {
    const { spec } = service;
    if (spec === undefined || !needsClusterIP(service) || spec.clusterIP === 'None') {
      return;
    }
    const mine = old === undefined ? [] : addressesOf(old);
    const given = spec.clusterIPs ?? [];
    const addresses: string[] = [];
    for (const [index, family] of ((spec.ipFamilies ?? []) as IpFamilyName[]).entries()) {
      const asked = given[index] ?? '';
      if (asked !== '' && mine.includes(asked)) {
        addresses.push(asked);
        continue;
      }
      const range = this.#addresses.get(family);
      const address = asked === '' ? range?.takeAny() : asked;
      if (range === undefined || address === undefined) {
        throw internalError('failed to allocate a serviceIP: range is full');
      }
      if (asked !== '') {
        this.#takeAddress(service, { address, index, range });
      }
      undo.push(() => range.release(address));
      addresses.push(address);
    }
    spec.clusterIP = addresses[0] ?? '';
    spec.clusterIPs = addresses;
  }

  #takeAddress(service: Service, wanted: { address: string; index: number; range: AddressRange }): void {
    const { address, index, range } = wanted;
    const refuse = (why: string): StatusError =>
      refusal(service, [
        invalidField(
          'spec.clusterIPs',
          (service.spec?.clusterIPs ?? []).slice(0, index + 1),
          `failed to allocate IP ${address}: ${why}`,
        ),
      ]);
    if (!range.contains(address)) {
      throw refuse(`the provided IP (${address}) is not in the valid range. The range of valid IPs is ${range.cidr}`);
    }
    if (!range.take(address)) {
      throw refuse('provided IP is already allocated');
    }
  }

  #rangeOf(address: string): AddressRange | undefined {
    return this.#addresses.get(familyNameOf(address));
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
    const still = addressesOf(service);
    for (const address of addressesOf(old).filter((candidate) => !still.includes(candidate))) {
      const range = this.#rangeOf(address);
      steps.push({ free: () => range?.release(address), retake: () => void range?.take(address) });
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

function addressesOf(service: Service): string[] {
  if (!needsClusterIP(service)) {
    return [];
  }
  const { clusterIP = '', clusterIPs = [clusterIP] } = service.spec ?? {};
  return clusterIPs.filter((address) => address !== '' && address !== 'None');
}

function portsTaken(service: Service): number[] {
  const ports = needsNodePort(service) ? (service.spec?.ports ?? []).map((port) => port.nodePort ?? 0) : [];
  return [...ports, service.spec?.healthCheckNodePort ?? 0].filter((port) => port !== 0);
}

function refusal(service: Service, errors: readonly FieldError[]): StatusError {
  return invalid({ group: '', kind: 'Service' }, service.metadata.name ?? '', errors);
}

/**
 * The addresses of a CIDR but for its first one, which names the network, and IPv4's last one, the broadcast address. The
 * lowest sixteenth (16 to 256) is for chosen addresses.
 */
class AddressRange {
  readonly cidr: string;
  readonly #prefix: Prefix;
  readonly #offsets: RangeAllocator;

  constructor(cidr: string) {
    this.cidr = cidr;
    this.#prefix = parsePrefix(cidr);
    const { family, length } = this.#prefix;
    const size = 2 ** ((family === 4 ? 32 : 128) - length);
    this.#offsets = new RangeAllocator(1, family === 4 ? size - 2 : size - 1, Math.min(Math.max(16, size / 16), 256));
  }

  contains(address: string): boolean {
    return containsAddress(this.#prefix, address) && this.#offsets.contains(this.#offset(address));
  }

  take(address: string): boolean {
    return this.#offsets.take(this.#offset(address));
  }

  takeAny(): string | undefined {
    const offset = this.#offsets.takeAny();
    return offset === undefined ? undefined : formatAddress(this.#prefix.first + BigInt(offset), this.#prefix.family);
  }

  release(address: string): void {
    this.#offsets.release(this.#offset(address));
  }

  #offset(address: string): number {
    return Number(addressToBigint(address) - this.#prefix.first);
  }
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
