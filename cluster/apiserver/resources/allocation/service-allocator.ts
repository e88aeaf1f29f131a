// SPDX-License-Identifier: Apache-2.0
// Cluster addresses and node ports of Services. What is taken is learnt from the stored Services at the first use.
import type { Service, ServicePort } from '../../../machinery/api-types.ts';
import { internalError, invalid, isReason } from '../../status.ts';
import type { StatusError } from '../../status.ts';
import { typed } from '../define.ts';
import type { FieldError, Registry, RequestContext } from '../definition.ts';
import { invalid as invalidField } from '../validation/fields.ts';
import { needsClusterIP, needsHealthCheckPort, needsNodePort } from '../core/service-fields.ts';
import type { IpFamilyName } from '../core/service-fields.ts';
import { addressesOf, dropAddress, holdAddress } from './address-objects.ts';
import { RangeAllocator } from './range-allocator.ts';
import { ServiceAddresses } from './service-addresses.ts';

export class ServiceAllocator {
  readonly #portRange: string;
  readonly #addresses: ServiceAddresses;
  readonly #ports: RangeAllocator;
  #filled = false;

  /** Errors: text that is no CIDR, a port range that is not `first-last`. */
  constructor(cidrs: readonly string[], portRange: string) {
    this.#portRange = portRange;
    this.#addresses = new ServiceAddresses(cidrs);
    this.#ports = portsOf(portRange);
  }

  /** Families of the ranges, in the order in which they were given. */
  get families(): readonly IpFamilyName[] {
    return this.#addresses.families;
  }

  /** Takes what `service` needs beyond what `old` has, in place. The returned function undoes it. Errors: 422 with the field. */
  async allocate(service: Service, old: Service | undefined, context: RequestContext): Promise<() => void> {
    const { registry } = context;
    this.#fill(registry);
    const undo: (() => void)[] = [];
    const giveBack = (): void => undo.forEach((step) => step());
    try {
      this.#allocateAddresses(service, old, { undo, registry });
      this.#allocatePorts(service, old, undo);
      if (context.dryRun) {
        return giveBack;
      }
      await this.#hold(service, old, { undo, registry });
    } catch (error) {
      giveBack();
      throw error;
    }
    // What the old form had and the new one has not is free once the write is done; the write can hardly fail any more.
    const dropped = old === undefined ? undefined : this.#dropped(service, old, registry);
    dropped?.forEach((step) => step.free());
    return () => {
      giveBack();
      dropped?.forEach((step) => step.retake());
    };
  }

  async release(service: Service, registry: Registry): Promise<void> {
    for (const port of portsTaken(service)) {
      this.#ports.release(port);
    }
    for (const address of addressesOf(service)) {
      this.#addresses.release(address);
      // What stays now is removed by the repair.
      await dropAddress(registry, address).catch(() => undefined);
    }
  }

  #fill(registry: Registry): void {
    if (this.#filled) {
      return;
    }
    this.#filled = true;
    for (const service of typed<Service>(registry.list('services'))) {
      for (const address of addressesOf(service)) {
        this.#addresses.mark(address);
      }
      for (const port of portsTaken(service)) {
        this.#ports.take(port);
      }
    }
  }

  /** One address per family of the Service, in that order; those that it has or asks for come first. */
  #allocateAddresses(service: Service, old: Service | undefined, { undo, registry }: Taking): void {
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
      const address = asked === '' ? this.#addresses.takeAny(family, registry) : asked;
      if (address === undefined) {
        throw internalError('failed to allocate a serviceIP: range is full');
      }
      if (asked !== '') {
        this.#takeAddress(service, { address, index, family, registry });
      }
      undo.push(() => this.#addresses.release(address));
      addresses.push(address);
    }
    spec.clusterIP = addresses[0] ?? '';
    spec.clusterIPs = addresses;
  }

  #takeAddress(
    service: Service,
    wanted: { address: string; index: number; family: IpFamilyName; registry: Registry },
  ): void {
    const { address, index, family, registry } = wanted;
    if (!this.#addresses.isValid(address, registry)) {
      const ranges = this.#addresses.cidrs(family, registry).join(',');
      const why = `the provided IP (${address}) is not in the valid range. The range of valid IPs is ${ranges}`;
      throw refuseAddress(service, { address, index, why });
    }
    if (!this.#addresses.take(address, registry)) {
      throw refuseAddress(service, { address, index, why: 'provided IP is already allocated' });
    }
  }

  /** Objects for the addresses that are new. */
  async #hold(service: Service, old: Service | undefined, { undo, registry }: Taking): Promise<void> {
    const mine = old === undefined ? [] : addressesOf(old);
    for (const [index, address] of addressesOf(service).entries()) {
      if (mine.includes(address)) {
        continue;
      }
      try {
        await holdAddress(registry, address, service);
      } catch (error) {
        if (!isReason(error, 'AlreadyExists')) {
          throw error;
        }
        throw refuseAddress(service, { address, index, why: 'provided IP is already allocated' });
      }
      undo.push(() => inBackground(dropAddress(registry, address)));
    }
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

  #dropped(service: Service, old: Service, registry: Registry): { free: () => void; retake: () => void }[] {
    const steps: { free: () => void; retake: () => void }[] = [];
    const still = addressesOf(service);
    for (const address of addressesOf(old).filter((candidate) => !still.includes(candidate))) {
      const free = (): void => {
        this.#addresses.release(address);
        inBackground(dropAddress(registry, address));
      };
      steps.push({ free, retake: () => this.#addresses.mark(address) });
    }
    const kept = new Set(portsTaken(service));
    for (const port of portsTaken(old).filter((candidate) => !kept.has(candidate))) {
      steps.push({ free: () => this.#ports.release(port), retake: () => void this.#ports.take(port) });
    }
    return steps;
  }
}

interface Taking {
  /** Gets what takes everything back. */
  readonly undo: (() => void)[];
  readonly registry: Registry;
}

/** TCP and UDP on the same port share one node port. */
function twinPort(ports: readonly ServicePort[], port: ServicePort): number | undefined {
  const twin = ports.find(
    (other) => other.port === port.port && other.protocol !== port.protocol && (other.nodePort ?? 0) !== 0,
  );
  return twin?.nodePort;
}

function portsTaken(service: Service): number[] {
  const ports = needsNodePort(service) ? (service.spec?.ports ?? []).map((port) => port.nodePort ?? 0) : [];
  return [...ports, service.spec?.healthCheckNodePort ?? 0].filter((port) => port !== 0);
}

function refusal(service: Service, errors: readonly FieldError[]): StatusError {
  return invalid({ group: '', kind: 'Service' }, service.metadata.name ?? '', errors);
}

function refuseAddress(service: Service, refused: { address: string; index: number; why: string }): StatusError {
  const { address, index, why } = refused;
  const asked = (service.spec?.clusterIPs ?? []).slice(0, index + 1);
  return refusal(service, [invalidField('spec.clusterIPs', asked, `failed to allocate IP ${address}: ${why}`)]);
}

/** What fails now is put right by the repair of IPAddresses. */
function inBackground(work: Promise<void>): void {
  work.catch(() => undefined);
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
